package ingest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/internal/auth"
	"agentmeter/internal/fair"
	"agentmeter/schemas"
)

// What is told of rejected items can be many times what was sent.
func TestRejectionsCountAgainstTheMemory(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.MaxBodyBytes, c.MaxEventBytes, c.MaxInFlightBytes = 64<<10, 1<<10, 256<<10 })
	for name, body := range map[string][]byte{
		"nothing is acceptable": bytes.Repeat([]byte("{}\n"), 10_000),
		"some is":               append(ndjsonOf(sampleEvents(10)), bytes.Repeat([]byte("{}\n"), 9_000)...),
	} {
		w := s.do(t, call{mediaType: "application/x-ndjson", body: body})
		if problem := problemIn(t, w); w.Code != 503 && w.Code != 429 {
			t.Errorf("%s: %d %s", name, w.Code, problem.Code)
		}
		if held := s.ingest.budget.InUse(); held != 0 {
			t.Errorf("%s: %d bytes stay reserved", name, held)
		}
	}
	if got := len(s.events(t)); got != 0 {
		t.Errorf("%d events of requests that were refused arrived", got)
	}
	// What fits is answered, and nothing stays.
	acceptanceIn(t, s.do(t, call{mediaType: "application/x-ndjson", body: append(ndjsonOf(sampleEvents(10)), bytes.Repeat([]byte("{}\n"), 20)...)}))
	s.settled(t)
}

// A sender that has its share of turns under way, and a full line behind it, is
// told so; another one goes first.
func TestAFloodOfOneSenderIsRefusedAndAnotherOneIsNot(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.takeEightTurnsAtOnce()
	var flood []func()
	for range 4 { // half of all turns
		leave, err := s.ingest.turns.Enter(t.Context(), "ws_flood", minTurnBytes)
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, leave)
	}
	waiting := make(chan error, maxWaiting)
	for range maxWaiting {
		go func() {
			leave, err := s.ingest.turns.Enter(t.Context(), "ws_flood", minTurnBytes)
			if err == nil {
				leave()
			}
			waiting <- err
		}()
	}
	s.untilWaiting(t, maxWaiting)
	event := func(workspace schemas.WorkspaceID) call {
		return call{
			token: s.mint(t, workspace, auth.EventsWrite), mediaType: "application/json",
			body: []byte(eventJSON(map[string]any{"workspace_id": workspace})),
		}
	}
	w := s.do(t, event("ws_flood"))
	if problem := problemIn(t, w); w.Code != 429 || problem.Code != "too_much_in_flight" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("the flood: %d %s", w.Code, w.Body)
	}
	if got := testutil.ToFloat64(s.ingest.metrics.refused.WithLabelValues("turn", "share")); got == 0 {
		t.Error("nobody counts it")
	}
	acceptanceIn(t, s.do(t, event("ws_quiet")))
	for _, leave := range flood {
		leave()
	}
	for range maxWaiting {
		if err := <-waiting; err != nil && !errors.Is(err, fair.ErrShare) {
			t.Error(err)
		}
	}
	if used := s.ingest.turns.InUse(); used != 0 {
		t.Errorf("%d bytes of turns stay taken", used)
	}
	if got := len(s.events(t)); got != 1 {
		t.Errorf("%d events arrived; one was accepted", got)
	}
}

// Adjustments and the directory have no way around.
func TestEveryWriteTakesATurn(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.takeEightTurnsAtOnce()
	release := make(chan struct{})
	for i := range 8 {
		leave, err := s.ingest.turns.Enter(t.Context(), string(rune('a'+i)), minTurnBytes)
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-release; leave() }()
	}
	done := make(chan int)
	calls := []call{
		{mediaType: "application/json", body: []byte(eventJSON(nil))},
		{route: "POST /v1/adjustments", mediaType: "application/json", body: []byte(`{"id":"a-1","workspace_id":"ws_acme","agent_id":"x","occurred_at":"2026-01-01T00:00:00Z","credits":"-1","reason":"r"}`)},
		{route: "PUT /v1/workspaces/ws_acme/agents/a", mediaType: "application/json", body: []byte(`{"name":"A"}`)},
	}
	for _, c := range calls {
		go func() { done <- s.do(t, c).Code }()
	}
	s.untilWaiting(t, len(calls))
	close(release)
	for range calls {
		if code := <-done; code != 202 {
			t.Errorf("answered %d", code)
		}
	}
}

// takeEightTurnsAtOnce lets eight of the smallest requests have a turn at once, and
// the others wait for as long as a test may take: until all of them wait, none has
// waited long enough.
func (s stand) takeEightTurnsAtOnce() {
	s.ingest.turns = fair.New(fair.Config{
		Capacity: 8 * minTurnBytes, MaxWaiting: maxWaiting, MaxWait: time.Hour, Waiting: gauge(s.ingest.metrics.waiting),
	})
}

// untilWaiting returns when so many wait for a turn.
func (s stand) untilWaiting(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	often := time.NewTicker(time.Millisecond) // a loop without pauses kept them from coming so far, on one processor
	defer often.Stop()
	for testutil.ToFloat64(s.ingest.metrics.waiting) < float64(n) {
		select {
		case <-ctx.Done():
			t.Fatalf("%v of %d wait for a turn", testutil.ToFloat64(s.ingest.metrics.waiting), n)
		case <-often.C:
		}
	}
}
