package simulate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"agentmeter/internal/eventclient"
	"agentmeter/internal/eventclient/eventclienttest"
	"agentmeter/internal/pause"
	"agentmeter/internal/simulate"
	"agentmeter/schemas"
)

func TestStreamIsSteadySortedValidAndUnique(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.001, simulate.MaxRate).Draw(t, "rate")
		start := time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "start"), 0)
		newStream := func() *simulate.Stream {
			s, err := simulate.NewStream(profile(time.UTC), 5, rate, start)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		one, two := newStream(), newStream()
		var events []schemas.Event
		for range 500 {
			due := one.Due()
			events = append(events, one.Next())
			if e := events[len(events)-1]; !e.OccurredAt.Equal(due) || e != two.Next() {
				t.Fatalf("%+v was due at %s, or another stream has another event", e, due)
			}
		}
		checkEvents(t, events, schemas.NewInterval(start, start.Add(time.Duration(501/rate*float64(time.Second)))), map[string]bool{})
		if took, want := events[499].OccurredAt.Sub(start).Seconds(), 499/rate; took < want-0.001-want/500 || took > (want+1/rate)*1.002+0.001 {
			t.Fatalf("500 events in %v s at %v a second", took, rate)
		}

		// What is skipped is counted, and nothing before that instant is left.
		before := one.Due()
		at := before.Add(time.Duration(rapid.Float64Range(-10, 1000).Draw(t, "skip") / rate * float64(time.Second)))
		skipped := one.Skip(at)
		if one.Due().Before(at) || (skipped == 0) != !before.Before(at) {
			t.Fatalf("after skipping %d from %s to %s the next is due at %s", skipped, before, at, one.Due())
		}
		for range skipped {
			two.Next()
		}
		if gap := one.Due().Sub(two.Due()).Abs().Seconds(); gap > 2/rate {
			t.Fatalf("skipping and taking %d events are %v s apart", skipped, gap)
		}
	})
}

func TestStreamsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, rate := range []float64{0, -1, 2 * simulate.MaxRate, nan()} {
		if _, err := simulate.NewStream(profile(time.UTC), 1, rate, now); err == nil {
			t.Errorf("the rate %v was taken", rate)
		}
	}
	gone := profile(time.UTC)
	gone.Agents[0].Until, gone.Agents[1].Until = now.Add(-time.Hour), now.Add(-time.Second)
	if _, err := simulate.NewStream(gone, 1, 1, now); err == nil {
		t.Error("a profile whose agents are all gone was taken")
	}
	if _, err := simulate.NewStream(&simulate.Profile{}, 1, 1, now); err == nil {
		t.Error("an empty profile was taken")
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

// server is a write side in virtual time: it takes a while for each request.
type server struct {
	each time.Duration

	mu       sync.Mutex
	ids      map[string]int
	inFlight int
	most     int
	late     time.Duration // at most, from an event to its arrival
	status   int
}

func (s *server) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	for line := range bytes.Lines(body) {
		var e struct {
			OccurredAt time.Time `json:"occurred_at"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		s.late = max(s.late, time.Since(e.OccurredAt))
	}
	s.mu.Unlock()
	if !pause.For(request.Context(), s.each) {
		return nil, request.Context().Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	n := 0
	for line := range bytes.Lines(body) {
		n++
		s.ids[string(line)]++
	}
	response := &http.Response{StatusCode: http.StatusAccepted, Header: http.Header{}, Request: request}
	response.Body = io.NopCloser(strings.NewReader(`{"accepted":` + strconv.Itoa(n) + `,"rejected":[]}`))
	if s.status != 0 {
		response.StatusCode = s.status
	}
	return response, nil
}

func newSender(t *testing.T, transport http.RoundTripper, log io.Writer, change func(*simulate.SenderConfig)) *simulate.Sender {
	t.Helper()
	client, err := eventclient.New(eventclient.Config{Endpoint: eventclient.Static("http://meter.test", ""), Transport: transport, RetryFor: -1, Compress: eventclient.CompressNever})
	if err != nil {
		t.Fatal(err)
	}
	cfg := simulate.SenderConfig{Client: client, Log: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&cfg)
	}
	sender, err := simulate.NewSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func TestStreamIsSentAtItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{each: 10 * time.Millisecond, ids: map[string]int{}}
		sender := newSender(t, s, t.Output(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream, err := simulate.NewStream(profile(time.UTC), 1, 250, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		totals, err := sender.Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		if totals.Accepted < 14_999 || totals.Accepted > 15_000 || totals.Skipped != 0 || totals.Rejected != 0 {
			t.Errorf("%+v in a minute at 250 events/s", totals)
		}
		if s.late > 2*simulate.DefaultFlushEvery {
			t.Errorf("an event was sent %s late", s.late)
		}
		if int64(len(s.ids)) != totals.Accepted {
			t.Errorf("%d different events arrived, %d were accepted", len(s.ids), totals.Accepted)
		}
	})
}

func TestTrickleIsSentWhenItIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{ids: map[string]int{}}
		sender := newSender(t, s, t.Output(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		stream, err := simulate.NewStream(profile(time.UTC), 1, 0.1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		totals, err := sender.Stream(ctx, stream)
		if err != nil || totals.Accepted < 59 || totals.Accepted > 60 || s.late > simulate.DefaultFlushEvery {
			t.Errorf("%+v, %v in ten minutes at six a minute, up to %s late", totals, err, s.late)
		}
	})
}

// A server that takes 100 events a second gets them, the rest is left out and
// reported, and no more than the stated requests are ever under way.
func TestSlowServerIsNotFlooded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{each: time.Second, ids: map[string]int{}}
		var log bytes.Buffer
		sender := newSender(t, s, &log, func(c *simulate.SenderConfig) {
			c.BatchEvents, c.InFlight, c.MaxBehind = 50, 2, 3*time.Second
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		stream, err := simulate.NewStream(profile(time.UTC), 1, 1000, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		totals, err := sender.Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		if totals.Accepted < 11_500 || totals.Accepted > 12_200 {
			t.Errorf("%d events were accepted in two minutes", totals.Accepted)
		}
		if sum := totals.Accepted + totals.Skipped; sum < 119_999 || sum > 120_001 {
			t.Errorf("%+v: sent and left out are %d of 120,000", totals, sum)
		}
		if s.most > 2 {
			t.Errorf("%d requests at once", s.most)
		}
		if n := strings.Count(log.String(), "slower than the simulated traffic"); n < 5 || n > 13 {
			t.Errorf("%d reports in two minutes:\n%s", n, log.String())
		}
	})
}

func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		each     time.Duration
		accepted int64
		took     time.Duration
	}{
		{"within the grace", 4 * time.Second, 95, 14 * time.Second},
		{"but no longer", time.Hour, 0, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{each: test.each, ids: map[string]int{}}
				sender := newSender(t, s, t.Output(), func(c *simulate.SenderConfig) { c.InFlight = 100 })
				stop := errors.New("asked to stop")
				ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, stop)
				defer cancel()
				stream, err := simulate.NewStream(profile(time.UTC), 1, 10, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				totals, err := sender.Stream(ctx, stream)
				if err != nil || totals.Accepted < test.accepted || time.Since(began) > test.took {
					t.Errorf("%+v, %v after %s", totals, err, time.Since(began))
				}
			})
		})
	}
}

func TestRefusalEndsTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{status: http.StatusForbidden, ids: map[string]int{}}
		sender := newSender(t, s, t.Output(), nil)
		stream, err := simulate.NewStream(profile(time.UTC), 1, 10, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_, err = sender.Stream(t.Context(), stream)
		var refused *eventclient.RefusedError
		if !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
			t.Errorf("got %v", err)
		}
		if _, err := sender.Send(t.Context(), mustGenerator(t).All()); !errors.As(err, &refused) {
			t.Errorf("got %v", err)
		}
	})
}

func mustGenerator(t *testing.T) *simulate.Generator {
	t.Helper()
	g, err := workload().Generator()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestHistoryArrivesWhole(t *testing.T) {
	t.Parallel()
	write := eventclienttest.Start(t, func(s *eventclienttest.Server) {
		s.Fault = func(call int) eventclienttest.Fault {
			return eventclienttest.Faults[call%len(eventclienttest.Faults)]
		}
	})
	client, err := eventclient.New(eventclient.Config{
		Endpoint: eventclient.Static(write.URL, eventclienttest.Token), MinBackoff: time.Microsecond, MaxBackoff: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	var last simulate.Totals
	sender, err := simulate.NewSender(simulate.SenderConfig{
		Client: client, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Progress: func(totals simulate.Totals) { last = totals },
	})
	if err != nil {
		t.Fatal(err)
	}
	totals, err := sender.Send(t.Context(), mustGenerator(t).Range(0, 5_000))
	if err != nil || totals.Accepted != 5_000 || totals != last || totals != sender.Totals() {
		t.Fatalf("%+v, %v; the last progress was %+v", totals, err, last)
	}
	accepted := write.Accepted()
	for e := range mustGenerator(t).Range(0, 5_000) {
		if accepted[e.ID] != *e {
			t.Fatalf("%+v arrived as %+v", *e, accepted[e.ID])
		}
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("asked to stop")
	cancel(stop)
	if _, err := sender.Send(ctx, mustGenerator(t).All()); !errors.Is(err, stop) {
		t.Errorf("a cancelled Send: %v", err)
	}
}

func TestDemoDirectoryIsRegistered(t *testing.T) {
	t.Parallel()
	write := eventclienttest.Start(t, nil)
	client, err := eventclient.New(eventclient.Config{Endpoint: eventclient.Static(write.URL, eventclienttest.Token)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	directory := simulate.DemoDirectory(time.Date(2026, 11, 24, 14, 30, 0, 0, time.UTC))
	if err := directory.Register(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	want := `PUT /v1/workspaces/ws_demo {"agent_slots":10,"billing_anchor":"2026-11-02","links":{"agent_analytics":"https://example.com/analytics","auto_recharge":"https://example.com/auto-recharge","billing":"https://example.com/billing","credits_explained":"https://example.com/credits","plans":"https://example.com/plans"},"name":"Demo","product_name":"Example Agents","seats":5,"support_email":"support@example.com","timezone":"Europe/Copenhagen"}
PUT /v1/workspaces/ws_demo/agents/agt_launch {"name":"Spring Campaign"}
PUT /v1/workspaces/ws_demo/agents/agt_support {"name":"Support Bot"}
PUT /v1/workspaces/ws_demo/agents/agt_sales {"name":"Sales Bot"}
PUT /v1/workspaces/ws_demo/agents/agt_onboarding {"name":"Onboarding Guide"}
PUT /v1/workspaces/ws_demo/agents/agt_billing {"name":"Billing Helper"}
PUT /v1/workspaces/ws_demo/agents/agt_docs {"name":"Docs Assistant"}
PUT /v1/workspaces/ws_demo/agents/agt_returns {"name":"Returns Desk"}
PUT /v1/workspaces/ws_demo/agents/agt_booking {"name":"Booking Assistant"}
PUT /v1/workspaces/ws_demo/agents/agt_people {"name":"People Desk"}
DELETE /v1/workspaces/ws_demo/agents/agt_launch
PUT /v1/workspaces/ws_demo/members/mem_maja {"name":"Maja Holm"}
PUT /v1/workspaces/ws_demo/members/mem_jonas {"name":"Jonas Lind"}
PUT /v1/workspaces/ws_demo/members/mem_priya {"name":"Priya Nair"}`
	if got := strings.Join(write.Directory(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSenderFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := simulate.NewSender(simulate.SenderConfig{InFlight: -1, Grace: -1})
	for _, want := range []string{"client", "log", "in flight", "durations"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %q", err, want)
		}
	}
}
