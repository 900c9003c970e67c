package auth_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/httpapi/contracttest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// stand is every route of the contract behind the guard; what gets through is
// answered with 299.
type stand struct {
	key    auth.Key
	router *httpapi.Router
}

const passed = 299

func newStand(t *testing.T, config auth.SessionConfig) stand {
	t.Helper()
	key, _ := newKey(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	router := httpapi.NewRouter(httpapi.NewHealth(log), log, prometheus.NewRegistry())
	sessions, err := auth.NewSessions(config, key)
	if err != nil {
		t.Fatal(err)
	}
	mux := auth.NewGuard(key.Verifier(), sessions).Mux(router)
	sessions.MountLinks(mux)
	sessions.MountPages(mux)
	for route := range contracttest.Routes(t) {
		if strings.Contains(route, "session") {
			continue
		}
		mux.HandleFunc(route, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(passed) })
	}
	return stand{key: key, router: router}
}

// ask sends a request for a route; {ws} and ?workspace= name the workspace.
func (s stand) ask(t *testing.T, route, workspace string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	path = strings.NewReplacer("{ws}", url.PathEscape(workspace), "{id}", "x", "{code}", "x").Replace(path)
	r := httptest.NewRequestWithContext(t.Context(), method, path+"?workspace="+url.QueryEscape(workspace), nil)
	r.RemoteAddr = "10.1.2.3:4"
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	if w.Code != passed {
		contracttest.Check(t, r, w.Result())
	}
	return w
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func TestScopeIsCheckedBeforeTheWorkspace(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws_theirs", bearer(mint(t, s.key, "ws_mine", auth.EventsWrite))); w.Code != 403 {
		t.Errorf("%d", w.Code)
	}
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws_theirs"); w.Code != 401 {
		t.Errorf("%d", w.Code)
	}
}

func TestASecondWorkspaceParameterIsNoWayRound(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	token := mint(t, s.key, "ws_mine", auth.UsageRead)
	for query, want := range map[string]int{
		"workspace=ws_mine&workspace=ws_theirs": 404,
		"workspace=ws_theirs&workspace=ws_mine": 404,
		"workspace=ws_mine&workspace=ws_mine":   400,
		"workspace=ws_mine":                     passed,
	} {
		w := s.ask(t, "GET /v1/usage/dashboard", "", bearer(token), func(r *http.Request) { r.URL.RawQuery = query })
		if w.Code != want {
			t.Errorf("%s: %d, want %d", query, w.Code, want)
		}
	}
}

func TestOddAuthorizationHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	token := mint(t, s.key, "ws_mine", auth.UsageRead)
	for name, headers := range map[string][]string{
		"basic":  {"Basic " + token},
		"none":   {"Bearer"},
		"empty":  {""},
		"twice":  {"Bearer " + token, "Bearer " + token},
		"inside": {"Bearer x " + token},
	} {
		w := s.ask(t, "GET /v1/usage/dashboard", "ws_mine", func(r *http.Request) { r.Header["Authorization"] = headers })
		if w.Code != 401 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	w := s.ask(t, "GET /v1/usage/dashboard", "ws_mine", func(r *http.Request) { r.Header.Set("Authorization", "bearer "+token) })
	if w.Code != passed {
		t.Errorf("the scheme's case matters: %d", w.Code)
	}
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws_mine", func(r *http.Request) { r.URL.RawQuery += "&access_token=" + token }); w.Code != 401 {
		t.Errorf("a token in the URL is taken: %d", w.Code)
	}
}

func TestMetricsNeedATokenBeyondLoopback(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	local := func(r *http.Request) { r.RemoteAddr, r.Host = "127.0.0.1:9", "127.0.0.1:8080" }
	if w := s.ask(t, "GET /metrics", "", local); w.Code != passed {
		t.Errorf("on loopback: %d", w.Code)
	}
	if w := s.ask(t, "GET /metrics", "", local, bearer("forged")); w.Code != 401 {
		t.Errorf("on loopback with a bad token: %d", w.Code)
	}
	if w := s.ask(t, "GET /metrics", ""); w.Code != 401 {
		t.Errorf("beyond loopback: %d", w.Code)
	}
	if w := s.ask(t, "GET /metrics", "", bearer(mint(t, s.key, "ws_a", auth.OpsRead))); w.Code != passed {
		t.Errorf("with ops:read: %d", w.Code)
	}
}

