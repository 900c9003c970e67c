package clickhouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/clickhousetest"
	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/embedded/enginetest"
	"agentmeter/internal/slowtest"
	tables "agentmeter/schemas/clickhouse"
)

// earlierTables is a database as a release left it that looked ids up elsewhere, with
// some partitions counted.
type earlierTables struct {
	t      *testing.T
	config clickhouse.Config
	client *clickhouse.Client
	stream uuid.UUID
}

const earlierPartitions = 3

func newEarlierTables(t *testing.T) *earlierTables {
	t.Helper()
	config, client := schematest.Tables(t)
	return toEarlier(t, config, client)
}

func toEarlier(t *testing.T, config clickhouse.Config, client *clickhouse.Client) *earlierTables {
	t.Helper()
	t.Cleanup(clickhouse.MoveFewIDs(100))
	e := &earlierTables{t: t, config: config, client: client, stream: uuid.New()}
	e.exec(fmt.Sprintf("INSERT INTO usage_streams VALUES ('%s', 'usage.events.v1', %d, [0, 0, 0], now64(3))", e.stream, earlierPartitions))
	for p := range earlierPartitions {
		e.must(e.append(t.Context(), config, p, 300))
	}
	statements, err := schematest.EarlierIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		e.exec(statement)
	}
	return e
}

func (e *earlierTables) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *earlierTables) exec(sql string) {
	e.t.Helper()
	e.must(e.client.Exec(e.t.Context(), clickhouse.Statement{SQL: sql}))
}

func (e *earlierTables) one(sql string) string {
	e.t.Helper()
	text, err := enginetest.Query(e.t.Context(), e.config.URL, e.config.Database, sql)
	e.must(err)
	return strings.TrimSpace(text)
}

// append counts the next events of a partition as a rollup does: under its mutex, where
// its ledger ends. Of every third nothing is looked up.
func (e *earlierTables) append(ctx context.Context, config clickhouse.Config, partition, events int, settings ...string) error {
	client, err := clickhouse.Open(config)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	place := clickhouse.Place{Stream: e.stream, Partition: int32(partition)}
	set := make(map[string]string)
	for _, setting := range settings {
		set[setting] = "1"
	}
	return client.Exec(ctx, clickhouse.Statement{Mutex: place.Mutex(config.Database), Place: &place, Settings: set, SQL: fmt.Sprintf(`
INSERT INTO usage_ledger (stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent, occurred_at, credits, messages)
WITH (SELECT toInt64(count()) FROM usage_ledger WHERE stream = '%[1]s' AND partition = %[2]d) AS lo
SELECT '%[1]s', %[2]d, lo + number, lo, lo + %[3]d, '2026-11-24', '2026-11-24 10:00:00.000', toString(generateUUIDv4()), if(number %% 3 = 0, 'duplicate', 'counted'), 'w', 'a',
    toDateTime64('2026-11-24 09:30:00', 6, 'UTC'), if(number %% 3 = 0, 0, 7), 1
FROM numbers(%[3]d)`, e.stream, partition, events)})
}

// moved checks that every id that the ledger recorded can be looked up once, and that
// of the earlier look-up nothing is left.
func (e *earlierTables) moved() {
	e.t.Helper()
	recorded := "SELECT " + tables.IDKey + " AS id_key, stream, partition, offset FROM usage_ledger WHERE outcome IN ('counted', 'playground', 'adjustment')"
	differ := fmt.Sprintf(`SELECT count() FROM (SELECT countIf(l = 1) AS recorded, countIf(l = 0) AS looked_up
FROM (SELECT *, 1 AS l FROM (%s) UNION ALL SELECT id_key, stream, partition, offset, 0 FROM usage_id_places)
GROUP BY id_key, stream, partition, offset HAVING recorded != 1 OR looked_up != 1)`, recorded)
	if n := e.one(differ); n != "0" {
		e.t.Errorf("the look-up differs from the ledger in %s ids of %s", n, e.one("SELECT count() FROM usage_ledger"))
	}
	if left := e.one("SELECT groupArray(name) FROM system.tables WHERE database = currentDatabase() AND (name LIKE '%usage_ids%' OR name LIKE '%next')"); left != "[]" {
		e.t.Errorf("%s are left", left)
	}
	if version := e.one("SELECT max(version_id) FROM goose_db_version"); version != "9" {
		e.t.Errorf("the schema is at %s", version)
	}
	if lost := e.one("SELECT count() = uniqExact(partition, offset) AND max(offset) * 3 < count() * 4 FROM usage_ledger"); lost != "1" {
		e.t.Errorf("the ledger is no run of offsets: %s", e.one("SELECT groupArray((partition, n, m)) FROM (SELECT partition, count() AS n, max(offset) AS m FROM usage_ledger GROUP BY partition)"))
	}
}

