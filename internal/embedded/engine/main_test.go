package engine_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.uber.org/goleak"

	"agentmeter/internal/embedded/engine"
	"agentmeter/internal/embedded/enginetest"
)

const childVariable = "AGENTMETER_ENGINE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" { // this binary is also the engine that gets killed
		stdin, err := engine.TakeStdin()
		if err == nil {
			err = engine.ServeChild(context.Background(), stdin, os.Stdout, os.Stderr)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(parentVariable); dir != "" {
		if err := runParent(dir); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// db is the shared engine with a database of the test's own.
type db struct {
	t    testing.TB
	url  string
	name string
}

func start(t testing.TB) *db {
	t.Helper()
	u, name := enginetest.Start(t)
	return &db{t: t, url: u, name: name}
}

// response is an HTTP answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r response) code() string { return r.header.Get("X-ClickHouse-Exception-Code") }

// params turns "name=value" pairs into a query string.
func (d *db) address(pairs ...string) string {
	values := url.Values{"database": {d.name}}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		values.Set(name, value)
	}
	return d.url + "/?" + values.Encode()
}

func (d *db) post(body string, pairs ...string) response {
	d.t.Helper()
	return d.do(d.t.Context(), http.MethodPost, strings.NewReader(body), nil, pairs...)
}

func (d *db) do(ctx context.Context, method string, body io.Reader, header map[string]string, pairs ...string) response {
	d.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, d.address(pairs...), body)
	if err != nil {
		d.t.Fatal(err)
	}
	for name, value := range header {
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}).Do(req)
	if err != nil {
		return response{err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return response{status: res.StatusCode, header: res.Header, body: string(text), err: err}
}

// exec runs a statement that must succeed.
func (d *db) exec(sql string, pairs ...string) string {
	d.t.Helper()
	r := d.post(sql, pairs...)
	if r.err != nil || r.status != http.StatusOK {
		d.t.Fatalf("%s: %d %s %v", sql, r.status, r.body, r.err)
	}
	return strings.TrimSuffix(r.body, "\n")
}

// want compares a query's result.
func (d *db) want(want, sql string, pairs ...string) {
	d.t.Helper()
	if got := d.exec(sql, pairs...); got != want {
		d.t.Errorf("%s: got %q, want %q", sql, got, want)
	}
}

// refuse expects an exception.
func (d *db) refuse(code, sql string, pairs ...string) {
	d.t.Helper()
	if r := d.post(sql, pairs...); r.code() != code || r.status == http.StatusOK || !strings.HasPrefix(r.body, "Code: "+code+". DB::Exception: ") {
		d.t.Errorf("%s: got %d with code %q: %s (%v), want code %s", sql, r.status, r.code(), r.body, r.err, code)
	}
}

// conn is clickhouse-go on the database.
func (d *db) conn(options ...func(*clickhouse.Options)) driver.Conn {
	d.t.Helper()
	o := &clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{strings.TrimPrefix(d.url, "http://")},
		Auth: clickhouse.Auth{Database: d.name}, ReadTimeout: time.Minute,
	}
	for _, option := range options {
		option(o)
	}
	conn, err := clickhouse.Open(o)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			d.t.Error(err)
		}
	})
	return conn
}

// gate is a table of the numbers below rows that keeps whoever reads it waiting until
// it is opened: a statement runs for as long as a test wants, on a machine of any speed.
func gate(t testing.TB, rows int) (table string, open func()) {
	t.Helper()
	var numbers strings.Builder
	for i := range rows {
		fmt.Fprintln(&numbers, i)
	}
	opened := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return // the engine asks first how much it is
		}
		select {
		case <-opened:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, numbers.String())
	}))
	open = sync.OnceFunc(func() { close(opened) })
	t.Cleanup(func() {
		open()
		server.Close()
	})
	return "url('" + server.URL + "', 'TSV', 'number UInt64')", open
}

// eventually polls until ok, and fails after a generous while.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within half a minute", what)
		case <-tick.C:
		}
	}
}

func readAll(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