func TestAnAddressThatGuessesIsToldToWaitAndWhoHasATokenIsNot(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	s.router.LimitAttempts(1, nil, prometheus.NewRegistry())
	token := mint(t, s.key, "ws_a", auth.UsageRead)
	_, link := s.link(t, token, "")
	seen := make(map[int]bool)
	for range 20 {
		for _, route := range []string{"GET /v1/usage/dashboard", "POST /v1/events", "GET /session/{code}"} {
			seen[s.ask(t, route, "ws_a", bearer(token+"x")).Code] = true
			if w := s.ask(t, "GET /v1/usage/dashboard", "ws_a", bearer(token)); w.Code != passed {
				t.Fatalf("a valid token: %d", w.Code)
			}
		}
	}
	if !seen[401] || !seen[429] || len(seen) != 2 {
		t.Errorf("guesses were answered with %v", seen)
	}
	if answer := s.open(t, link.URL, func(r *http.Request) { r.RemoteAddr = "10.1.2.3:4" }); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("a good link: %d", answer.StatusCode)
	}
}

func TestARouteWithoutAPolicyStopsTheProgram(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	defer func() {
		if recover() == nil {
			t.Error("an unguarded route was added")
		}
	}()
	auth.NewGuard(s.key.Verifier(), nil).Mux(s.router).HandleFunc("GET /v1/new", nil)
}

// link asks for a one-time link.
func (s stand) link(t *testing.T, token, body string) (*httptest.ResponseRecorder, api.SessionLink) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://usage.example.com/v1/sessions", strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	bearer(token)(r)
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	contracttest.Check(t, r, w.Result())
	var link api.SessionLink
	if w.Code == 201 {
		if err := json.Unmarshal(w.Body.Bytes(), &link); err != nil {
			t.Fatal(err)
		}
	}
	return w, link
}

func (s stand) open(t *testing.T, link string, edit ...func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	answer := w.Result()
	if r.Method == http.MethodGet {
		contracttest.Check(t, r, answer)
	}
	return answer
}

func TestAOneTimeLinkSignsABrowserInOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	w, link := s.link(t, mint(t, s.key, "ws/ä", auth.UsageRead), "")
	if w.Code != 201 || !strings.HasPrefix(link.URL, "http://usage.example.com/session/") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if left := time.Until(link.ExpiresAt); left < 50*time.Second || left > time.Minute {
		t.Errorf("it works for %v", left)
	}
	if head := s.open(t, link.URL, func(r *http.Request) { r.Method = http.MethodHead }); head.StatusCode != http.StatusMethodNotAllowed || len(head.Cookies()) > 0 {
		t.Errorf("a look at the link: %d", head.StatusCode)
	}
	answer := s.open(t, link.URL)
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/w/ws%2F%C3%A4/usage" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	cookie := answer.Cookies()[0]
	if cookie.Name != "agentmeter_session" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" ||
		cookie.MaxAge != 3600 || cookie.Secure {
		t.Errorf("cookie %+v", cookie)
	}
	if again := s.open(t, link.URL); again.StatusCode != http.StatusUnauthorized || len(again.Cookies()) > 0 {
		t.Errorf("the second time: %d", again.StatusCode)
	}

	with := func(r *http.Request) { r.AddCookie(cookie) }
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws/ä", with); w.Code != passed {
		t.Errorf("reading with the session: %d", w.Code)
	}
	if w := s.ask(t, "GET /w/{ws}/usage", "ws/ä", with); w.Code != passed {
		t.Errorf("the page with the session: %d", w.Code)
	}
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws_b", with); w.Code != 404 {
		t.Errorf("another workspace with the session: %d", w.Code)
	}
	for route, needs := range contracttest.Routes(t) {
		if slices.Contains(needs, "sessionCookie usage:read") || len(needs) == 0 {
			continue
		}
		if w := s.ask(t, route, "ws/ä", with); w.Code != 401 {
			t.Errorf("%s takes the session: %d", route, w.Code)
		}
	}
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws/ä", bearer(cookie.Value)); w.Code != 401 {
		t.Errorf("the session passes for a token: %d", w.Code)
	}
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws/ä", bearer(strings.TrimPrefix(link.URL, "http://usage.example.com/session/"))); w.Code != 401 {
		t.Errorf("the link passes for a token: %d", w.Code)
	}
	if answer := s.open(t, "http://x/session/"+cookie.Value); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("the session passes for a link: %d", answer.StatusCode)
	}
	if answer := s.open(t, "http://x/session/"+mint(t, s.key, "ws/ä", auth.UsageRead)); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token passes for a link: %d", answer.StatusCode)
	}
	forged := *cookie
	forged.Value += "x"
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws/ä", func(r *http.Request) { r.AddCookie(&forged) }); w.Code != 401 {
		t.Errorf("a forged session: %d", w.Code)
	}
}

