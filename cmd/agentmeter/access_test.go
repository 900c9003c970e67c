package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/auth"
	"agentmeter/internal/auth/authtest"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/httpapi/contracttest"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

const accessDocument = "../../docs/access.md"

// place is where a request names its workspace.
type place string

const (
	nowhere place = "–"
	inPath  place = "path"
	inQuery place = "query"
	inBody  place = "body"
	inItems place = "each item"
)

// access is what one route is for, and what is promised about it.
type access struct {
	route   string
	scope   auth.Scope // "": everybody
	session bool       // the page's cookie passes, too
	local   bool       // nobody needs a token on this machine
	names   place
	granted int // the answer to whoever may
	foreign int // the answer about a workspace out of reach; 0: 404
	body    string
	query   string // further parameters
	roles   string // who serves it
}

// accesses has a row for every route that any process serves.
var accesses = []access{
	{route: "POST /v1/events", scope: auth.EventsWrite, names: inItems, granted: 202, foreign: 422, body: eventBody, roles: "ingest run"},
	{route: "POST /v1/adjustments", scope: auth.AdjustmentsWrite, names: inBody, granted: 202, body: adjustmentBody, roles: "ingest run"},
	{route: "PUT /v1/workspaces/{ws}", scope: auth.DirectoryWrite, names: inPath, granted: 202, body: `{"name":"Acme"}`, roles: "ingest run"},
	{route: "PUT /v1/workspaces/{ws}/agents/{id}", scope: auth.DirectoryWrite, names: inPath, granted: 202, body: `{"name":"Support"}`, roles: "ingest run"},
	{route: "DELETE /v1/workspaces/{ws}/agents/{id}", scope: auth.DirectoryWrite, names: inPath, granted: 202, roles: "ingest run"},
	{route: "PUT /v1/workspaces/{ws}/members/{id}", scope: auth.DirectoryWrite, names: inPath, granted: 202, body: `{"name":"Ann"}`, roles: "ingest run"},
	{route: "DELETE /v1/workspaces/{ws}/members/{id}", scope: auth.DirectoryWrite, names: inPath, granted: 202, roles: "ingest run"},

	{route: "POST /v1/sessions", scope: auth.UsageRead, names: inBody, granted: 201, body: `{"workspace_id":"WS"}`, roles: "ingest query run"},
	{route: "GET /session/{code}", names: nowhere, granted: 303, roles: "query run"},

	{route: "GET /v1/workspaces/{ws}", scope: auth.UsageRead, session: true, names: inPath, granted: 200, roles: "query run"},
	{route: "GET /v1/agents", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, roles: "query run"},
	{route: "GET /v1/usage/dashboard", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, roles: "query run"},
	{route: "GET /v1/usage/agents", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, roles: "query run"},
	{route: "GET /v1/usage/export.csv", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, roles: "query run"},
	{route: "GET /v1/usage/breakdown", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, query: "by=model", roles: "query run"},
	{route: "GET /v1/usage/live", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, roles: "query run"},
	{route: "GET /v1/usage/reconcile", scope: auth.UsageRead, session: true, names: inQuery, granted: 200, roles: "query run"},
	{route: "GET /w/{ws}/usage", scope: auth.UsageRead, session: true, names: inPath, granted: 200, roles: "query run"},
	{route: "GET /w/{ws}/usage/figures", scope: auth.UsageRead, session: true, names: inPath, granted: 200, roles: "query run"},
	{route: "GET /w/{ws}/usage/proof", scope: auth.UsageRead, session: true, names: inPath, granted: 200, roles: "query run"},
	{route: "GET /assets/", names: nowhere, granted: 404, roles: "query run"},

	{route: "GET /healthz", names: nowhere, granted: 200, roles: "ingest query rollup run metrics"},
	{route: "GET /readyz", names: nowhere, granted: 503, roles: "ingest query rollup run metrics"},
	{route: "GET /openapi.yaml", names: nowhere, granted: 200, roles: "ingest query rollup run metrics"},
	{route: "GET /metrics", scope: auth.OpsRead, local: true, names: nowhere, granted: 200, roles: "ingest query rollup run metrics"},
}

// onMetricsListener: what a route is on the listener for metrics, which asks for
// nothing.
func (a access) onMetricsListener() access {
	a.scope, a.local = "", false
	return a
}