func (e *earlierTables) migrate(ctx context.Context, config clickhouse.Config) error {
	_, err := clickhouse.Migrate(ctx, config, tables.Migrations, nil)
	return err
}

func TestIDsOfEarlierReleasesAreMoved(t *testing.T) {
	e := newEarlierTables(t)
	var said []string
	applied, err := clickhouse.Migrate(t.Context(), e.config, tables.Migrations, func(line string) { said = append(said, line) })
	if err != nil || len(applied) != 1 || applied[0] != 9 {
		t.Fatalf("applied %v, %v", applied, err)
	}
	if len(said) < 2 || said[len(said)-1] != "moved 100 % of 600 ids" {
		t.Errorf("said %q", said)
	}
	e.moved()
	e.must(e.append(t.Context(), e.config, 0, 30))
	e.moved()
	if applied, err := clickhouse.Migrate(t.Context(), e.config, tables.Migrations, nil); err != nil || len(applied) != 0 {
		t.Errorf("the second time it applied %v, %v", applied, err)
	}
}

// On a cluster it is the same, from whichever statement it was cut off at.
func TestIDsAreMovedOnACluster(t *testing.T) {
	slowtest.Begin(t)
	engine := clickhousetest.Start(t, "1", clickhousetest.Cluster{Name: "alone", Shards: [][]string{{clickhousetest.Here}}})
	config := clickhouse.Config{URL: engine, Database: clickhouse.DefaultDatabase}
	e := toEarlier(t, config, schematest.Migrated(t, config))
	statements, err := schematest.EarlierIDs()
	e.must(err)
	onCluster := func(engine string) clickhouse.Config {
		front := clickhouse.WithoutKeeper(t, engine, func(string) {})
		return clickhouse.Config{URL: front, Database: config.Database, Cluster: "alone", Shards: []string{front}}
	}
	whole := onCluster(engine)
	unnamed := whole
	unnamed.Shards = nil
	if err := clickhouse.MigrateCluster(t.Context(), unnamed); err == nil || !strings.Contains(err.Error(), "--clickhouse-shards has to name") {
		t.Errorf("without knowing which server writes: %v", err)
	}
	if aside := e.one("SELECT countIf(name = 'usage_ids') FROM system.tables WHERE database = currentDatabase()"); aside != "1" {
		t.Error("it began without knowing which server writes")
	}
	for requests := int64(10); ; requests += 2 {
		cut := onCluster(newCutter(t, engine, requests, requests/2%2 == 0).URL)
		complete := clickhouse.MigrateCluster(t.Context(), cut) == nil
		e.must(clickhouse.MigrateCluster(t.Context(), whole))
		e.moved()
		if complete {
			break
		}
		for _, statement := range statements {
			e.exec(statement)
		}
	}
}

// Statements that move run one at a time, whoever sends them.
func TestStatementsThatMoveIDsHaveAMutex(t *testing.T) {
	e := newEarlierTables(t)
	target, err := url.Parse(e.config.URL)
	e.must(err)
	moving := 0
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		body, err := io.ReadAll(r.In.Body)
		if err != nil {
			t.Error(err)
		}
		r.Out.Body = io.NopCloser(bytes.NewReader(body))
		if strings.Contains(string(body), "INSERT INTO usage_id_places_next") {
			moving++
			if query := r.In.URL.Query(); query.Get("query_id") != "agentmeter-"+e.config.Database+"-ids" || query.Get("replace_running_query") != "0" {
				t.Errorf("ids are moved by query %q", query.Get("query_id"))
			}
		}
	}})
	defer front.Close()
	config := e.config
	config.URL = front.URL
	e.must(e.migrate(t.Context(), config))
	if moving != 8 {
		t.Errorf("%d statements moved 600 ids, about 100 each; want 8", moving)
	}
}

// cutter stands before the engine and lets only so many requests through: the next is
// lost, or its answer is, and so are those after it.
type cutter struct {
	*httptest.Server
	left atomic.Int64
}