func TestASessionCoversOneWorkspaceThatTheTokenCovers(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	all, one := mint(t, s.key, schemas.AllWorkspaces, auth.UsageRead), mint(t, s.key, "ws_a", auth.UsageRead)
	for _, tt := range []struct {
		name, token, body string
		status            int
	}{
		{"all, named", all, `{"workspace_id":"ws_b"}`, 201},
		{"all, not named", all, ``, 422},
		{"all, null", all, `{"workspace_id":null}`, 422},
		{"all, star", all, `{"workspace_id":"*"}`, 422},
		{"all, not an id", all, `{"workspace_id":"a\u0000"}`, 422},
		{"one, not named", one, `{}`, 201},
		{"one, named", one, `{"workspace_id":"ws_a"}`, 201},
		{"one, another", one, `{"workspace_id":"ws_b"}`, 404},
		{"one, star", one, `{"workspace_id":"*"}`, 404},
		{"unknown member", one, `{"workspace":"ws_a"}`, 422},
		{"broken", one, `{`, 400},
		{"too large", one, `{"workspace_id":"` + strings.Repeat("x", 5000) + `"}`, 413},
	} {
		if w, _ := s.link(t, tt.token, tt.body); w.Code != tt.status {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
	}
}

func TestEmbeddedPagesHaveCookiesThatFramesSend(t *testing.T) {
	t.Parallel()
	config := auth.DefaultSessionConfig()
	config.PageURL, config.Embedded = "https://usage.example.com/meter/", true
	s := newStand(t, config)
	_, link := s.link(t, mint(t, s.key, "ws_a", auth.UsageRead), "")
	const base = "https://usage.example.com/meter"
	if !strings.HasPrefix(link.URL, base+"/session/") {
		t.Fatal(link.URL)
	}
	answer := s.open(t, "http://inside"+strings.TrimPrefix(link.URL, base))
	cookie := answer.Cookies()[0]
	if cookie.Name != "__Host-agentmeter_session" || !cookie.Secure || cookie.SameSite != http.SameSiteNoneMode || !cookie.Partitioned || !cookie.HttpOnly {
		t.Errorf("cookie %+v", cookie)
	}
	if got := answer.Header.Get("Location"); got != "/meter/w/ws_a/usage" {
		t.Errorf("location %q", got)
	}
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws_a", func(r *http.Request) { r.AddCookie(cookie) }); w.Code != passed {
		t.Errorf("reading with the session: %d", w.Code)
	}
	planted := *cookie
	planted.Name = "agentmeter_session"
	if w := s.ask(t, "GET /v1/usage/dashboard", "ws_a", func(r *http.Request) { r.AddCookie(&planted) }); w.Code != 401 {
		t.Errorf("a cookie that any host could set is taken: %d", w.Code)
	}
}