const (
	eventBody      = `{"id":"ID","workspace_id":"WS","agent_id":"agt","occurred_at":"NOW","channel":"embed","credits":"1"}`
	adjustmentBody = `{"id":"ID","workspace_id":"WS","agent_id":"agt","occurred_at":"NOW","credits":"-1","messages":"0","reason":"test"}`
)

// The workspaces of the test. The first is the callers' own, the second another's,
// with usage, and the third nobody's.
const (
	ownWorkspace = "ws_mine"
	theirs       = "ws_theirs"
	nobodys      = "ws_nobodys"
)

// accessWorld is every role as it is wired in the product, before a real engine and
// a broker, with what reaches these on record.
type accessWorld struct {
	roles    map[string]*httptest.Server
	patterns map[string][]string
	key      auth.Key
	secret   []byte
	issuer   *authtest.Issuer
	sessions *auth.Sessions // of the same key
	admin    *kadm.Client
	client   *http.Client

	mu         sync.Mutex // guards what follows
	statements []string
	asked      int
}

// peerHeader tells the stand from where a request comes.
const peerHeader = "Test-Peer"

const (
	elsewhere   = "198.51.100.7:4000"
	thisMachine = "127.0.0.1:4000"
)

func newAccessWorld(t *testing.T) *accessWorld {
	t.Helper()
	w := &accessWorld{roles: make(map[string]*httptest.Server), patterns: make(map[string][]string), issuer: authtest.NewIssuer(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir := dataDir(t.TempDir())
	broker, err := startBroker(dir, "127.0.0.1:0", log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	where, database := enginetest.Start(t)
	config := clickhouse.Config{URL: where, Database: database}
	brokers := kafka.Config{Brokers: []string{broker.Addr()}, ClientID: "test"}
	if err := migrate(t.Context(), log, brokers, kafka.DefaultPlan(), config); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO usage_streams VALUES (generateUUIDv4(), 'usage.events.v1', 1, [0], now64())`,
		`INSERT INTO directory_workspaces (workspace, valid_from, name, timezone, source_offset) SELECT '` + theirs + `', now64(6), 'Theirs', 'UTC', 1`,
	} {
		if _, err := enginetest.Query(t.Context(), where, database, sql); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := kgo.NewClient(brokers.Options(log)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	w.admin = kadm.NewClient(admin)

	// What is put to the engine goes past a recorder.
	engine, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(engine)
	recorder := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.mu.Lock()
		w.statements = append(w.statements, r.URL.RawQuery+" "+string(body))
		w.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(out, r)
	}))
	t.Cleanup(recorder.Close)

	keyFile, keySet := filepath.Join(t.TempDir(), auth.KeyFile), filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keySet, w.issuer.KeySet(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.key, err = auth.LoadOrCreateKey(keyFile); err != nil {
		t.Fatal(err)
	}
	if w.secret, err = os.ReadFile(keyFile); err != nil {
		t.Fatal(err)
	}
	if w.sessions, err = auth.NewSessions(auth.DefaultSessionConfig(), w.key); err != nil {
		t.Fatal(err)
	}
	common := []string{
		"--token-key-file", keyFile, "--jwks-file", keySet, "--jwks-issuer", w.issuer.Name, "--jwks-audience", w.issuer.Audience,
		"--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
		"--attempt-rate", "0", // all of this is one address
	}
	parse := func(args ...string) *cli {
		parsed := &cli{}
		parser, err := kong.New(parsed, kong.DefaultEnvars("AGENTMETER_ACCESS_TEST"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(append(args, common...)); err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	toKafka := []string{"--kafka", broker.Addr()}
	toClickHouse := []string{"--clickhouse", recorder.URL, "--clickhouse-database", database}
	add := func(role string, p *process, err error) {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.close() })
		p.health.Drain() // for one answer of /readyz, whatever runs
		w.serve(t, role, p.router, p.router.Patterns())
		if role == "run" {
			w.serve(t, "metrics", p.metrics, p.metrics.Patterns())
		}
	}
	ctx := t.Context()
	c := parse(append([]string{"ingest"}, toKafka...)...)
	p, err := c.Ingest.wire(ctx, log)
	add("ingest", p, err)
	c = parse(append([]string{"query"}, toClickHouse...)...)
	p, err = c.Query.wire(ctx, log)
	add("query", p, err)
	c = parse(slices.Concat([]string{"rollup"}, toKafka, toClickHouse)...)
	p, err = c.Rollup.wire(ctx, log)
	add("rollup", p, err)
	c = parse("run", "--data-dir", string(dir))
	p = newProcess(log)
	config.URL = recorder.URL
	add("run", p, c.Run.mount(ctx, p, w.key, &endpoints{}, brokers, config))

	w.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

func (w *accessWorld) serve(t *testing.T, role string, handler http.Handler, patterns []string) {
	t.Helper()
	w.patterns[role] = patterns
	w.roles[role] = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = r.Header.Get(peerHeader)
		r.Header.Del(peerHeader)
		handler.ServeHTTP(out, r)
	}))
	t.Cleanup(w.roles[role].Close)
}

func (w *accessWorld) mint(t *testing.T, workspace schemas.WorkspaceID, scopes ...auth.Scope) string {
	t.Helper()
	token, err := w.key.Mint(auth.Grant{Workspace: workspace, Scopes: scopes, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// cookie is a page session's, got as a browser gets it.
func (w *accessWorld) cookie(t *testing.T, workspace schemas.WorkspaceID) *http.Cookie {
	t.Helper()
	link, err := w.sessions.Link(w.roles["query"].URL, workspace)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := w.client.Get(link.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if len(answer.Cookies()) != 1 {
		t.Fatalf("no session: %d", answer.StatusCode)
	}
	return answer.Cookies()[0]
}

// given is an answer, without what differs from one to the next.
type given struct {
	status     int
	body       string
	header     http.Header
	statements []string // that were put to the engine meanwhile
}

// ask sends one request for a route about a workspace.
func (w *accessWorld) ask(t *testing.T, role string, a access, workspace string, edit func(*http.Request)) given {
	t.Helper()
	method, path, _ := strings.Cut(a.route, " ")
	code := ""
	if strings.Contains(path, "{code}") {
		link, err := w.sessions.Link("", ownWorkspace)
		if err != nil {
			t.Fatal(err)
		}
		code = strings.TrimPrefix(link.URL, "/session/")
	}
	path = strings.NewReplacer("{ws}", url.PathEscape(workspace), "{id}", "x", "{code}", code).Replace(path)
	query := url.Values{}
	if a.names == inQuery {
		query.Set("workspace", workspace)
	}
	if name, value, found := strings.Cut(a.query, "="); found {
		query.Set(name, value)
	}
	w.asked++
	quoted, err := json.Marshal(workspace)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.NewReplacer("ID", "id-"+strconv.Itoa(w.asked), `"WS"`, string(quoted), "NOW", time.Now().UTC().Format(time.RFC3339)).Replace(a.body)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, w.roles[role].URL+path+"?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set(peerHeader, elsewhere)
	if edit != nil {
		edit(r)
	}
	w.mu.Lock()
	w.statements = nil
	w.mu.Unlock()
	answer, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	g := given{status: answer.StatusCode, header: answer.Header.Clone()}
	if answer.Header.Get("Content-Type") != "text/event-stream" {
		content, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body = io.NopCloser(bytes.NewReader(content))
		if !strings.HasPrefix(path, "/assets/") && !strings.HasPrefix(path, "/w/") {
			contracttest.Check(t, r, answer)
		}
		g.body = strings.ReplaceAll(string(content), answer.Header.Get("Trace-Id"), "TRACE")
		g.header.Del("Trace-Id")
		g.header.Del("Date")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	g.statements = w.statements
	return g
}

func withToken(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// written is how many records Kafka has.
func (w *accessWorld) written(t *testing.T) (records int64) {
	t.Helper()
	ends, err := w.admin.ListEndOffsets(t.Context(), kafka.TopicEvents, kafka.TopicDirectory)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(end kadm.ListedOffset) { records += end.Offset })
	return records
}

// caller is somebody who asks, and what he is promised.
type caller struct {
	name  string
	short string
	edit  func(*http.Request)
	want  func(access) int
}

func granted(a access) int { return a.granted }

// unlessPublic is a status of every route that asks for anything.
func unlessPublic(status int) func(access) int {
	return func(a access) int {
		if a.scope == "" {
			return a.granted
		}
		return status
	}
}

// callers are those about whom the table has a column each.
func (w *accessWorld) callers(t *testing.T) []caller {
	t.Helper()
	all := []caller{
		{"no token", "no token", nil, unlessPublic(http.StatusUnauthorized)},
		{
			"no token, from this machine", "on this machine",
			func(r *http.Request) { r.Header.Set(peerHeader, thisMachine) },
			func(a access) int {
				if a.local {
					return a.granted
				}
				return unlessPublic(http.StatusUnauthorized)(a)
			},
		},
	}
	for _, scope := range auth.Scopes {
		all = append(all, caller{"a token with " + string(scope) + " alone", string(scope), withToken(w.mint(t, ownWorkspace, scope)), func(a access) int {
			if a.scope == scope {
				return a.granted
			}
			return unlessPublic(http.StatusForbidden)(a)
		}})
	}
	cookie := w.cookie(t, ownWorkspace)
	all = append(all,
		caller{"a page session", "session", func(r *http.Request) { r.AddCookie(cookie) }, func(a access) int {
			if a.session {
				return a.granted
			}
			return unlessPublic(http.StatusUnauthorized)(a)
		}},
		caller{"a token for all workspaces", "all workspaces", withToken(w.mint(t, schemas.AllWorkspaces, auth.Scopes...)), granted},
	)
	for algorithm, token := range w.issuer.Tokens(t, ownWorkspace, "events:write adjustments:write directory:write usage:read ops:read") {
		all = append(all, caller{"a platform's token (" + algorithm + ")", "platform " + algorithm, withToken(token), granted})
	}
	slices.SortStableFunc(all[len(all)-2:], func(a, b caller) int { return cmp.Compare(a.name, b.name) })
	return all
}

// forgers send what is no token that holds; all get one answer.
func (w *accessWorld) forgers(t *testing.T) []caller {
	t.Helper()
	valid := w.mint(t, ownWorkspace, auth.Scopes...)
	cookie := w.cookie(t, ownWorkspace)
	link, err := w.sessions.Link("", ownWorkspace)
	if err != nil {
		t.Fatal(err)
	}
	refused := unlessPublic(http.StatusUnauthorized)
	all := []caller{
		{name: "a valid token in the query", edit: func(r *http.Request) { r.URL.RawQuery += "&access_token=" + valid + "&token=" + valid }, want: refused},
		{name: "a valid token as a user's password", edit: func(r *http.Request) { r.SetBasicAuth("token", valid) }, want: refused},
		{name: "a valid token in a cookie", edit: func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: valid}) }, want: refused},
		{name: "a valid token twice", edit: func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + valid, "Bearer " + valid} }, want: refused},
		{name: "a session as a token", edit: withToken(cookie.Value), want: refused},
		{name: "a one-time link as a token", edit: withToken(strings.TrimPrefix(link.URL, "/session/")), want: refused},
		{name: "a one-time link as a session", edit: func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: cookie.Name, Value: strings.TrimPrefix(link.URL, "/session/")})
		}, want: refused},
		{name: "a forged session", edit: func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value + "x"}) }, want: refused},
	}
	for name, token := range authtest.Forgeries(t, w.secret) {
		all = append(all, caller{name: name, edit: withToken(token), want: refused})
	}
	for name, token := range w.issuer.Forgeries(t) {
		all = append(all, caller{name: name, edit: withToken(token), want: refused})
	}
	slices.SortFunc(all, func(a, b caller) int { return cmp.Compare(a.name, b.name) })
	return all
}

// It asks every route of every process as every kind of caller, and writes down what
// was answered in docs/access.md.
func TestEveryRouteAnswersEachCallerAsTheTableSays(t *testing.T) {
	w := newAccessWorld(t)
	rows := make(map[string]access)
	for _, a := range accesses {
		rows[a.route] = a
	}

	t.Run("every route has its row and its roles", func(t *testing.T) {
		serving := make(map[string][]string)
		for role, patterns := range w.patterns {
			for _, pattern := range patterns {
				serving[pattern] = append(serving[pattern], role)
			}
		}
		for pattern, roles := range serving {
			want := strings.Fields(rows[pattern].roles)
			slices.Sort(roles)
			slices.Sort(want)
			if !slices.Equal(roles, want) {
				t.Errorf("%s is served by %v, the table says %v: give it a row, and say who may", pattern, roles, want)
			}
		}
		for route := range rows {
			if serving[route] == nil {
				t.Errorf("%s has a row, and no process serves it", route)
			}
		}
	})
	t.Run("the rows are what the contract says", func(t *testing.T) {
		for route, ways := range contracttest.Routes(t) {
			a := rows[route]
			var want []string
			if a.scope != "" {
				want = append(want, "bearerAuth "+string(a.scope))
			}
			if a.session {
				want = append(want, "sessionCookie usage:read")
			}
			if a.local {
				want = append(want, "none")
			}
			slices.Sort(want)
			slices.Sort(ways)
			if !slices.Equal(ways, want) {
				t.Errorf("%s: the contract says %q, the table %q", route, ways, want)
			}
		}
	})

	callers, forgers := w.callers(t), w.forgers(t)
	answers := make(map[string]map[string]int) // route → caller's short name → status
	note := func(t *testing.T, role string, a access, column string, status int) {
		t.Helper()
		if role == "metrics" {
			return // another table's
		}
		if answers[a.route] == nil {
			answers[a.route] = make(map[string]int)
		}
		if before, known := answers[a.route][column]; known && before != status {
			t.Errorf("%s, %s: %s answers %d, another process %d", a.route, column, role, status, before)
		}
		answers[a.route][column] = status
	}
	each := func(visit func(role string, a access)) {
		for _, role := range slices.Sorted(maps.Keys(w.roles)) {
			for _, a := range accesses {
				if !slices.Contains(strings.Fields(a.roles), role) {
					continue
				}
				if role == "metrics" {
					a = a.onMetricsListener()
				}
				visit(role, a)
			}
		}
	}
	t.Run("each caller gets what is promised", func(t *testing.T) {
		each(func(role string, a access) {
			for _, c := range callers {
				got := w.ask(t, role, a, ownWorkspace, c.edit)
				if want := c.want(a); got.status != want {
					t.Errorf("%s of %s, %s: %d, want %d: %.200s", a.route, role, c.name, got.status, want, got.body)
				}
				challenge := got.header.Get("WWW-Authenticate")
				switch {
				case got.status == http.StatusUnauthorized && !strings.HasPrefix(challenge, `Bearer realm="agentmeter"`),
					got.status == http.StatusForbidden && !strings.Contains(challenge, `error="insufficient_scope"`):
					t.Errorf("%s of %s, %s: %d with the challenge %q", a.route, role, c.name, got.status, challenge)
				}
				if got.status > http.StatusBadRequest && got.status < http.StatusInternalServerError && a.scope != "" && len(got.statements) > 0 {
					t.Errorf("%s of %s, %s: it was refused after work: %q", a.route, role, c.name, got.statements)
				}
				note(t, role, a, c.short, got.status)
			}
		})
	})
	t.Run("no forgery passes, and none is told from another", func(t *testing.T) {
		each(func(role string, a access) {
			for _, c := range forgers {
				before := w.written(t)
				got := w.ask(t, role, a, ownWorkspace, c.edit)
				if want := c.want(a); got.status != want {
					t.Errorf("%s of %s, %s: %d, want %d: %.200s", a.route, role, c.name, got.status, want, got.body)
				}
				if a.scope != "" && (len(got.statements) > 0 || w.written(t) != before) {
					t.Errorf("%s of %s, %s: it was refused after work: %q", a.route, role, c.name, got.statements)
				}
				note(t, role, a, "forged", got.status)
			}
		})
	})
	t.Run("not yours and not there are one answer, by the same work", func(t *testing.T) {
		if got := w.ask(t, "query", rows["GET /v1/workspaces/{ws}"], theirs, withToken(w.mint(t, theirs, auth.UsageRead))); !strings.Contains(got.body, "Theirs") {
			t.Fatalf("the other workspace is not there: %d %s", got.status, got.body)
		}
		cookie := w.cookie(t, ownWorkspace)
		holders := []caller{
			{name: "a token", edit: withToken(w.mint(t, ownWorkspace, auth.Scopes...))},
			{name: "a session", edit: func(r *http.Request) { r.AddCookie(cookie) }},
			{name: "a browser's session", edit: func(r *http.Request) {
				r.AddCookie(cookie)
				r.Header.Set("Accept", "text/html")
			}},
		}
		each(func(role string, a access) {
			if a.names == nowhere {
				return
			}
			want := cmp.Or(a.foreign, http.StatusNotFound)
			for i, holder := range holders {
				if i > 0 && !a.session {
					continue
				}
				var first given
				for i, workspace := range []string{theirs, nobodys, "*", ownWorkspace + " ", strings.ToUpper(ownWorkspace), ownWorkspace + "/x"} {
					before := w.written(t)
					got := w.ask(t, role, a, workspace, holder.edit)
					if got.status != want {
						t.Errorf("%s of %s, %s, about %q: %d, want %d: %.200s", a.route, role, holder.name, workspace, got.status, want, got.body)
					}
					if len(got.statements) > 0 || w.written(t) != before {
						t.Errorf("%s of %s, %s, about %q: it was refused after work: %q", a.route, role, holder.name, workspace, got.statements)
					}
					got.body = strings.ReplaceAll(got.body, "id-"+strconv.Itoa(w.asked), "id-N")
					if i == 0 {
						first = got
					}
					got.header.Del("Content-Length") // of an id that is counted up
					first.header.Del("Content-Length")
					if got.body != first.body || fmt.Sprint(got.header) != fmt.Sprint(first.header) {
						t.Errorf("%s of %s, %s: %q can be told from %q:\n%v %s\n%v %s", a.route, role, holder.name, workspace, theirs, got.header, got.body, first.header, first.body)
					}
				}
				note(t, role, a, "not yours, or not there", want)
			}
		})
	})
	if !t.Failed() {
		w.document(t, callers, forgers, answers)
	}
}

// document holds docs/access.md to what was answered.
func (w *accessWorld) document(t *testing.T, callers, forgers []caller, answers map[string]map[string]int) {
	t.Helper()
	var doc strings.Builder
	doc.WriteString(accessIntroduction)
	columns := make([]string, 0, len(callers)+2)
	for _, c := range callers {
		columns = append(columns, c.short)
	}
	columns = append(columns, "not yours, or not there", "forged")
	fmt.Fprintf(&doc, "| route | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, a := range accesses {
		fmt.Fprintf(&doc, "| `%s` |", a.route)
		for _, column := range columns {
			if status, known := answers[a.route][column]; known {
				fmt.Fprintf(&doc, " %d |", status)
			} else {
				doc.WriteString(" – |")
			}
		}
		doc.WriteString("\n")
	}
	doc.WriteString("\n## Who serves it, and where it names the workspace\n\n| route | processes | workspace in |\n|---|---|---|\n")
	for _, a := range accesses {
		fmt.Fprintf(&doc, "| `%s` | %s | %s |\n", a.route, strings.Join(strings.Fields(a.roles), ", "), a.names)
	}
	doc.WriteString(forgeriesIntroduction)
	for _, c := range forgers {
		fmt.Fprintf(&doc, "- %s\n", c.name)
	}
	content, err := os.ReadFile(accessDocument)
	if err != nil && !*update {
		t.Fatal(err)
	}
	if string(content) == doc.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what was answered: go test ./cmd/agentmeter -run TestEveryRoute -update, and look at what changes", accessDocument)
	}
	if err := os.WriteFile(accessDocument, []byte(doc.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

const accessIntroduction = `<!-- written by go test ./cmd/agentmeter -run TestEveryRoute -update -->
# Access

Every route of every process, and what each kind of caller was answered by a test that asks all
of them (` + "`TestEveryRouteAnswersEachCallerAsTheTableSays`" + ` in ` + "`cmd/agentmeter`" + `). The table that it
goes by is in the same file; a route without a row there fails it. What the scopes are for:
[openapi.yaml](../schemas/openapi.yaml). Why: [threat model](threat-model.md).

Callers come from another machine, and ask about their own workspace, unless the column says
otherwise. With 401, 403 and 404 no statement is put to ClickHouse and no record written to Kafka.
"Not yours" and "not there" are one answer, in status, headers and
body. Of ` + "`POST /v1/events`" + ` each item is answered for itself; 422 is that of a batch of foreign items
alone. ` + "`/readyz`" + ` answers 503 since the processes drain, and an asset without a name is 404.
` + "`explain`" + ` of a question takes ` + "`ops:read`" + ` beside ` + "`usage:read`" + `. On a metrics listener
(` + "`--metrics-listen`" + `) nothing needs a token.

`

const forgeriesIntroduction = `
## Forged

What is sent in the column "forged", by every route with a scope answered with 401; public routes
look at no token.

`
