package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"agentmeter/internal/httpapi"
	"agentmeter/internal/httpapi/contracttest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContractIsAValidDocument(t *testing.T) {
	contracttest.Document(t)
}

type bench struct {
	router *httpapi.Router
	health *httpapi.Health
	reg    *prometheus.Registry
	log    *logLines
}

func newBench(t *testing.T) bench {
	t.Helper()
	b := bench{reg: prometheus.NewRegistry(), log: &logLines{}}
	b.health = httpapi.NewHealth(b.logger(t))
	b.router = httpapi.NewRouter(b.health, b.logger(t), b.reg)
	return b
}

func (b bench) logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), b.log), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logLines keeps what was logged, from any goroutine.
type logLines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (b bench) get(t *testing.T, path string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	b.router.ServeHTTP(w, r)
	return w
}

func problemIn(t *testing.T, w *httptest.ResponseRecorder) api.Problem {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("content type %q, want a problem document; body %s", got, w.Body)
	}
	var problem api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
		t.Fatalf("problem document: %v\n%s", err, w.Body)
	}
	return problem
}

func TestEveryErrorHasOneProblemDocument(t *testing.T) {
	t.Parallel()
	secret := errors.New("dial clickhouse 10.0.0.7: refused")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name       string
		err        error
		ctx        context.Context
		status     int
		code       string
		retryAfter string
	}{
		{name: "unforeseen", err: secret, status: 500, code: "internal_error"},
		{name: "wrapped problem", err: fmt.Errorf("ask: %w", httpapi.ErrNotFound), status: 404, code: "not_found"},
		{name: "load", err: httpapi.Unavailable("overloaded", "x", 1500*time.Millisecond, secret), status: 503, code: "overloaded", retryAfter: "2"},
		{name: "body too large", err: fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 5}), status: 413, code: "body_too_large"},
		{name: "deadline", err: fmt.Errorf("query: %w", context.DeadlineExceeded), status: 504, code: "timeout"},
		{name: "canceled by the caller", err: context.Canceled, ctx: canceled, status: 499, code: "client_closed"},
		{name: "canceled by us", err: context.Canceled, status: 500, code: "internal_error"},
		{name: "fields", err: httpapi.Invalid(schemas.FieldError{Field: "name", Code: "name_missing", Detail: "is required"}), status: 422, code: "fields_invalid"},
		{name: "parameter", err: httpapi.InvalidParameter("from", "date_invalid", "is not a date"), status: 400, code: "parameter_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.router.HandleFunc("GET /v1/x", func(w http.ResponseWriter, r *http.Request) { httpapi.WriteError(w, r, tt.err) })
			w := b.get(t, "/v1/x", func(r *http.Request) {
				if tt.ctx != nil {
					*r = *r.WithContext(tt.ctx)
				}
			})
			counted := fmt.Sprintf("# HELP agentmeter_http_problems_total Problem documents sent, by their code.\n# TYPE agentmeter_http_problems_total counter\nagentmeter_http_problems_total{code=%q} 1\n", tt.code)
			if err := testutil.GatherAndCompare(b.reg, strings.NewReader(counted), "agentmeter_http_problems_total"); err != nil {
				t.Error(err)
			}
			if tt.status == 499 {
				if w.Body.Len() > 0 {
					t.Errorf("someone who is gone was sent %s", w.Body)
				}
				return
			}
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if got := w.Header().Get("Retry-After"); got != tt.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tt.retryAfter)
			}
			problem := problemIn(t, w)
			if problem.Code != tt.code || problem.Status != tt.status || problem.TraceID == "" ||
				problem.TraceID != w.Header().Get(httpapi.TraceHeader) || problem.Instance != "urn:agentmeter:trace:"+problem.TraceID {
				t.Errorf("problem %+v", problem)
			}
			if problem.Type != "urn:agentmeter:problem:"+strings.ReplaceAll(tt.code, "_", "-") {
				t.Errorf("type %q", problem.Type)
			}
			if strings.Contains(w.Body.String(), "10.0.0.7") {
				t.Errorf("the cause leaks: %s", w.Body)
			}
			if errors.Is(tt.err, secret) && !strings.Contains(b.log.String(), "10.0.0.7") {
				t.Error("the cause is not in the log")
			}
		})
	}
}

