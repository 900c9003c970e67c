package query

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/enginetest"
	schema "agentmeter/schemas/clickhouse"
)

// yearEvents may be fewer where time is short.
var yearEvents = flag.Int64("year-events", 100_000_000, "how many events the year of the benchmarks has")

// The year's workspaces: fifty of very different size, with a thousand agents
// together. Those that are asked are named.
const (
	largeWorkspace = "ws_01_300" // 300 agents, 30 % of the events
	smallWorkspace = "ws_08_20"  // 20 agents, 2 %
)

func yearWorkspaces() (names []string) {
	sizes := []int{300, 120, 80, 40, 40, 40, 40, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20}
	left := 1000
	for _, size := range sizes {
		left -= size
	}
	for more := 33; more > 0; more-- {
		sizes = append(sizes, left/more)
		left -= left / more
	}
	for i, size := range sizes {
		for range size {
			names = append(names, fmt.Sprintf("ws_%02d_%d", i+1, size))
		}
	}
	return names // by agent
}

// yearInsert appends the events from {first} to {first}+{count}. All that is
// random about one is a hash of its number, so the year is always the same.
// Agents differ in how much they are used: the busiest thirty times as much as
// the quietest.
const yearInsert = `INSERT INTO usage_ledger
(stream, partition, offset, block_lo, block_hi, block_day, kafka_time, event_id, outcome, workspace, agent,
 conversation, model, channel, occurred_at, credits, messages)
WITH
    [WORKSPACES] AS workspaces,
    sipHash64(number) AS random,
    toUInt32(floor(1000 * pow((random % 1000003) / 1000003, 1.7))) AS rank,
    (rank * 617) % 1000 AS who,
    random % 50 = 7 AS test
SELECT
    {stream:UUID}, toInt32((cityHash64(workspaces[who + 1]) + intDiv(random, 1000) % 4) % 10), number,
    {first:Int64}, {first:Int64} + {count:Int64}, toDate(occurred), occurred, toString(number),
    if(test, 'playground', 'counted'), workspaces[who + 1], concat('agt_', toString(who)),
    concat('conv_', toString(intDiv(number, 9000) * 1000 + who)), ['large', 'small', 'medium'][1 + intDiv(random, 64) % 3],
    if(test, 'playground', ['embed', 'api', 'whatsapp', 'slack'][1 + intDiv(random, 256) % 4]),
    toDateTime64({start:Int64} + intDiv(number * {seconds:Int64}, {events:Int64}) + intDiv(random, 4096) % 30, 6, 'UTC') AS occurred,
    if(test, 0, 500000 * (1 + intDiv(random, 65536) % 20)), 1
FROM numbers({first:Int64}, {count:Int64})`

// yearRaw appends the same events of the asked workspaces to the table that the
// peer would keep: CloudEvents whose payload is read at query time.
const (
	yearRawTable = `CREATE TABLE IF NOT EXISTS raw_events
(
    namespace String, id String, type LowCardinality(String), subject String, source String,
    time DateTime('UTC'), data String, ingested_at DateTime('UTC')
)
ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (namespace, type, subject, toStartOfHour(time))`
	yearRaw = `INSERT INTO raw_events
SELECT workspace, event_id, 'message.answered', agent, 'agents', occurred_at,
    concat('{"agent_id":"', agent, '","channel":"', channel, '","model":"', model, '","conversation_id":"', conversation,
        '","credits":"', toString(toDecimal64(credits, 6) / 1000000), '","messages":', toString(messages), '}'), occurred_at
FROM usage_ledger
WHERE block_lo = {first:Int64} AND outcome = 'counted' AND workspace IN ({large:String}, {small:String})`
)

