package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"pgregory.net/rapid"
)

func TestAStatementMayStandInTheURLTheBodyOrBoth(t *testing.T) {
	d := start(t)
	for _, r := range []response{
		d.do(t.Context(), http.MethodGet, nil, nil, "query=SELECT 1"),
		d.post("SELECT 1"),
		d.post("", "query=SELECT 1"),
		d.post("1", "query=SELECT"),
		d.post("SELECT 1;"),
		d.post("SELECT 1 -- ;SELECT 2"),
		d.post("SELECT 1 FORMAT TSV"),
		d.post("SELECT 1", "default_format=CSV"),
	} {
		if r.status != http.StatusOK || r.body != "1\n" {
			t.Errorf("%d %q %v", r.status, r.body, r.err)
		}
	}
	for _, bad := range []string{"SELECT 1; SELECT 2", "", " ;", "-- nothing", "SELECT 'unfinished", "1 + 1"} {
		d.refuse("62", bad)
	}
	d.refuse("62", "SELECT '"+strings.Repeat("x", 2<<20)+"'")
}

func TestGetChangesNothing(t *testing.T) {
	d := start(t)
	d.exec("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
	for _, sql := range []string{"INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 1", "DROP TABLE t", "TRUNCATE TABLE t"} {
		for _, readonly := range []string{"", "readonly=0"} {
			pairs := []string{"query=" + sql}
			if readonly != "" {
				pairs = append(pairs, readonly)
			}
			if r := d.do(t.Context(), http.MethodGet, nil, nil, pairs...); r.code() != "164" {
				t.Errorf("GET %s %s: %d %s", sql, readonly, r.status, r.body)
			}
		}
	}
	if r := d.do(t.Context(), http.MethodGet, nil, nil, "query=SELECT count() FROM t", "max_threads=1"); r.body != "0\n" {
		t.Errorf("GET with a setting: %d %s", r.status, r.body)
	}
}

func TestErrorsComeAsAServersDo(t *testing.T) {
	d := start(t)
	for code, sql := range map[string]string{
		"60":  "SELECT * FROM missing",
		"62":  "SELEC 1",
		"395": "SELECT throwIf(1)",
		"47":  "SELECT missing",
	} {
		d.refuse(code, sql)
	}
	d.refuse("115", "SELECT 1", "no_such_setting=1")
	d.refuse("27", "SELECT 1", "max_threads=many")
	d.refuse("81", "SELECT 1", "database=missing")
	d.refuse("516", "SELECT 1", "user=somebody")
	d.refuse("516", "SELECT 1", "password=guess")
	d.refuse("48", "SELECT 1", "session_id=1")
	d.refuse("73", "SELECT 1", "default_format=Nonsense")
	if r := d.post("SELECT * FROM missing"); r.status != http.StatusNotFound {
		t.Errorf("an unknown table is answered with %d", r.status)
	}
	var exception *clickhouse.Exception
	if err := d.conn().Exec(t.Context(), "SELECT throwIf(1)"); !errors.As(err, &exception) || exception.Code != 395 {
		t.Errorf("clickhouse-go makes %v of it", err)
	}
}

func TestAnErrorInTheMiddleOfAStreamIsNotMistakenForItsEnd(t *testing.T) {
	d := start(t)
	const sql = "SELECT number, throwIf(number = 3000000) FROM numbers(5000000)"
	r := d.post(sql + " FORMAT CSV")
	if r.err == nil || !strings.Contains(r.body, "\r\n__exception__\r\n") || !strings.Contains(r.body, "Code: 395.") {
		t.Errorf("curl would see %d bytes ending in %q, and %v", len(r.body), r.body[max(0, len(r.body)-80):], r.err)
	}
	for _, compression := range []*clickhouse.Compression{nil, {Method: clickhouse.CompressionLZ4}} {
		conn := d.conn(func(o *clickhouse.Options) { o.Compression = compression })
		rows, err := conn.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		var exception *clickhouse.Exception
		if !errors.As(rows.Err(), &exception) || exception.Code != 395 || n == 0 {
			t.Errorf("clickhouse-go: %d rows, then %v", n, rows.Err())
		}
		_ = rows.Close() // says the same again
	}
	// All or nothing, for who asks for it.
	if r := d.post(sql, "wait_end_of_query=1"); r.code() != "395" || r.status == http.StatusOK {
		t.Errorf("wait_end_of_query: %d %q", r.status, r.code())
	}
}

func TestLargeResultsAreStreamedOrBounded(t *testing.T) {
	d := start(t)
	for _, format := range []string{"TSV", "CSV", "JSONEachRow", "RowBinary", "Native"} {
		r := d.post("SELECT number FROM numbers(1000000) FORMAT " + format)
		if r.err != nil || r.status != http.StatusOK || r.header.Get("Content-Length") != "" {
			t.Errorf("%s: %d, length %q, %v", format, r.status, r.header.Get("Content-Length"), r.err)
		}
		if format == "TSV" && strings.Count(r.body, "\n") != 1_000_000 {
			t.Errorf("TSV has %d lines", strings.Count(r.body, "\n"))
		}
	}
	// A document of many blocks is one document.
	var document struct {
		Data [][]any `json:"data"`
		Rows int     `json:"rows"`
	}
	if err := json.Unmarshal([]byte(d.exec("SELECT number FROM numbers(200000) FORMAT JSONCompact")), &document); err != nil || document.Rows != 200_000 || len(document.Data) != 200_000 {
		t.Errorf("JSON: %v, %d rows", err, document.Rows)
	}
	if got := d.exec("SELECT number FROM numbers(200000) FORMAT CSVWithNames"); strings.Count(got, "number") != 1 {
		t.Errorf("CSVWithNames has %d headers", strings.Count(got, "number"))
	}
	d.want("268435456", "SELECT getSetting('max_result_bytes') FORMAT TSVRaw", "wait_end_of_query=1")
	d.refuse("396", "SELECT number FROM numbers(1000000) FORMAT JSON", "max_result_bytes=100000")
}

func TestNothingIsLeftOverForTheNextRequest(t *testing.T) {
	d := start(t)
	before := d.exec("SELECT getSetting('max_threads'), getSetting('max_block_size'), currentDatabase()")
	d.exec("SET max_block_size = 7")
	d.exec("USE system")
	d.exec("CREATE TEMPORARY TABLE leftover (a UInt8)")
	d.want("3\t99", "SELECT getSetting('max_threads'), getSetting('max_block_size')", "max_threads=3", "max_block_size=99")
	d.refuse("395", "SELECT throwIf(1)", "max_block_size=99")
	d.want("1", "SELECT {a:UInt8}", "param_a=1")
	for range 20 { // whichever session it gets
		d.want(before, "SELECT getSetting('max_threads'), getSetting('max_block_size'), currentDatabase()")
		d.refuse("60", "SELECT * FROM leftover")
		d.refuse("456", "SELECT {a:UInt8}") // no parameter of that name
	}
}

// tsvEscape is what a client has to do to a parameter's value, see clickhouse-go.
var tsvEscape = strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0")

func TestParametersAndSettingsCannotBecomeSQL(t *testing.T) {
	d := start(t)
	d.exec("CREATE TABLE victim (a UInt8) ENGINE = MergeTree ORDER BY a")
	d.exec("INSERT INTO victim VALUES (1)")
	hostile := []string{
		"'; DROP TABLE victim; --", "\\'; DROP TABLE victim; --", "`; DROP TABLE victim; --", "1; DROP TABLE victim",
		"' OR 1=1 --", "\\", "'", "\"", "`", "\x00", "\n", "a\nb\tc", "{x:String}", "$$; DROP TABLE victim; $$", "/* ", "*/", "ä€\xff",
		"1, readonly = 0", "0 FORMAT Null; DROP TABLE victim",
	}
	for _, value := range hostile {
		if got := d.exec("SELECT {p:String} FORMAT RawBLOB", "param_p="+tsvEscape.Replace(value)); got != strings.TrimSuffix(value, "\n") {
			t.Errorf("parameter %q came back as %q", value, got)
		}
		if r := d.post("SELECT count() FROM {p:Identifier}", "param_p="+tsvEscape.Replace(value)); r.status == http.StatusOK {
			t.Errorf("table %q exists", value)
		}
		if r := d.post("SELECT 1", "database="+value); r.status == http.StatusOK {
			t.Errorf("database %q exists", value)
		}
		if r := d.post("SELECT 1", "max_threads="+value); r.status == http.StatusOK {
			t.Errorf("max_threads = %q was accepted", value)
		}
		if got := d.exec("SELECT getSetting('log_comment') FORMAT RawBLOB", "log_comment="+value); got != strings.TrimSuffix(value, "\n") {
			t.Errorf("setting %q came back as %q", value, got)
		}
		if value != "" {
			if r := d.post("SELECT 1", value+"=1"); r.status == http.StatusOK {
				t.Errorf("setting %q exists", value)
			}
			if r := d.post("SELECT 1", "param_"+value+"=1"); r.status != http.StatusOK {
				t.Errorf("an unused parameter %q: %d %s", value, r.status, r.body)
			}
		}
		if r := d.post("SELECT 1", "default_format="+value); r.status == http.StatusOK {
			t.Errorf("format %q exists", value)
		}
		d.want("1", "SELECT 1", "query_id="+value)
	}
	d.want("1", "SELECT count() FROM victim")
}

func TestAnyStringSurvivesAsAParameter(t *testing.T) {
	d := start(t)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.String().Draw(t, "value")
		req, err := http.Post(d.address("param_p="+tsvEscape.Replace(value)), "", strings.NewReader("SELECT hex({p:String})"))
		if err != nil {
			t.Fatal(err)
		}
		defer req.Body.Close()
		var got string
		_, _ = fmt.Fscan(req.Body, &got)
		if want := fmt.Sprintf("%X", value); got != want {
			t.Fatalf("%q came back as %s, want %s", value, got, want)
		}
	})
	http.DefaultClient.CloseIdleConnections()
}

