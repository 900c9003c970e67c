package query

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/auth"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/httpapi/contracttest"
	"agentmeter/schemas"
)

// ledgerPartitions is how many partitions the test's topic has.
const ledgerPartitions = 4

// event is a ledger row as far as the figures are concerned.
type event struct {
	workspace    string
	agent        string
	at           time.Time
	credits      schemas.Credits
	messages     int64
	outcome      outcome
	channel      string
	model        string
	conversation string
}

type outcome int8

const (
	counted    outcome = 1
	playground outcome = 2
	adjustment outcome = 3
	duplicate  outcome = 4
)

// world is a database with Agentmeter's tables on the real engine.
type world struct {
	client *clickhouse.Client
	stream uuid.UUID
	next   [ledgerPartitions]int64 // offsets
	ids    int                     // events

	updates, changes int64 // of progress and of the directory
}

// newWorld makes an empty world, in which no row ever expires: the tests'
// clocks are not the engine's.
func newWorld(t testing.TB) *world {
	t.Helper()
	_, client := schematest.Tables(t)
	return newWorldOf(t, client)
}

func newWorldAt(t testing.TB, config clickhouse.Config) *world {
	t.Helper()
	return newWorldOf(t, schematest.Migrated(t, config))
}

func newWorldOf(t testing.TB, client *clickhouse.Client) *world {
	t.Helper()
	w := &world{client: client, stream: uuid.New()}
	w.exec(t, "ALTER TABLE usage_minute REMOVE TTL", nil)
	w.exec(t, "INSERT INTO usage_streams VALUES ({stream:UUID}, 'usage.events.v1', 4, [0, 0, 0, 0], now64())",
		map[string]string{"stream": w.stream.String()})
	return w
}

