package clickhouse

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"agentmeter/internal/clickhouse/clickhousetest"
	"agentmeter/internal/embedded/enginetest"
	tables "agentmeter/schemas/clickhouse"
)

// The engine's own parser accepts every statement that a cluster would be sent.
func TestTheSchemaOnAClusterIsUnderstood(t *testing.T) {
	engine, database := enginetest.Start(t)
	c := tables.Cluster{Name: "meters", Database: "agentmeter"}
	migrations, err := c.Migrations(tables.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	statements := slices.Concat(c.Databases(), []string{c.VersionTable()}, c.Reads())
	for _, m := range migrations {
		statements = append(statements, m.Statements...)
	}
	move, err := tables.MoveOfIDs(&c)
	if err != nil {
		t.Fatal(err)
	}
	statements = append(statements, move.Statements()...)
	for _, statement := range statements {
		tree, err := enginetest.Query(t.Context(), engine, database, "EXPLAIN AST "+statement)
		if err != nil {
			t.Errorf("%v\n%s", err, statement)
		} else if tree == "" {
			t.Errorf("nothing is understood of %s", statement)
		}
		formatted, err := enginetest.Query(t.Context(), engine, database, "SELECT formatQuerySingleLine('"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(statement)+"')")
		if err != nil {
			t.Errorf("%v\n%s", err, statement)
		}
		replicatedByItself := strings.HasPrefix(statement, "ALTER TABLE directory_")
		if strings.Contains(formatted, " ON CLUSTER meters ") == replicatedByItself && !strings.HasPrefix(statement, "CREATE DATABASE") && !strings.HasSuffix(strings.TrimSpace(formatted), " ON CLUSTER meters") {
			t.Errorf("is it of the whole cluster? %s", formatted)
		}
	}
}

var (
	onCluster  = regexp.MustCompile(` ON CLUSTER '\w+'`)
	elsewhere  = regexp.MustCompile(`^CREATE (?:TABLE|MATERIALIZED VIEW) IF NOT EXISTS agentmeter\.(\w+) ON CLUSTER 'meters'`)
	replicated = regexp.MustCompile(`Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?([^)]*)\)`)
)

// withoutKeeper stands between and leaves out what needs Keeper, which the
// embedded engine cannot have: everything else of the form for a cluster is run
// as it is.
func withoutKeeper(t *testing.T, engine string, asked func(statement string)) string {
	t.Helper()
	target, err := url.Parse(engine)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		body, err := io.ReadAll(r.In.Body)
		if err != nil {
			t.Error(err)
		}
		if onCluster.Match(body) && r.In.URL.Query().Get("wait_end_of_query") != "1" {
			t.Errorf("of this it may not be heard that a server failed: %s", body)
		}
		asked(string(body))
		body = onCluster.ReplaceAll(body, nil)
		body = replicated.ReplaceAll(body, []byte("$1($2)"))
		r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Out.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return front.URL
}

// migrated is a database in the form for a cluster of two shards, both of which
// are the same engine, so that each row is there twice for who reads over all.
func migrated(t *testing.T, engine, cluster string) Config {
	t.Helper()
	everywhere := make(map[string]bool)
	var mu sync.Mutex
	front := withoutKeeper(t, engine, func(statement string) {
		mu.Lock()
		defer mu.Unlock()
		if m := elsewhere.FindStringSubmatch(statement); m != nil {
			everywhere[m[1]] = true
		}
	})
	config := Config{URL: front, Cluster: cluster, Database: "agentmeter"}.withDefaults()
	base, err := url.Parse(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	outside := config
	outside.Database = "default"
	conn, err := clickhousego.Open(outside.options(base))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	db := clickhousego.OpenDB(config.options(base))
	defer func() { _ = db.Close() }()
	c := tables.Cluster{Name: cluster, Database: config.Database}
	there, err := c.Migrations(tables.Migrations)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{len(there), 0} { // the second time there is nothing to do
		applied, err := migrateCluster(t.Context(), c, conn, db, tables.Migrations, func(context.Context) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if len(applied) != want {
			t.Fatalf("applied %v, want %d", applied, want)
		}
	}
	// A server that was added since is given what the others have.
	if want := len(tables.Rollups)*2 + 4 + 6; len(everywhere) != want {
		t.Errorf("%d tables and views were offered to all servers, want %d: %v", len(everywhere), want, everywhere)
	}
	return config
}

// insertRows are of an hour ago: usage_minute lets go of what is old.
const insertRows = `INSERT INTO usage_ledger (stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, occurred_at, credits, messages)
SELECT toUUID('018f0000-0000-7000-8000-000000000001'), 3, number, 0, 10, '2026-11-24', '2026-11-24 10:00:00.000', toString(number), 'counted', 'w', 'a', toDateTime64(now() - INTERVAL 1 HOUR, 6, 'UTC'), 7, 1
FROM numbers(10)`

func TestReadsSpanTheShardsAndViewsAreLocal(t *testing.T) {
	engine := clickhousetest.Start(t, "1", clickhousetest.Cluster{Name: "meters", Shards: [][]string{{clickhousetest.Here}, {clickhousetest.Here}}})
	config := migrated(t, engine, "meters")
	if _, err := enginetest.Query(t.Context(), engine, config.Database, insertRows); err != nil {
		t.Fatal(err)
	}
	client, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for _, rollup := range tables.Rollups {
		if !rollup.Credits {
			continue
		}
		const sums = "SELECT sum(credits), sum(events) FROM "
		if got := one(t, client, Statement{SQL: sums + rollup.Table}); got != "70 10" {
			t.Errorf("%s has %q here, want 70 credits of 10 events", rollup.Table, got)
		}
		if got := one(t, client.Reads(), Statement{SQL: sums + rollup.Table}); got != "140 20" {
			t.Errorf("%s has %q over both shards, want twice 70 credits of 10 events", rollup.Table, got)
		}
	}
	// A condition on another table of all shards is refused unless it is said
	// how it is meant.
	const recorded = "SELECT count() FROM usage_id_places WHERE offset IN (SELECT offset FROM usage_ledger)"
	if got := one(t, client.Reads(), Statement{SQL: recorded}); got != "20" {
		t.Errorf("%s ids are in the ledger, want 20", got)
	}
	// What every server has all rows of is there once.
	adopt := "INSERT INTO usage_streams SELECT generateUUIDv4(), 'usage.events.v1', 4, [0, 0, 0, 0], now64(3)"
	if _, err := enginetest.Query(t.Context(), engine, config.Database, adopt); err != nil {
		t.Fatal(err)
	}
	if got := one(t, client.Reads(), Statement{SQL: "SELECT count() FROM usage_streams"}); got != "1" {
		t.Errorf("%s streams, want 1", got)
	}
	if got := one(t, client.Reads(), Statement{SQL: "SELECT count() FROM system.columns WHERE database = currentDatabase() AND name = 'source_stream'"}); got != "3" {
		t.Errorf("%s of the three tables for reads have the column that a later migration added", got)
	}
}

func one(t *testing.T, client *Client, statement Statement) string {
	t.Helper()
	var rows []string
	if err := client.SelectText(t.Context(), statement, func(fields []string) error {
		rows = append(rows, strings.Join(fields, " "))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(rows, "\n")
}

func TestMigrationsRefuseWhatTheyCannotMakeACluster(t *testing.T) {
	engine := clickhousetest.Start(t, "1",
		clickhousetest.Cluster{Name: "alone", Shards: [][]string{{clickhousetest.Here}}},
		clickhousetest.Cluster{Name: "pair", Shards: [][]string{{clickhousetest.Here, "localhost"}}})
	ctx := t.Context()
	refused := func(config Config, want string) error {
		t.Helper()
		config.URL = engine
		applied, err := Migrate(ctx, config, tables.Migrations, nil)
		if err == nil || len(applied) > 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: applied %v, error %v; want an error with %q", config, applied, err, want)
		}
		return err
	}
	_ = refused(Config{Cluster: "meters"}, `the server knows no cluster "meters"; it knows alone, pair`)
	_ = refused(Config{Cluster: "alone"}, "shard 1 of cluster alone has one replica")
	_ = refused(Config{Cluster: "pair"}, "the numbers 1 and 2; 2 servers define the macros shard and replica, which name 1 shards and 1 replicas")
	_ = refused(Config{Cluster: "pair", Database: "agent-meter"}, "on a cluster letters, digits and _ only")
	if got, err := enginetest.Query(ctx, engine, "default", "SELECT count() FROM system.databases WHERE startsWith(name, 'agent')"); err != nil || got != "0\n" {
		t.Errorf("%s databases were made (%v), want none", got, err)
	}

	// Tables of one server are not taken for a cluster's, nor the other way round.
	if _, err := Migrate(ctx, Config{URL: engine}, tables.Migrations, nil); err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(engine)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhousego.Open(Config{Database: "default"}.withDefaults().options(base))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	err = refuseSingle(ctx, tables.Cluster{Name: "pair", Database: "agentmeter"}, conn)
	if !errors.Is(err, ErrOtherForm) || !strings.Contains(err.Error(), "usage_ledger at ") {
		t.Errorf("tables of one server: %v", err)
	}
	if err := enginetest.Exec(ctx, engine, "CREATE DATABASE agentmeter_reads"); err != nil {
		t.Fatal(err)
	}
	if err := refused(Config{}, "is of a cluster; say which by --clickhouse-cluster"); !errors.Is(err, ErrOtherForm) {
		t.Errorf("a cluster's tables: %v", err)
	}
}

// Appends are not let in again where a server would not look ids up as of today.
func TestAMoveOfIDsEndsOnlyWhereTheLookUpIs(t *testing.T) {
	engine, database := enginetest.Start(t)
	config := Config{URL: engine, Database: database}.withDefaults()
	if _, err := Migrate(t.Context(), config, tables.Migrations, nil); err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(config.URL)
	if err != nil {
		t.Fatal(err)
	}
	db := clickhousego.OpenDB(config.options(base))
	defer func() { _ = db.Close() }()
	move := &idMove{config: config, db: db}
	if err := move.ready(t.Context()); err != nil {
		t.Error(err)
	}
	for _, statement := range []string{"DROP VIEW " + tables.IDsView + " SYNC", "DROP TABLE " + tables.IDs + " SYNC"} {
		if _, err := enginetest.Query(t.Context(), engine, database, statement); err != nil {
			t.Fatal(err)
		}
		if err := move.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "run it again") {
			t.Errorf("after %s: %v", statement, err)
		}
	}
}

// twoShards are two engines with the tables of one server each, which is what
// replication leaves for a shard's own server to see.
func twoShards(t *testing.T) (config Config, engines []string) {
	t.Helper()
	for _, shard := range []string{"1", "2"} {
		engine := clickhousetest.Start(t, shard, clickhousetest.Cluster{Name: "meters", Shards: [][]string{{clickhousetest.Elsewhere}, {clickhousetest.Elsewhere}}})
		if _, err := Migrate(t.Context(), Config{URL: engine}, tables.Migrations, nil); err != nil {
			t.Fatal(err)
		}
		engines = append(engines, engine)
	}
	return Config{URL: engines[0], Cluster: "meters", Shards: engines}, engines
}

func TestAPartitionStaysOnItsShard(t *testing.T) {
	config, engines := twoShards(t)
	place := Place{uuid.MustParse("018f0000-0000-7000-8000-000000000001"), 3}
	at := func(config Config, place Place) string {
		t.Helper()
		client, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		server, err := client.At(t.Context(), place)
		if err != nil {
			return err.Error()
		}
		return server.config.URL
	}
	other := place
	other.Partition = 2
	if got := at(config, place); got != engines[1] {
		t.Errorf("partition 3 of two shards is counted at %s, want the second: %s", got, engines[1])
	}
	if got := at(config, other); got != engines[0] {
		t.Errorf("partition 2 of two shards is counted at %s, want the first: %s", got, engines[0])
	}

	// Where its rows are, it stays, whatever the list says.
	if _, err := enginetest.Query(t.Context(), engines[0], DefaultDatabase, insertRows); err != nil {
		t.Fatal(err)
	}
	if got := at(config, place); got != engines[0] {
		t.Errorf("a partition with rows on the first shard is counted at %s", got)
	}
	turned := config
	turned.Shards = []string{engines[1], engines[0]}
	if got := at(turned, place); got != engines[0] {
		t.Errorf("a partition moved with the list, to %s", got)
	}
	// A question of each shard is answered by each.
	client, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if got := one(t, client, Statement{SQL: "SELECT count() FROM usage_ledger", EachShard: true}); got != "10\n0" {
		t.Errorf("each shard has %q rows, want 10 and 0", got)
	}
	if got := one(t, client, Statement{SQL: "SELECT getMacro('shard'), queryID() = 'agentmeter-agentmeter'", Place: &other, Mutex: "one partition's"}); !strings.HasPrefix(got, "1 ") {
		t.Errorf("answered by shard %s", got)
	}

	if _, err := enginetest.Query(t.Context(), engines[1], DefaultDatabase, insertRows); err != nil {
		t.Fatal(err)
	}
	if got := at(config, place); !strings.Contains(got, "has rows on the shards of ") {
		t.Errorf("a ledger on two shards: %s", got)
	}

	short := config
	short.Shards = engines[:1]
	if got := at(short, other); !strings.Contains(got, "knows 2 shards of cluster meters and --clickhouse-shards names 1") {
		t.Errorf("a shard is missing from the list: %s", got)
	}
	twice := config
	twice.Shards = []string{engines[0], strings.Replace(engines[0], "127.0.0.1", "localhost", 1)}
	if got := at(twice, other); !strings.Contains(got, "are of shard 1: --clickhouse-shards wants one server of each shard") {
		t.Errorf("a shard is twice in the list: %s", got)
	}
}

// What a shard's own server is asked says how it is meant, and what counts waits
// for one mutex of the shard: two inserts of a table cannot wait for their
// quorum at once.
func TestStatementsOnAClusterSayHowTheyAreMeant(t *testing.T) {
	var asked []url.Values
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Get("query_id") != "" {
			asked = append(asked, query)
		}
		w.Header().Set("X-ClickHouse-Query-Id", cmp.Or(query.Get("query_id"), "some"))
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "getMacro") {
			fmt.Fprintln(w, "1\t1")
		}
	}))
	defer fake.Close()
	client, err := Open(Config{URL: fake.URL, Cluster: "meters"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for partition := range int32(2) {
		if err := client.Exec(t.Context(), Statement{SQL: "INSERT", Mutex: fmt.Sprint("p", partition), Place: &Place{uuid.New(), partition}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 2 {
		t.Fatalf("%d statements, want 2", len(asked))
	}
	for _, query := range asked {
		for name, want := range map[string]string{
			"query_id": "agentmeter-agentmeter", "replace_running_query": "0", "insert_quorum": "auto", "insert_quorum_parallel": "0",
			"select_sequential_consistency": "1", "database": "agentmeter",
		} {
			if got := query.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
}