func TestACookieOverHTTPSIsSecure(t *testing.T) {
	t.Parallel()
	for name, byHTTPS := range map[string]func(*http.Request){
		"a proxy's": func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") },
		"our own":   func(r *http.Request) { r.TLS = &tls.ConnectionState{} },
	} {
		s := newStand(t, auth.DefaultSessionConfig())
		token := mint(t, s.key, "ws_a", auth.UsageRead)
		_, link := s.link(t, token, "")
		cookie := s.open(t, link.URL, byHTTPS).Cookies()[0]
		if cookie.Name != "__Host-agentmeter_session" || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("%s: cookie %+v", name, cookie)
		}
		if w := s.ask(t, "GET /v1/usage/dashboard", "ws_a", byHTTPS, func(r *http.Request) { r.AddCookie(cookie) }); w.Code != passed {
			t.Errorf("%s: reading with the session: %d", name, w.Code)
		}
		planted := *cookie
		planted.Name = "agentmeter_session"
		w := s.ask(t, "GET /v1/usage/dashboard", "ws_a", byHTTPS, func(r *http.Request) { r.AddCookie(&planted) })
		if w.Code != 401 {
			t.Errorf("%s: a cookie that any host could set is taken: %d", name, w.Code)
		}
	}
}

func TestLinksAreHTTPSWhereTheListenerIs(t *testing.T) {
	t.Parallel()
	s := newStand(t, auth.DefaultSessionConfig())
	w := s.ask(t, "POST /v1/sessions", "ws_a", bearer(mint(t, s.key, "ws_a", auth.UsageRead)), func(r *http.Request) {
		r.TLS, r.Host = &tls.ConnectionState{}, "usage.example.com"
	})
	var link api.SessionLink
	if err := json.Unmarshal(w.Body.Bytes(), &link); err != nil || !strings.HasPrefix(link.URL, "https://usage.example.com/session/") {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
}

func TestUsedLinksTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	config := auth.DefaultSessionConfig()
	config.MaxLinks = 2
	s := newStand(t, config)
	token := mint(t, s.key, "ws_a", auth.UsageRead)
	for i, want := range []int{303, 303, 503} {
		_, link := s.link(t, token, "")
		if answer := s.open(t, link.URL); answer.StatusCode != want {
			t.Errorf("link %d: %d, want %d", i, answer.StatusCode, want)
		}
	}
}

func TestSessionConfigReportsEveryFault(t *testing.T) {
	t.Parallel()
	if err := auth.DefaultSessionConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := auth.SessionConfig{PageURL: "http://x", Embedded: true}.Validate()
	for _, want := range []string{"needs https", "link ttl", "--session-ttl", "max links"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	for _, bad := range []string{"usage.example.com", "ftp://x", "https://x?y", "https://x#y"} {
		config := auth.DefaultSessionConfig()
		config.PageURL = bad
		if config.Validate() == nil {
			t.Errorf("page url %q was taken", bad)
		}
	}
}

func TestPeopleWithoutAccessSeeThePageAndProgramsAProblem(t *testing.T) {
	key, err := auth.LoadOrCreateKey(filepath.Join(t.TempDir(), auth.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	guard := auth.NewGuard(key.Verifier(), nil)
	guard.DenyPage(func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>")
		})
	})
	router := httpapi.NewRouter(httpapi.NewHealth(slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	guard.Mux(router).HandleFunc("GET /w/{ws}/usage", func(http.ResponseWriter, *http.Request) { t.Error("let in") })
	for accept, want := range map[string]string{"text/html,application/xhtml+xml": "<html>", "application/json": "token_missing", "": "token_missing"} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/w/ws_a/usage", nil)
		request.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		router.ServeHTTP(answer, request)
		if answer.Code != http.StatusUnauthorized || !strings.Contains(answer.Body.String(), want) {
			t.Errorf("Accept %q: status %d, %q; want 401 with %q", accept, answer.Code, answer.Body, want)
		}
	}
}