func newCutter(t *testing.T, engine string, requests int64, answerLost bool) *cutter {
	t.Helper()
	target, err := url.Parse(engine)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	c := &cutter{}
	c.left.Store(requests)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left := c.left.Add(-1)
		switch {
		case left >= 0:
			proxy.ServeHTTP(w, r)
			return
		case left == -1 && answerLost:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(c.Close)
	return c
}

// Cut off before or after any of its statements, beside a rollup of the release before
// that was not stopped, and run again: nothing is lost, nothing is there twice, and
// what is looked up in the end is complete.
func TestAMoveOfIDsCanBeCutOffAnywhere(t *testing.T) {
	slowtest.Begin(t)
	for _, answerLost := range []bool{false, true} {
		t.Run(map[bool]string{false: "statements are lost", true: "answers are lost"}[answerLost], func(t *testing.T) {
			refused := 0
			e := newEarlierTables(t)
			statements, err := schematest.EarlierIDs()
			e.must(err)
			for requests, whole := int64(0), false; !whole; requests++ {
				config := e.config
				config.URL = newCutter(t, e.config.URL, requests, answerLost).URL
				whole = e.migrate(t.Context(), config) == nil
				if complete := e.one("SELECT countIf(name = 'usage_id_places') FROM system.tables WHERE database = currentDatabase()") == "1"; complete {
					if n := e.one("SELECT count() < (SELECT countIf(outcome = 'counted') FROM usage_ledger) FROM usage_id_places"); n != "0" {
						t.Fatalf("cut off after %d requests the look-up is there and not complete", requests)
					}
				}
				// Who passes over a view without its table appends meanwhile.
				if requests%3 == 0 {
					e.must(e.append(t.Context(), e.config, 1, 6, "ignore_materialized_views_with_dropped_target_table"))
				}
				before := e.one("SELECT count() FROM usage_ledger")
				if err := e.append(t.Context(), e.config, 0, 9); err != nil {
					refused++
					if now := e.one("SELECT count() FROM usage_ledger"); now != before {
						t.Fatalf("an append was refused, and the ledger has %s rows instead of %s: %v", now, before, err)
					}
				}
				e.must(e.migrate(t.Context(), e.config))
				e.moved()
				if whole {
					break
				}
				for _, statement := range statements {
					e.exec(statement)
				}
			}
			if refused < 5 {
				t.Errorf("%d appends were refused while ids were moved", refused)
			}
		})
	}
}

// Several at once, beside counting: some may fail, and what they leave is right.
func TestMovesOfIDsBesideEachOtherLoseNothing(t *testing.T) {
	slowtest.Begin(t)
	e := newEarlierTables(t)
	statements, err := schematest.EarlierIDs()
	e.must(err)
	for round := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var moving, counting sync.WaitGroup
		for p := range 2 {
			counting.Go(func() {
				for ctx.Err() == nil {
					_ = e.append(context.WithoutCancel(ctx), e.config, p, 3)
				}
			})
		}
		for range 3 {
			moving.Go(func() { _ = e.migrate(t.Context(), e.config) })
		}
		moving.Wait()
		cancel()
		counting.Wait()
		if err := e.migrate(t.Context(), e.config); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		e.moved()
		for _, statement := range statements {
			e.exec(statement)
		}
	}
}

func TestManyMigrationsOfANewDatabaseAtOnceMakeOneSchema(t *testing.T) {
	url, _ := enginetest.Start(t)
	for round := range 5 {
		config := clickhouse.Config{URL: url, Database: fmt.Sprintf("new_%d", round)}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := clickhouse.Migrate(t.Context(), config, tables.Migrations, nil); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		all.Wait()
		if got, err := enginetest.Query(t.Context(), url, config.Database, "SELECT countIf(engine = 'MaterializedView'), countIf(name LIKE 'usage_ids%') FROM system.tables WHERE database = currentDatabase()"); err != nil || got != "7\t0\n" {
			t.Errorf("round %d: %q views and tables of before, %v", round, got, err)
		}
		if err := enginetest.Exec(t.Context(), url, "DROP DATABASE "+config.Database); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEarlierLookUpBesideTodaysIsRefused(t *testing.T) {
	e := newEarlierTables(t)
	e.exec("CREATE TABLE usage_id_places AS usage_ids")
	err := e.migrate(t.Context(), e.config)
	if err == nil || !strings.Contains(err.Error(), "Drop it and its view") || errors.Is(err, clickhouse.ErrNewerSchema) {
		t.Errorf("%v", err)
	}
}

func TestIDsThatAreNowhereAreMissed(t *testing.T) {
	slowtest.Begin(t)
	e := newEarlierTables(t)
	e.exec("DROP TABLE usage_ids")
	if err := e.migrate(t.Context(), e.config); err == nil || !strings.Contains(err.Error(), "in one of which the ids of before have to be") {
		t.Errorf("%v", err)
	}
}
