package query

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"agentmeter/internal/auth"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// tap stands before the engine and writes down the text of each statement,
// without the values that are bound to it.
type tap struct {
	mu    sync.Mutex // guards texts
	texts []string
}

func (l *tap) before(t *testing.T, engine string) (address string) {
	t.Helper()
	target, err := url.Parse(engine)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // who asked may leave before the answer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // who asked has left
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		l.mu.Lock()
		l.texts = append(l.texts, r.URL.Query().Get("query")+string(body))
		l.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// heard are the statements since the last time, in an order that chance has no
// part in.
func (l *tap) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	texts := l.texts
	l.texts = nil
	slices.Sort(texts)
	return texts
}

// parameter is one of an operation of the contract's.
type parameter struct {
	path, name string
	in         string // query or path
	required   []string
}

// readParametersOfContract lists the parameters of all that is read.
func readParametersOfContract(t *testing.T) []parameter {
	t.Helper()
	type declared struct {
		Ref      string `yaml:"$ref"`
		Name     string
		In       string
		Required bool
	}
	var contract struct {
		Paths map[string]struct {
			Parameters []declared
			Get        *struct{ Parameters []declared }
		}
		Components struct{ Parameters map[string]declared }
	}
	if err := yaml.Unmarshal(schemas.OpenAPI, &contract); err != nil {
		t.Fatal(err)
	}
	var all []parameter
	for path, item := range contract.Paths {
		if item.Get == nil || !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/w/") {
			continue
		}
		var own []declared
		var required []string
		for _, p := range slices.Concat(item.Parameters, item.Get.Parameters) {
			if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
				p = contract.Components.Parameters[name]
			}
			own = append(own, p)
			if p.Required && p.In == "query" {
				required = append(required, p.Name)
			}
		}
		for _, p := range own {
			if p.In == "query" || p.In == "path" {
				all = append(all, parameter{path: path, name: p.Name, in: p.In, required: required})
			}
		}
	}
	slices.SortFunc(all, func(a, b parameter) int { return strings.Compare(a.path+a.name, b.path+b.name) })
	if len(all) < 30 {
		t.Fatalf("only %d parameters were found: %v", len(all), all)
	}
	return all
}

// address puts a value into the parameter's place, with good ones for the others.
func (p parameter) address(value string) string {
	path := p.path
	query := url.Values{}
	for _, name := range p.required {
		query.Set(name, map[string]string{"workspace": "ws", "by": "model"}[name])
	}
	if p.in == "path" {
		path = strings.ReplaceAll(path, "{"+p.name+"}", url.PathEscape(value))
	} else {
		query.Set(p.name, value)
	}
	path = strings.ReplaceAll(path, "{ws}", "ws")
	return path + "?" + query.Encode()
}

// injections try to be more than a value. None holds what JSON or HTML would
// write in several ways.
var injections = []string{
	`'`, `''`, `"`, "`", `\`, `\'`, `\\'`, `' OR 1=1 -- `, `'; DROP TABLE usage_ledger; --`, `') OR ('a'='a`,
	"' UNION ALL SELECT * FROM system.users FORMAT TSV", `{x:String}`, `{workspace:String}`, `{{.}}`, `${x}`, `$1`, `?`, `%s`, `%27`,
	`/* c */`, `-- c`, `#`, `;`, "a\nb", "a\tb", "a\x00b", "\u2019", "\uff07 OR 1=1", "\u202eemca", "\xff\x27", `\x27`, `\N`, `\0`, "NULL", "*", "..", "a/../b",
	strings.Repeat("'", 128), strings.Repeat(`\`, 127) + "'",
}

const harmless = "harmless"

// Whatever is put into a parameter of the contract's is a value: the statements
// are the same to the byte, and the answer is that for any value of which nothing is
// known, or says what is wrong with the parameter.
func TestNoParameterIsMoreThanAValue(t *testing.T) {
	engine, database := enginetest.Start(t)
	w := newWorldAt(t, clickhouse.Config{URL: engine, Database: database})
	w.insert(t, []event{used("ws", "a", frozen, 1), used("ws", "b", frozen, 2), used("other", "secret", frozen, 3)})
	w.progress(t, frozen)
	var l tap
	client, err := clickhouse.Open(clickhouse.Config{URL: l.before(t, engine), Database: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	// A service of its own for each, so that none has an answer at hand.
	ask := func(address string) (status int, body string, statements []string) {
		s, router := newService(t, client, frozen, DefaultConfig())
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+s.mint(t, time.Hour, auth.UsageRead, auth.OpsRead))
		recorder := httptest.NewRecorder()
		if strings.HasPrefix(address, "/v1/usage/live") {
			s.health.Drain() // the stream ends after what it says first
		}
		router.ServeHTTP(recorder, r)
		return recorder.Code, recorder.Body.String(), l.heard()
	}
	for n, p := range readParametersOfContract(t) {
		t.Run(p.path+" "+p.name, func(t *testing.T) {
			wantStatus, wantBody, wantStatements := ask(p.address(harmless))
			if wantStatus >= http.StatusInternalServerError {
				t.Fatalf("a harmless value is answered %d: %s", wantStatus, wantBody)
			}
			for i, injection := range injections {
				// Each is one of a few parameters', or of all.
				if (n+i)%slowtest.Number(8, 1) != 0 {
					continue
				}
				status, body, statements := ask(p.address(injection))
				if status == http.StatusBadRequest {
					var problem api.Problem
					if err := json.Unmarshal([]byte(body), &problem); err != nil && !strings.HasPrefix(p.path, "/w/") {
						t.Errorf("%q: %v: %s", injection, err, body)
					}
					if !slices.ContainsFunc(problem.Errors, func(f api.FieldProblem) bool { return f.Field == p.name }) && !strings.HasPrefix(p.path, "/w/") {
						t.Errorf("%q: 400 does not name %s: %s", injection, p.name, body)
					}
					if len(statements) > 0 {
						t.Errorf("%q is refused, and %d statements were sent", injection, len(statements))
					}
					continue
				}
				if p.in == "path" && (status == http.StatusNotFound || status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect) && len(statements) == 0 {
					continue // it is none of the paths
				}
				if status != wantStatus {
					t.Errorf("%q is answered %d, a harmless value %d: %.300s", injection, status, wantStatus, body)
					continue
				}
				if !slices.Equal(statements, wantStatements) {
					t.Errorf("%q changes what is sent to ClickHouse: %d statements, a harmless value %d\n%.500q\n%.500q", injection, len(statements), len(wantStatements), statements, wantStatements)
				}
				if got, want := plainly(t, body, injection), plainly(t, wantBody, harmless); got != want && !strings.HasPrefix(p.path, "/w/") {
					t.Errorf("%q is answered\n%.500s\na harmless value\n%.500s", injection, got, want)
				}
				if strings.Contains(body, "secret") {
					t.Errorf("%q shows what is another's: %s", injection, body)
				}
			}
		})
	}
}

// snapshots are of each answer's own.
var snapshots = regexp.MustCompile(`"snapshot":"[^"]*"`)

// plainly is an answer without the value that was asked for.
func plainly(t *testing.T, body, value string) string {
	t.Helper()
	quoted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{string(quoted), fmt.Sprintf("%q", value)} {
		body = strings.ReplaceAll(body, form, `"<value>"`)
	}
	body = snapshots.ReplaceAllString(body, `"snapshot":""`)
	lines := strings.Split(body, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "id: ") }), "\n")
}