// running waits until a statement whose text contains what runs. It does not
// use the statement's query id: that would be in its way.
func (d *db) running(what string) {
	d.t.Helper()
	eventually(d.t, what+" runs", func() bool {
		return d.exec("SELECT count() > 0 FROM system.processes WHERE query LIKE {what:String} AND query NOT LIKE '%system.processes%'",
			"param_what=%"+what+"%") == "1"
	})
}

func TestOneStatementAtATimeHasAQueryID(t *testing.T) {
	d := start(t)
	d.exec("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	table, open := gate(t, 20)
	done := make(chan response, 1)
	go func() { done <- d.post("INSERT INTO t SELECT number FROM "+table, "query_id=mutex") }()
	d.running("INSERT INTO t SELECT number")
	d.refuse("216", "INSERT INTO t SELECT 99", "query_id=mutex")
	d.want("1", "SELECT 1", "query_id=another")
	open()
	if r := <-done; r.status != http.StatusOK {
		t.Fatal(r.body, r.err)
	}
	d.exec("INSERT INTO t SELECT 100", "query_id=mutex") // free as soon as it is answered
	d.want("21\t290", "SELECT count(), sum(a) FROM t")
	if r := d.post("SELECT 1", "query_id=shown"); r.header.Get("X-ClickHouse-Query-Id") != "shown" {
		t.Errorf("the answer is %q's", r.header.Get("X-ClickHouse-Query-Id"))
	}
}

func TestAClientThatLeavesDoesNotReleaseItsQueryID(t *testing.T) {
	d := start(t)
	d.exec("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	table, open := gate(t, 20)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan response, 1)
	go func() {
		done <- d.do(ctx, http.MethodPost, strings.NewReader("INSERT INTO t SELECT number FROM "+table+" WHERE sleepEachRow(0.05) = 0"), nil, "query_id=mutex")
	}()
	d.running("sleepEachRow(0.05)")
	leave()
	if r := <-done; r.err == nil {
		t.Fatalf("the client did not leave: %d", r.status)
	}
	d.refuse("216", "SELECT count() FROM t", "query_id=mutex")
	open() // it takes a second from here
	eventually(t, "the id is free", func() bool {
		r := d.post("SELECT count() FROM t", "query_id=mutex")
		if r.code() == "216" {
			return false
		}
		// Whoever gets the id next sees all that its holder has done.
		if r.body != "20\n" {
			t.Fatalf("the id was free with %q rows of 20: %s", r.body, r.code())
		}
		return true
	})
}

func TestAFailedInsertReleasesItsQueryIDAndIsForgotten(t *testing.T) {
	d := start(t)
	d.exec("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	for range 20 {
		d.refuse("395", "INSERT INTO t SELECT throwIf(number = 5) FROM numbers(10)", "query_id=mutex")
		d.want("1", "SELECT count() FROM system.processes", "query_id=mutex")
	}
}

func TestASelectIsCancelledWhenItsClientLeaves(t *testing.T) {
	d := start(t)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan response, 1)
	go func() {
		// Ten minutes of it.
		done <- d.do(ctx, http.MethodPost, strings.NewReader(
			"SELECT randomPrintableASCII(100000), sleepEachRow(0.01) FROM numbers(60000) SETTINGS max_block_size = 50 FORMAT TSV"), nil, "query_id=long")
	}()
	d.running("randomPrintableASCII")
	leave()
	<-done
	began := time.Now()
	eventually(t, "the statement is cancelled", func() bool { return d.post("SELECT 1", "query_id=long").status == http.StatusOK })
	t.Logf("cancelled after %v", time.Since(began))
}

func TestAReadOnlyStatementIsStoppedWhenItsClientLeavesIfThatIsAskedFor(t *testing.T) {
	d := start(t)
	for name, sql := range map[string]string{
		"one that has nothing to send": "SELECT sum(cityHash64(number)) FROM numbers(4000000000000) -- endless",
		"one that answers as a whole":  "SELECT number, sleepEachRow(0.01) FROM numbers(60000) SETTINGS max_block_size = 10 FORMAT JSON -- endless",
		"no SELECT":                    "EXPLAIN ESTIMATE SELECT (SELECT sum(cityHash64(number)) FROM numbers(4000000000000)) -- endless",
		"one with parameters":          "SELECT sum(cityHash64(number)) AS endless FROM numbers({many:UInt64})",
	} {
		t.Run(name, func(t *testing.T) {
			d := &db{t: t, url: d.url, name: d.name}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan response, 1)
			go func() {
				done <- d.do(ctx, http.MethodPost, strings.NewReader(sql), nil, "query_id=long", "wait_end_of_query=1",
					"readonly=2", "cancel_http_readonly_queries_on_client_close=1", "param_many=4000000000000")
			}()
			d.running("endless")
			d.refuse("216", "SELECT 1", "query_id=long")
			leave()
			if r := <-done; r.err == nil {
				t.Fatalf("the client did not leave: %d %s", r.status, r.body)
			}
			began := time.Now()
			eventually(t, "the engine is done with the statement", func() bool { return d.post("SELECT 1", "query_id=long").status == http.StatusOK })
			t.Logf("stopped after %v", time.Since(began))
			d.want("0", "SELECT count() FROM system.processes WHERE query LIKE '%endless%' AND query NOT LIKE '%system.processes%'")
		})
	}
}