func TestUnknownRoutesAndMethodsAnswerWithProblems(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("POST /v1/x", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })

	w := b.get(t, "/v1/ws_secret_name")
	if problem := problemIn(t, w); w.Code != 404 || problem.Code != "not_found" || strings.Contains(w.Body.String(), "ws_secret_name") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = b.get(t, "/v1/x")
	if problem := problemIn(t, w); w.Code != 405 || problem.Code != "method_not_allowed" || w.Header().Get("Allow") != "POST" {
		t.Errorf("%d %q %s", w.Code, w.Header().Get("Allow"), w.Body)
	}
	if got := testutil.CollectAndCount(b.reg, "agentmeter_http_requests_total"); got != 2 {
		t.Errorf("%d series, want one for 404 and one for 405, both unmatched", got)
	}
}

func TestAHandlersOwnNotFoundPasses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("GET /asset", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "mine")
	})
	if w := b.get(t, "/asset"); w.Code != 404 || w.Body.String() != "mine" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBrowsersPagesShowProblemsAsHTML(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	fail := func(w http.ResponseWriter, r *http.Request) {
		httpapi.WriteError(w, r, &httpapi.Problem{Status: 401, Code: "x", Detail: "<script>"})
	}
	b.router.HandleFunc("GET /session/{code}", fail)
	b.router.HandleFunc("GET /v1/x", fail)
	browser := func(r *http.Request) { r.Header.Set("Accept", "text/html,*/*") }
	w := b.get(t, "/session/abc", browser)
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), "&lt;script&gt;") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	problemIn(t, b.get(t, "/session/abc"))
	problemIn(t, b.get(t, "/v1/x", browser))
}

func TestPanicEndsOneRequestOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("GET /early", func(http.ResponseWriter, *http.Request) { panic("secret state") })
	b.router.HandleFunc("GET /late", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half an ans")
		w.(http.Flusher).Flush()
		panic("secret state")
	})
	server := httptest.NewServer(b.router)
	defer server.Close()

	answer, err := http.Get(server.URL + "/early")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), "secret") {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	answer, err = http.Get(server.URL + "/late")
	if err != nil {
		t.Fatal(err)
	}
	body, err = io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err == nil {
		t.Errorf("an answer that broke half way looks whole: %q", body)
	}
	if !strings.Contains(b.log.String(), "secret state") {
		t.Error("the panic is not in the log")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAnswersCarryTheCallersTrace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("GET /x", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, httpapi.TraceID(r.Context()))
	})
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, tt := range []struct {
		header string
		taken  bool
	}{
		{"00-" + theirs + "-00f067aa0ba902b7-01", true},
		{"cc-" + theirs + "-00f067aa0ba902b7-01-what-the-future-will-be", true},
		{"00-" + theirs + "-00f067aa0ba902b7-01-extra", false},
		{"ff-" + theirs + "-00f067aa0ba902b7-01", false},
		{"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
		{"00-" + theirs + "-0000000000000000-01", false},
		{"00-" + strings.ToUpper(theirs) + "-00f067aa0ba902b7-01", false},
		{"00-" + theirs + "-00f067aa0ba902b7", false},
		{"", false},
	} {
		w := b.get(t, "/x", func(r *http.Request) { r.Header.Set("Traceparent", tt.header) })
		got := w.Header().Get(httpapi.TraceHeader)
		if got != w.Body.String() || len(got) != 32 {
			t.Errorf("%q: header %q, context %q", tt.header, got, w.Body)
		}
		if (got == theirs) != tt.taken {
			t.Errorf("%q: trace id %q", tt.header, got)
		}
	}
}

