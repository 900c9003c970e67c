package query

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/auth"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/freeaddress"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas/api"
)

// That another workspace is not to be told from none, the table of cmd/agentmeter's
// access test says.
func TestNothingOfAnotherWorkspaceIsInOnesOwnFigures(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws_theirs", "agt_secret", frozen.Add(-time.Hour), 1_000_000)})
	w.register(t, agentNamed("ws_theirs", "agt_secret", "Secret Bot", frozen.Add(-time.Hour)))
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	token, err := s.key.Mint(auth.Grant{Workspace: "ws_mine", Scopes: []auth.Scope{auth.UsageRead}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s.token = token
	for _, path := range []string{"/v1/usage/dashboard?workspace=ws_mine&agent=agt_secret", "/v1/agents?workspace=ws_mine&query=secret"} {
		if response, body := s.get(t, path); response.StatusCode != http.StatusOK || strings.Contains(string(body), "Secret") {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

func TestThePageIsServed(t *testing.T) {
	w := newWorld(t)
	s := w.serve(t, frozen, DefaultConfig())
	response, body := s.get(t, "/w/ws_acme/usage")
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), "<html") {
		t.Fatalf("%d %.200s", response.StatusCode, body)
	}
	_, rest, found := strings.Cut(string(body), `src="/assets/`)
	asset, _, _ := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("the page loads no script: %.500s", body)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+"/assets/"+asset, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err = s.server.Client().Do(request) // without a token
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || !strings.Contains(response.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("asset %s: %d, %s", asset, response.StatusCode, response.Header.Get("Cache-Control"))
	}
}

func TestWhatCannotBeAWorkspaceHasNoPage(t *testing.T) {
	w := newWorld(t)
	s := w.serve(t, frozen, DefaultConfig())
	for _, id := range []string{strings.Repeat("w", 129), "ws%00", "%20ws", "*"} {
		if response, body := s.get(t, "/w/"+id+"/usage"); response.StatusCode != http.StatusNotFound {
			t.Errorf("%q: %d %.100s", id, response.StatusCode, body)
		}
	}
}

func TestTooManyQuestionsAreToldToComeAgain(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, with(func(c *Config) { c.MaxConcurrent, c.MaxWaiting, c.WaitTimeout = 1, 1, time.Millisecond }))
	release, err := s.limiter.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	response, body := s.get(t, "/v1/usage/dashboard?workspace=ws")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), `"busy"`) {
		t.Errorf("%d, Retry-After %q: %s", response.StatusCode, response.Header.Get("Retry-After"), body)
	}
	if response, body := s.get(t, "/v1/usage/dashboard?workspace=ws&grain=year"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("a faulty request waits for its turn: %d %s", response.StatusCode, body)
	}
	release()
	if response, body := s.get(t, "/v1/usage/dashboard?workspace=ws"); response.StatusCode != http.StatusOK {
		t.Errorf("with a slot free: %d %s", response.StatusCode, body)
	}
}

func TestWithoutALimitNoWorkspaceAsksTooMuch(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, with(func(c *Config) { c.RateLimit, c.MaxHeld = 0, 0 }))
	for range 20 {
		response, body := s.get(t, "/v1/usage/dashboard?workspace=ws&range=7d")
		if response.StatusCode != http.StatusOK || response.Header.Get("RateLimit-Limit") != "" {
			t.Fatalf("status %d, headers %v: %s", response.StatusCode, response.Header, body)
		}
	}
}

func TestAWorkspaceThatAsksTooMuchIsRefusedAndTheOthersAreNot(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, with(func(c *Config) { c.RateLimit = 1 }))
	path := "/v1/usage/dashboard?workspace=ws&grain=year" // which costs nothing
	refused := 0
	for range 20 {
		response, body := s.get(t, path)
		switch response.StatusCode {
		case http.StatusBadRequest:
			if response.Header.Get("RateLimit-Limit") != "1" {
				t.Errorf("headers %v", response.Header)
			}
		case http.StatusTooManyRequests:
			refused++
			if response.Header.Get("Retry-After") != "1" || response.Header.Get("RateLimit-Remaining") != "0" || !strings.Contains(string(body), `"rate_limited"`) {
				t.Errorf("headers %v: %s", response.Header, body)
			}
		default:
			t.Errorf("status %d: %s", response.StatusCode, body)
		}
	}
	if refused == 0 {
		t.Error("twenty questions at once, with two allowed, were all answered")
	}
	for _, other := range []string{"/v1/usage/dashboard?workspace=ws_other", "/w/ws_third/usage/figures"} {
		if response, body := s.get(t, other); response.StatusCode != http.StatusOK {
			t.Errorf("%s of another workspace: %d %s", other, response.StatusCode, body)
		}
	}
}