// outcomes is how many statements of a kind have ended with an outcome.
func (d *db) outcomes(kind, outcome string) string {
	d.t.Helper()
	res, err := http.Get(d.url + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	_, after, _ := strings.Cut(readAll(d.t, res), fmt.Sprintf("\nagentmeter_engine_statements_total{kind=%q,outcome=%q} ", kind, outcome))
	number, _, _ := strings.Cut(after, "\n")
	return number
}

func TestWhatMayChangeSomethingOrWasNotAskedToIsNotStopped(t *testing.T) {
	d := start(t)
	for name, settings := range map[string][]string{
		"not asked for":       {"readonly=2"},
		"not a read-only one": {"cancel_http_readonly_queries_on_client_close=1"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &db{t: t, url: d.url, name: d.name}
			table, open := gate(t, 50)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan response, 1)
			go func() {
				done <- d.do(ctx, http.MethodPost, strings.NewReader("SELECT sum(number) FROM "+table+" WHERE sleepEachRow(0.02) = 0"), nil,
					append(settings, "query_id=short", "wait_end_of_query=1")...)
			}()
			d.running("sleepEachRow(0.02)")
			ended := d.outcomes("select", "ok")
			leave()
			if r := <-done; r.err == nil {
				t.Fatalf("the client did not leave: %d %s", r.status, r.body)
			}
			open() // it takes a second from here
			eventually(t, "the statement has ended as if nothing had been", func() bool { return d.outcomes("select", "ok") != ended })
			d.want("1", "SELECT 1", "query_id=short")
		})
	}
}