// yearWorld is the year on the real engine. It is made once and kept in the
// user's cache; a change of what it is made of makes another, and new migrations
// are applied to it.
func yearWorld(b *testing.B, events int64) *world {
	b.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	hash := sha256.New()
	fmt.Fprint(hash, yearInsert, yearRawTable, yearRaw, yearWorkspaces(), frozen, yearChunk)
	dir := filepath.Join(cache, "agentmeter", "bench", fmt.Sprintf("year-%d-%s", events, hex.EncodeToString(hash.Sum(nil)[:6])))
	complete := filepath.Join(dir, "complete")
	_, err = os.Stat(complete)
	whole := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
	}
	if err != nil {
		b.Fatal(err)
	}
	config := clickhouse.Config{URL: enginetest.StartIn(b, filepath.Join(dir, "engine"))}
	if _, err := clickhouse.Migrate(b.Context(), config, schema.Migrations, nil); err != nil {
		b.Fatalf("migrate: %v", err)
	}
	client, err := clickhouse.Open(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := client.Close(); err != nil {
			b.Error(err)
		}
	})
	w := &world{client: client, stream: uuid.NewSHA1(uuid.NameSpaceOID, []byte("year"))}
	if !whole {
		w.makeYear(b, events)
		if err := os.WriteFile(complete, nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

// yearChunk is how many events are appended at once, as one block.
const yearChunk = 500_000

func (w *world) makeYear(b *testing.B, events int64) {
	began := time.Now()
	const length = 365 * 24 * time.Hour
	// Minutes are kept for a month, counted from the year's end.
	w.exec(b, fmt.Sprintf("ALTER TABLE usage_minute MODIFY TTL time + toIntervalDay(if(time < toDateTime(%d, 'UTC'), 0, 7300))",
		frozen.Add(-32*24*time.Hour).Unix()), nil)
	w.exec(b, "DROP VIEW usage_id_places_view", nil) // no question is about ids
	w.exec(b, yearRawTable, nil)
	w.exec(b, "INSERT INTO usage_streams VALUES ({stream:UUID}, 'usage.events.v1', 10, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], now64())",
		map[string]string{"stream": w.stream.String()})
	insert := strings.Replace(yearInsert, "[WORKSPACES]", "['"+strings.Join(yearWorkspaces(), "', '")+"']", 1)
	for first := int64(0); first < events; first += yearChunk {
		params := map[string]string{
			"stream": w.stream.String(),
			"first":  strconv.FormatInt(first, 10), "count": strconv.FormatInt(min(yearChunk, events-first), 10),
			"start":   strconv.FormatInt(frozen.Add(-length).Unix(), 10),
			"seconds": strconv.FormatInt(int64(length/time.Second), 10), "events": strconv.FormatInt(events, 10),
		}
		w.yearStatement(b, insert, params)
		w.yearStatement(b, yearRaw, map[string]string{"first": params["first"], "large": largeWorkspace, "small": smallWorkspace})
		if done := first + yearChunk; done%(10*yearChunk) == 0 {
			fmt.Fprintf(os.Stderr, "year: %d of %d million events after %v\n", done/1_000_000, events/1_000_000, time.Since(began).Round(time.Second))
		}
	}
	w.yearProgress(b, events)
}

// yearStatement waits while too many parts are to be merged, as a rollup does.
func (w *world) yearStatement(b *testing.B, sql string, params map[string]string) {
	b.Helper()
	err := w.client.Exec(b.Context(), clickhouse.Statement{SQL: sql, Params: params, Settings: map[string]string{
		"max_block_size": strconv.Itoa(yearChunk), "min_insert_block_size_rows": strconv.Itoa(yearChunk),
		"min_insert_block_size_bytes": "0", "max_insert_threads": "1", "max_threads": "2", "parts_to_throw_insert": "100000",
	}})
	if err != nil && !errors.Is(err, context.Canceled) {
		b.Fatal(err)
	}
}

// yearProgress says that all partitions have been counted to the year's end.
func (w *world) yearProgress(b *testing.B, events int64) {
	b.Helper()
	w.exec(b, `INSERT INTO rollup_progress (stream, partition, partitions, position, log_end, counted_through, halted, halted_from, updated_at)
SELECT {stream:UUID}, number, 10, {events:Int64}, {events:Int64}, fromUnixTimestamp64Milli({through:Int64}, 'UTC'), '', toDateTime64(0, 3, 'UTC'), now64(3)
FROM numbers(10)`, map[string]string{
		"stream": w.stream.String(), "events": strconv.FormatInt(events, 10), "through": strconv.FormatInt(frozen.Add(-time.Second).UnixMilli(), 10),
	})
}