func TestAWorkspaceThatAsksMuchLeavesSlotsToOthers(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, with(func(c *Config) { c.MaxConcurrent, c.MaxWaiting, c.WaitTimeout = 8, 1, time.Millisecond }))
	flood := withWorkspace(t.Context(), "ws")
	for range 4 { // all that one may have
		release, err := s.limiter.acquire(flood)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
	for _, path := range []string{"/v1/usage/dashboard?workspace=ws", "/v1/usage/export.csv?workspace=ws", "/v1/agents?workspace=ws"} {
		response, body := s.get(t, path)
		if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), `"too_many_at_once"`) {
			t.Errorf("%s: %d, Retry-After %q: %s", path, response.StatusCode, response.Header.Get("Retry-After"), body)
		}
	}
	for _, path := range []string{"/v1/usage/dashboard?workspace=ws_other", "/w/ws_other/usage/figures", "/v1/workspaces/ws_other"} {
		if response, body := s.get(t, path); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

func TestWaitingIsBoundedInNumberAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Config{MaxConcurrent: 1, MaxWaiting: 2, WaitTimeout: 2 * time.Second}, newMetrics(prometheus.NewRegistry()))
		release, err := l.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		outcome := make(chan error, 2)
		go func() { // gets its turn after a second
			next, err := l.acquire(t.Context())
			if err == nil {
				defer next()
				<-time.After(10 * time.Second)
			}
			outcome <- err
		}()
		synctest.Wait()
		go func() { // does not
			_, err := l.acquire(t.Context())
			outcome <- err
		}()
		synctest.Wait()
		if _, err := l.acquire(t.Context()); !errors.Is(err, errBusy) || time.Since(began) != 0 {
			t.Errorf("a third waits: %v after %v", err, time.Since(began))
		}
		<-time.After(time.Second)
		release()
		if err := <-outcome; !errors.Is(err, errBusy) || time.Since(began) != 2*time.Second {
			t.Errorf("the one behind: %v after %v, want busy after 2s", err, time.Since(began))
		}
		if err := <-outcome; err != nil {
			t.Errorf("the one in front: %v", err)
		}
		release, err = l.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		cancel(gone)
		if _, err := l.acquire(ctx); !errors.Is(err, gone) {
			t.Errorf("one that has gone away waits: %v", err)
		}
		release()
	})
}