func TestBrowsersAndStrangersAreTurnedAway(t *testing.T) {
	d := start(t)
	for _, header := range []map[string]string{
		{"Origin": "http://localhost:3000"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example:8123"}, {"Host": "10.0.0.1"},
	} {
		if r := d.do(t.Context(), http.MethodPost, strings.NewReader("SELECT 1"), header); r.status != http.StatusForbidden {
			t.Errorf("%v: %d %s", header, r.status, r.body)
		}
	}
	for _, host := range []string{"localhost", "localhost:1234", "127.0.0.1:8123", "[::1]:8123", "127.8.8.8"} {
		if r := d.do(t.Context(), http.MethodPost, strings.NewReader("SELECT 1"), map[string]string{"Host": host}); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", host, r.status, r.body)
		}
	}
}

func TestPingsAndScrapesAreAnswered(t *testing.T) {
	d := start(t)
	for path, want := range map[string]string{"/ping": "Ok.\n", "/": "Ok.\n", "/metrics": "agentmeter_engine_statements_total"} {
		res, err := http.Get(d.url + path)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		_, err = fmt.Fprint(&body, readAll(t, res))
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(body.String(), want) {
			t.Errorf("%s: %d %q", path, res.StatusCode, body.String())
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAnswersSayHowManyRowsTheyHaveAndInWhichZone(t *testing.T) {
	d := start(t)
	r := d.post("SELECT number FROM numbers(10)", "wait_end_of_query=1")
	var summary map[string]string
	if err := json.Unmarshal([]byte(r.header.Get("X-ClickHouse-Summary")), &summary); err != nil || summary["result_rows"] != "10" {
		t.Errorf("summary %q: %v", r.header.Get("X-ClickHouse-Summary"), err)
	}
	if r.header.Get("X-ClickHouse-Timezone") != "UTC" {
		t.Errorf("zone %q", r.header.Get("X-ClickHouse-Timezone"))
	}
}

func TestParametersAreGivenOnce(t *testing.T) {
	d := start(t)
	res, err := http.Post(d.url+"/?"+url.Values{"query": {"SELECT 1", "SELECT 2"}}.Encode(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, res)
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("two statements: %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
}