func TestAnswersCannotBeFramedSniffedOrKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("GET /x", func(http.ResponseWriter, *http.Request) {})
	header := b.get(t, "/x").Header()
	for name, want := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cache-Control":                "no-store",
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRepeatedFaultsAreLoggedOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.router.HandleFunc("GET /x", func(w http.ResponseWriter, r *http.Request) {
			httpapi.WriteError(w, r, httpapi.Unavailable("overloaded", "x", time.Second, nil))
		})
		for range 50 {
			b.get(t, "/x")
			<-time.After(100 * time.Millisecond) // of the bubble's own clock
		}
		if lines := strings.Count(b.log.String(), "request not served"); lines != 5 {
			t.Errorf("%d lines for 50 requests in five seconds", lines)
		}
	})
}

func TestTwoRoutersShareTheirInstruments(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	for range 2 {
		router := httpapi.NewRouter(httpapi.NewHealth(log), log, reg)
		router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/nowhere", nil))
	}
	const want = "# HELP agentmeter_http_requests_total Requests answered, by route pattern and status code.\n# TYPE agentmeter_http_requests_total counter\nagentmeter_http_requests_total{code=\"404\",route=\"unmatched\"} 2\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "agentmeter_http_requests_total"); err != nil {
		t.Error(err)
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-")
	f.Add("--------")
	router := httpapi.NewRouter(httpapi.NewHealth(slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Traceparent"] = []string{header}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		id := w.Header().Get(httpapi.TraceHeader)
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
			t.Fatalf("trace id %q", id)
		}
	})
}

func TestOverTLSBrowsersAreToldToStayThere(t *testing.T) {
	t.Parallel()
	router := httpapi.NewRouter(httpapi.NewHealth(slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	for scheme, want := range map[string]string{"http": "", "https": "max-age=31536000"} {
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, scheme+"://a.example/", nil))
		if got := w.Header().Get("Strict-Transport-Security"); got != want {
			t.Errorf("%s: %q, want %q", scheme, got, want)
		}
	}
}

// FuzzClientAddr reads whatever it is as what proxies say of whom they asked for.
func FuzzClientAddr(f *testing.F) {
	f.Add("198.51.100.7", "10.0.0.1:1234")
	f.Add("[2001:db8::1]:80, ::ffff:10.0.0.2, unknown,", "10.0.0.1:1")
	proxies := httpapi.Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, forwarded, peer string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		r.Header["X-Forwarded-For"] = []string{forwarded}
		addr := proxies.ClientAddr(r)
		if from, err := netip.ParseAddrPort(peer); err == nil && !strings.HasPrefix(from.Addr().Unmap().String(), "10.") && addr != from.Addr().Unmap().WithZone("") {
			t.Errorf("whoever is no proxy says that %s asks: %s", peer, addr)
		}
	})
}

// Whoever comes to the front door is told where to go, by what was mounted.
func TestNothingIsAtTheRootButWhereThingsAre(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	httpapi.MountOperations(b.router, b.health, prometheus.NewRegistry())
	problem := problemIn(t, b.get(t, "/"))
	if problem.Status != http.StatusNotFound || problem.Code != "not_found" || !strings.Contains(problem.Detail, "/openapi.yaml") || !strings.Contains(problem.Detail, "/readyz") {
		t.Errorf("it says %+v", problem)
	}
	b.router.Signpost("A door is at /door.")
	if said, want := problemIn(t, b.get(t, "/")).Detail, problem.Detail+" A door is at /door."; said != want {
		t.Errorf("it says %q, want %q", said, want)
	}
	if problem := problemIn(t, b.get(t, "/nothing")); problem.Detail != httpapi.ErrNotFound.Detail {
		t.Errorf("elsewhere it says %q", problem.Detail)
	}
}