func TestASlowEngineIsATimeout(t *testing.T) {
	w := newWorld(t)
	s := w.serve(t, frozen, with(func(c *Config) { c.QueryTimeout = time.Nanosecond }))
	response, body := s.get(t, "/v1/usage/dashboard?workspace=ws")
	if response.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(body), `"timeout"`) {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

func TestAnAbsentEngineIsAProblemAndNeverAFigure(t *testing.T) {
	client, err := clickhouse.Open(clickhouse.Config{URL: "http://" + freeaddress.Find(rand.IntN)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w := &world{client: client}
	s := w.serve(t, frozen, DefaultConfig())
	for _, path := range []string{
		"/v1/usage/dashboard?workspace=ws", "/v1/usage/agents?workspace=ws", "/v1/agents?workspace=ws", "/v1/usage/export.csv?workspace=ws",
		"/v1/usage/breakdown?by=model&workspace=ws", "/v1/usage/reconcile?workspace=ws", "/v1/usage/live?workspace=ws", "/v1/workspaces/ws",
	} {
		response, body := s.get(t, path)
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" ||
			!strings.Contains(string(body), `"storage_unavailable"`) || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %s", path, response.StatusCode, response.Header, body)
		}
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready without an engine")
	}
}

func TestAnEngineWithoutTablesIsAFaultThatIsNotShown(t *testing.T) {
	w := newWorld(t)
	w.exec(t, "DROP TABLE rollup_progress", nil)
	s := w.serve(t, frozen, DefaultConfig())
	response, body := s.get(t, "/v1/usage/dashboard?workspace=ws")
	if response.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), "rollup_progress") {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

// follow opens the live stream and gives its events one by one; the returned
// function ends it.
func follow(t *testing.T, s *service, path string) (next func() api.LiveUpdate, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d, %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() || lines.Text() != "retry: 2000" {
		t.Fatalf("the stream opens with %q", lines.Text())
	}
	next = func() api.LiveUpdate {
		t.Helper()
		event := ""
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = name
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && event == "watermark" {
				var update api.LiveUpdate
				if err := json.Unmarshal([]byte(data), &update); err != nil {
					t.Fatalf("%q: %v", data, err)
				}
				return update
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return api.LiveUpdate{}
	}
	return next, func() {
		cancel()
		_ = response.Body.Close()
	}
}

func TestTheLiveStreamSaysWhenFiguresHaveMoved(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen.Add(time.Minute), with(func(c *Config) { c.LiveInterval, c.MaxLive = 5*time.Millisecond, 1 }))
	const path = "/v1/usage/live?workspace=ws"
	next, end := follow(t, s, path)
	defer end()
	first := next()
	if !first.Changed || !first.CountedThrough.Equal(frozen) {
		t.Errorf("first %+v: what came before is not known to have been seen", first)
	}
	if response, body := s.get(t, path); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a stream too many: %d %s", response.StatusCode, body)
	}

	w.progress(t, frozen.Add(time.Second))
	if got := next(); got.Changed || !got.CountedThrough.After(frozen) {
		t.Errorf("looked through and nothing new: %+v", got)
	}
	w.insert(t, []event{used("other", "a", frozen, 1), used("other", "b", frozen, 1), used("other", "c", frozen, 1)})
	w.progress(t, frozen.Add(2*time.Second))
	for got := next(); ; got = next() {
		if got.Changed {
			t.Errorf("another workspace's usage: %+v", got)
		}
		if got.CountedThrough.Equal(frozen.Add(2 * time.Second)) {
			break
		}
	}
	w.insert(t, []event{used("ws", "a", frozen, 1)})
	w.progress(t, frozen.Add(3*time.Second))
	changed := false
	for got := next(); ; got = next() {
		changed = changed || got.Changed
		if got.CountedThrough.Equal(frozen.Add(3 * time.Second)) {
			break
		}
	}
	if !changed {
		t.Error("the workspace's own usage was not told")
	}
}

func TestTheLiveStreamEndsWhenTheServerDrains(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, with(func(c *Config) { c.LiveInterval = time.Hour }))
	next, end := follow(t, s, "/v1/usage/live?workspace=ws")
	defer end()
	next()
	s.health.Drain()
	s.server.Close() // waits for the stream
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	none := with(func(c *Config) { // as it is meant where it can be
		c.MaxWaiting, c.WaitTimeout, c.ProgressMaxAge, c.WorkspaceMaxAge, c.TotalsMaxAge = 0, 0, 0, 0, 0
		c.MaxHeld, c.HeldMaxAge, c.RateLimit, c.MaxLive = 0, 0, 0, 0
	})
	if err := none.Validate(); err != nil {
		t.Errorf("none: %v", err)
	}
	if err := (Config{}).Validate(); err == nil || len(strings.Split(err.Error(), "\n")) != 6 {
		t.Errorf("nothing is set: %v, want 6 faults", err)
	}
	bad := with(func(c *Config) {
		c.MaxConcurrent, c.MaxWaiting, c.WaitTimeout, c.QueryTimeout = -1, -1, -1, -1
		c.ExportTimeout, c.QueryThreads, c.LiveInterval, c.MaxLive = -1, -1, -1, -1
	})
	bad.Page.FrameAncestors = []string{"a b"}
	err := bad.Validate()
	if err == nil {
		t.Fatal("nothing wrong")
	}
	if got := len(strings.Split(err.Error(), "\n")); got != 9 {
		t.Errorf("%d faults, want 9: %v", got, err)
	}
	if _, err := New(bad, Deps{}); err == nil {
		t.Error("made with a faulty configuration")
	}
}

// A connection that ends instead of answering is one that may be tried again.
func TestAnEngineThatFallsIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{io.EOF, io.ErrUnexpectedEOF, &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}} {
		var problem *httpapi.Problem
		err := storeError(t.Context(), fmt.Errorf("clickhouse: %w", lost))
		if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable || problem.RetryAfter <= 0 {
			t.Errorf("%v: %v", lost, err)
		}
	}
	if err := storeError(t.Context(), errors.New("something else")); errors.As(err, new(*httpapi.Problem)) {
		t.Errorf("a fault is told to be tried again: %v", err)
	}
}