func (w *world) exec(t testing.TB, sql string, params map[string]string) {
	t.Helper()
	if err := w.client.Exec(t.Context(), clickhouse.Statement{SQL: sql, Params: params}); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// insert appends events to the ledger; the views fill the rollups.
func (w *world) insert(t testing.TB, events []event) {
	t.Helper()
	const blockRows = 200_000
	for block := range slices.Chunk(events, blockRows) {
		var parts [ledgerPartitions][]event
		for _, e := range block {
			w.ids++
			key := schemas.RecordKey(schemas.WorkspaceID(e.workspace), fmt.Sprint(w.ids))
			p := schemas.PartitionOf(key, ledgerPartitions)
			parts[p] = append(parts[p], e)
		}
		for p, events := range parts {
			if len(events) > 0 {
				w.insertBlock(t, int32(p), events)
			}
		}
	}
}

// insertStatement is a block's insert without the guard: a test is alone.
const insertStatement = `INSERT INTO usage_ledger
(stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent,
 conversation, model, channel, occurred_at, credits, messages)
SELECT {stream:UUID}, {partition:Int32}, offset, {lo:Int64}, {hi:Int64}, toDate('2026-11-24'), now64(3, 'UTC'), toString(offset), outcome, workspace, agent,
 conversation, model, channel, occurred_at, credits, messages
FROM input('offset Int64, outcome Int8, workspace String, agent String, conversation String, model String, channel String, occurred_at DateTime64(6, \'UTC\'), credits Int64, messages Int64')
FORMAT Native`

func (w *world) insertBlock(t testing.TB, partition int32, events []event) {
	t.Helper()
	var (
		offset, credits, messages                      proto.ColInt64
		outcome                                        proto.ColInt8
		workspace, agent, conversation, model, channel proto.ColStr
	)
	at := new(proto.ColDateTime64).WithPrecision(6).WithLocation(time.UTC)
	first := w.next[partition]
	for i, e := range events {
		offset.Append(first + int64(i))
		outcome.Append(int8(e.outcome))
		workspace.Append(e.workspace)
		agent.Append(e.agent)
		conversation.Append(e.conversation)
		model.Append(e.model)
		channel.Append(e.channel)
		at.Append(e.at)
		credits.Append(int64(e.credits))
		messages.Append(e.messages)
	}
	w.next[partition] += int64(len(events))
	body, err := clickhouse.EncodeBlock(nil, len(events), proto.Input{
		{Name: "offset", Data: offset},
		{Name: "outcome", Data: outcome},
		{Name: "workspace", Data: workspace},
		{Name: "agent", Data: agent},
		{Name: "conversation", Data: conversation},
		{Name: "model", Data: model},
		{Name: "channel", Data: channel},
		{Name: "occurred_at", Data: at},
		{Name: "credits", Data: credits},
		{Name: "messages", Data: messages},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = w.client.Exec(t.Context(), clickhouse.Statement{
		SQL: insertStatement,
		Params: map[string]string{
			"stream":    w.stream.String(),
			"partition": fmt.Sprint(partition),
			"lo":        fmt.Sprint(first),
			"hi":        fmt.Sprint(w.next[partition]),
		},
		Mutex: testMutex(w.stream, partition),
		Body:  body,
	})
	if err != nil {
		t.Fatalf("insert events: %v", err)
	}
}

// testMutex is the mutex under which a test's blocks are inserted.
func testMutex(stream uuid.UUID, partition int32) string {
	return fmt.Sprintf("test-%s-%d", stream, partition)
}

// progress says that every partition has been counted through an instant.
func (w *world) progress(t testing.TB, through time.Time) {
	t.Helper()
	for p := range int32(ledgerPartitions) {
		w.partitionProgress(t, p, through, "", time.Unix(0, 0))
	}
}

func (w *world) partitionProgress(t testing.TB, partition int32, through time.Time, halted string, haltedFrom time.Time) {
	t.Helper()
	w.updates++
	w.exec(t, `INSERT INTO rollup_progress (stream, partition, partitions, position, log_end, counted_through, halted, halted_from, updated_at)
SELECT {stream:UUID}, {partition:Int32}, 4, {position:Int64}, {position:Int64}, fromUnixTimestamp64Milli({through:Int64}, 'UTC'), {halted:String},
 fromUnixTimestamp64Milli({from:Int64}, 'UTC'), fromUnixTimestamp64Milli({update:Int64}, 'UTC')`, map[string]string{
		"stream": w.stream.String(), "partition": fmt.Sprint(partition), "position": fmt.Sprint(w.next[partition]),
		"through": fmt.Sprint(through.UnixMilli()), "halted": halted, "from": fmt.Sprint(haltedFrom.UnixMilli()),
		"update": fmt.Sprint(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + w.updates),
	})
}

// registered is something that was said of a workspace's agent or member.
type registered struct {
	table, column string // directory_agents, agent or directory_members, member
	workspace, id string
	from          time.Time
	name          string
	deleted       bool
}

func (w *world) register(t testing.TB, changes ...registered) {
	t.Helper()
	for _, c := range changes {
		w.changes++
		w.exec(t, "INSERT INTO "+c.table+" (workspace, "+c.column+`, valid_from, name, deleted, source_offset)
SELECT {workspace:String}, {id:String}, fromUnixTimestamp64Micro({from:Int64}, 'UTC'), {name:String}, {deleted:Bool}, {offset:Int64}`, map[string]string{
			"workspace": c.workspace, "id": c.id, "from": fmt.Sprint(c.from.UnixMicro()), "name": c.name,
			"deleted": fmt.Sprint(c.deleted), "offset": fmt.Sprint(w.changes),
		})
	}
}

func agentNamed(workspace, id, name string, from time.Time) registered {
	return registered{table: "directory_agents", column: "agent", workspace: workspace, id: id, name: name, from: from}
}

func agentDeleted(workspace, id string, from time.Time) registered {
	return registered{table: "directory_agents", column: "agent", workspace: workspace, id: id, deleted: true, from: from}
}

func memberNamed(workspace, id, name string, from time.Time) registered {
	return registered{table: "directory_members", column: "member", workspace: workspace, id: id, name: name, from: from}
}

// describe states a workspace's settings from an instant on.
func (w *world) describe(t testing.TB, workspace string, from time.Time, zone, anchor string, slots, seats string) {
	t.Helper()
	w.changes++
	if anchor == "" {
		anchor = "1970-01-01"
	}
	w.exec(t, `INSERT INTO directory_workspaces (workspace, valid_from, name, timezone, billing_anchor, agent_slots, seats, links, support_email, product_name, source_offset)
SELECT {workspace:String}, fromUnixTimestamp64Micro({from:Int64}, 'UTC'), 'Acme', {zone:String}, {anchor:Date32}, toInt64OrNull({slots:String}), toInt64OrNull({seats:String}),
 map('billing', 'https://example.com/billing'), 'help@example.com', 'Acme Agents', {offset:Int64}`, map[string]string{
		"workspace": workspace, "from": fmt.Sprint(from.UnixMicro()), "zone": zone, "anchor": anchor,
		"slots": slots, "seats": seats, "offset": fmt.Sprint(w.changes),
	})
}

// unset leaves a limit open.
const unset = ""

// service is the query service over a world, as a client sees it.
type service struct {
	*Service
	server *httptest.Server
	health *httpapi.Health
	key    auth.Key
	token  string
	now    time.Time
}

// serve starts the service with the routes, guard and router of the product.
func (w *world) serve(t testing.TB, now time.Time, config Config) *service {
	t.Helper()
	s, router := newService(t, w.client, now, config)
	s.server = httptest.NewServer(router)
	t.Cleanup(s.server.Close)
	return s
}

// with is the default configuration with a change.
func with(change func(*Config)) Config {
	config := DefaultConfig()
	change(&config)
	return config
}

// newService makes a service and its router, which nothing listens for yet.
func newService(t testing.TB, client *clickhouse.Client, now time.Time, config Config) (*service, http.Handler) {
	t.Helper()
	s := &service{now: now}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	registry := prometheus.NewRegistry()
	var err error
	s.Service, err = New(config, Deps{
		ClickHouse: client, Log: log, Registerer: registry, Clock: func() time.Time { return s.now }, Mutex: testMutex,
	})
	if err != nil {
		t.Fatal(err)
	}
	// What a test has just changed it wants to see. TestWhatEveryRequestNeeds… is
	// about the moment in between.
	s.config.ProgressMaxAge, s.config.WorkspaceMaxAge, s.config.TotalsMaxAge = 0, 0, 0
	if s.key, err = auth.LoadOrCreateKey(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	s.token = s.mint(t, time.Hour, auth.UsageRead)
	s.health = httpapi.NewHealth(log)
	router := httpapi.NewRouter(s.health, log, registry)
	s.Mount(auth.NewGuard(s.key.Verifier(), nil).Mux(router), router)
	return s, router
}

// mint makes a token for all workspaces.
func (s *service) mint(t testing.TB, ttl time.Duration, scopes ...auth.Scope) string {
	t.Helper()
	token, err := s.key.Mint(auth.Grant{Workspace: schemas.AllWorkspaces, Scopes: scopes, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// get asks for a path and holds the answer against the contract.
func (s *service) get(t testing.TB, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	contracttest.Check(t, request, response)
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// ask asks for JSON and expects it.
func ask[T any](t testing.TB, s *service, path string) T {
	t.Helper()
	response, body := s.get(t, path)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %d: %s", path, response.StatusCode, body)
	}
	var answer T
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return answer
}