// What ClickHouse lacks just now is nobody's fault who asks: each answer says
// that, and none a figure.
func TestAnEngineThatIsShortOfSomethingSaysWhenToComeAgain(t *testing.T) {
	for code, want := range map[int]struct {
		status int
		code   string
	}{
		202: {http.StatusServiceUnavailable, "storage_busy"},        // too many queries at once
		241: {http.StatusServiceUnavailable, "storage_busy"},        // memory
		243: {http.StatusServiceUnavailable, "storage_busy"},        // disk, for what does not fit into memory
		279: {http.StatusServiceUnavailable, "storage_unavailable"}, // a shard that nobody serves
		159: {http.StatusGatewayTimeout, "timeout"},
	} {
		short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, "Code: %d. DB::Exception: secrets of the engine", code)
		}))
		client, err := clickhouse.Open(clickhouse.Config{URL: short.URL})
		if err != nil {
			t.Fatal(err)
		}
		s := (&world{client: client}).serve(t, frozen, DefaultConfig())
		for _, path := range []string{
			"/v1/usage/dashboard?workspace=ws", "/v1/usage/agents?workspace=ws", "/v1/agents?workspace=ws", "/v1/usage/export.csv?workspace=ws",
			"/v1/usage/breakdown?by=model&workspace=ws", "/v1/usage/reconcile?workspace=ws", "/v1/usage/live?workspace=ws", "/v1/workspaces/ws",
		} {
			response, body := s.get(t, path)
			if response.StatusCode != want.status || !strings.Contains(string(body), want.code) || strings.Contains(string(body), "secrets") {
				t.Errorf("%d, %s: %d %s", code, path, response.StatusCode, body)
			}
			if want.status == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
				t.Errorf("%d, %s: it does not say when to come again", code, path)
			}
		}
		_ = client.Close()
		short.Close()
	}
}

// slowWriter takes nothing until it is let go.
type slowWriter struct {
	*httptest.ResponseRecorder

	begun, letGo chan struct{}
}

func (w *slowWriter) Write(p []byte) (int, error) {
	select {
	case w.begun <- struct{}{}:
	default:
	}
	<-w.letGo
	return w.ResponseRecorder.Write(p)
}

// Whoever reads an answer slowly takes none of the turns of others.
func TestASlowReaderHoldsNoTurn(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen, 1)})
	w.progress(t, frozen)
	s, router := newService(t, w.client, frozen, with(func(c *Config) { c.MaxConcurrent, c.MaxWaiting, c.WaitTimeout = 1, 1, time.Millisecond }))
	for _, path := range []string{
		"/v1/usage/dashboard?workspace=ws", "/v1/usage/agents?workspace=ws", "/v1/usage/breakdown?workspace=ws&by=model", "/v1/usage/reconcile?workspace=ws",
		"/v1/usage/export.csv?workspace=ws", "/v1/workspaces/ws", "/v1/agents?workspace=ws", "/w/ws/usage/figures", "/w/ws/usage/proof",
	} {
		request := func() *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			r.Header.Set("Authorization", "Bearer "+s.token)
			return r
		}
		slow := &slowWriter{httptest.NewRecorder(), make(chan struct{}, 1), make(chan struct{})}
		done := make(chan struct{})
		go func() {
			router.ServeHTTP(slow, request())
			close(done)
		}()
		<-slow.begun
		quick := httptest.NewRecorder()
		router.ServeHTTP(quick, request())
		close(slow.letGo)
		<-done
		if quick.Code != http.StatusOK || slow.Code != http.StatusOK {
			t.Errorf("%s: %d beside a slow reader, who is answered %d: %s", path, quick.Code, slow.Code, quick.Body)
		}
	}
}

func TestHeadOfAnExportReadsNoFigures(t *testing.T) {
	w := newWorld(t)
	w.insert(t, []event{used("ws", "a", frozen, 1)})
	w.progress(t, frozen)
	s, router := newService(t, w.client, frozen, DefaultConfig())
	r := httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/v1/usage/export.csv?workspace=ws", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+s.token)
	recorder := httptest.NewRecorder()
	router.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusOK || !strings.HasPrefix(recorder.Header().Get("Content-Type"), "text/csv") || recorder.Body.Len() > 0 {
		t.Errorf("%d, %v, %d bytes", recorder.Code, recorder.Header(), recorder.Body.Len())
	}
}

// However many agents somebody makes up, a question about them holds no more than so
// much.
func TestAnswersAreBounded(t *testing.T) {
	f := newFigures(question{edges: []time.Time{frozen.Add(-time.Hour), frozen}})
	for i := range maxAgents + 10 {
		f.add(0, false, strconv.Itoa(i), tally{events: 1})
	}
	var problem *httpapi.Problem
	if err := f.rankAgents(); !errors.As(err, &problem) || problem.Code != "too_many_agents" || len(f.byID) > maxAgents {
		t.Errorf("%d agents: %v", len(f.byID), err)
	}
	w := newWorld(t)
	s, _ := newService(t, w.client, frozen, DefaultConfig())
	var number proto.ColUInt64
	err := s.readStatement(t.Context(), "test", "test", clickhouse.Statement{
		SQL: "SELECT number FROM numbers(10) FORMAT Native", Settings: map[string]string{"max_result_rows": "5"},
	}, proto.Results{{Name: "number", Data: &number}}, func(int) {})
	if problem = nil; !errors.As(err, &problem) || problem.Code != "too_many_figures" || problem.Status != http.StatusBadRequest {
		t.Errorf("more rows than there may be: %v", err)
	}
}
