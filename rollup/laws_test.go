package rollup

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// control is what kgo marks a transaction's marker with.
func control(record *kgo.Record) *kgo.Record {
	record.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true})
	return record
}

// What becomes of an offset depends neither on how its partition is cut into
// blocks nor on how many records come at a time.
func TestRowsDoNotDependOnWhereBlocksAreCut(t *testing.T) {
	type cutRow struct {
		offset  int64
		at      time.Time
		outcome schemas.Outcome
		record  *kgo.Record
	}
	rapid.Check(t, func(t *rapid.T) {
		next, records := drawRecords(t)
		for _, record := range records {
			if rapid.IntRange(0, 9).Draw(t, "control") == 0 {
				control(record)
			}
		}
		cut := func(label string) (rows []cutRow) {
			position, arrived := next, 0
			var pending []*kgo.Record
			for arrived < len(records) || len(pending) > 0 {
				n := rapid.IntRange(0, len(records)-arrived).Draw(t, label+" arrive")
				pending = append(slices.Clone(pending), records[arrived:arrived+n]...)
				arrived += n
				if len(pending) == 0 {
					continue
				}
				maxRows := rapid.IntRange(1, 12).Draw(t, label+" rows")
				before := pending
				var b block
				b, pending = cutBlock(position, before, blockSize{maxRows, math.MaxInt})
				if b.lo != position || b.hi != b.lo+int64(len(b.rows)) || len(b.rows) == 0 || len(b.rows) > maxRows {
					t.Fatalf("block [%d, %d) of %d rows follows %d", b.lo, b.hi, len(b.rows), position)
				}
				taken := len(before) - len(pending)
				if taken < 0 || !slices.Equal(before[taken:], pending) {
					t.Fatal("what a block leaves is not the end of what it was given")
				}
				if taken > 0 && b.hi != before[taken-1].Offset+1 && len(b.rows) < maxRows {
					t.Fatalf("block [%d, %d) ends neither at its last record %d nor full", b.lo, b.hi, before[taken-1].Offset)
				}
				for i := range b.rows {
					r := &b.rows[i]
					if !dayOf(r.kafkaTime).Equal(b.day) {
						t.Fatalf("block of %s has a row of %s", b.day, r.kafkaTime)
					}
					rows = append(rows, cutRow{r.offset, r.kafkaTime, r.outcome, r.record})
				}
				position = b.hi
			}
			return rows
		}
		one, other := cut("one"), cut("other")
		if !slices.Equal(one, other) {
			t.Fatalf("cut one way there are the rows %v, and another %v", one, other)
		}
		if last := records[len(records)-1].Offset; int64(len(one)) != last+1-next {
			t.Fatalf("%d rows for the offsets from %d to %d", len(one), next, last)
		}
	})
}

func TestOutcomesDoNotDependOnWhereBlocksAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := make([]row, rapid.IntRange(1, 60).Draw(t, "rows"))
		for i := range drawn {
			r := &drawn[i]
			r.offset = int64(i)
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				r.outcome = schemas.OutcomeGap
				continue
			case 1:
				r.outcome, r.detail = schemas.OutcomeInvalid, schemas.CodeUndecodable
				continue
			case 2:
				r.event.Adjustment = &schemas.Adjustment{Reason: "drawn"}
			case 3:
				r.event.Channel = schemas.ChannelPlayground
			}
			r.hash = schemas.IDHash{byte(rapid.IntRange(1, 12).Draw(t, "id"))}
			r.payload = uint64(rapid.IntRange(0, 2).Draw(t, "payload"))
		}
		classified := func(label string) []row {
			rows := slices.Clone(drawn)
			ledger := make(map[schemas.IDHash]uint64) // what earlier blocks recorded
			for from := 0; from < len(rows); {
				to := rapid.IntRange(from+1, len(rows)).Draw(t, label)
				known := make(map[schemas.IDHash]uint64)
				for _, r := range rows[from:to] {
					if payload, ok := ledger[r.hash]; ok && r.outcome == 0 {
						known[r.hash] = payload
					}
				}
				classify(rows[from:to], known)
				for _, r := range rows[from:to] {
					if recorded(r.outcome) {
						if _, twice := ledger[r.hash]; twice {
							t.Fatalf("offset %d records an id that was recorded before", r.offset)
						}
						ledger[r.hash] = r.payload
					}
				}
				from = to
			}
			return rows
		}
		one, other := classified("one"), classified("other")
		for i := range one {
			if one[i].outcome == 0 || one[i].outcome != other[i].outcome || one[i].detail != other[i].detail {
				t.Fatalf("offset %d is %s (%q) or %s (%q), by where its block begins", i, one[i].outcome, one[i].detail, other[i].outcome, other[i].detail)
			}
			if was := drawn[i].outcome; was != 0 && one[i].outcome != was {
				t.Fatalf("offset %d was decided as %s and became %s", i, was, one[i].outcome)
			}
		}
	})
}

// Counted through T never passes the moment at which a record was acknowledged
// that is not confirmed, and comes as near as the samples allow.
func TestWatermarkNeverPassesAnUnconfirmedRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w watermark
		now := time.Unix(1_700_000_000, 0).UTC()
		var acknowledged []time.Time // by offset
		var samples []logSample
		position := int64(0)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "pause")) * time.Millisecond)
			switch rapid.SampledFrom([]string{"acknowledge", "confirm", "sample"}).Draw(t, "step") {
			case "acknowledge":
				acknowledged = append(acknowledged, now)
				now = now.Add(time.Microsecond) // its acknowledgement is sent before anybody looks
			case "confirm":
				position = rapid.Int64Range(position, int64(len(acknowledged))).Draw(t, "position")
			case "sample":
				before := w.countedThrough
				samples = append(samples, logSample{now, int64(len(acknowledged))})
				w.observe(now, int64(len(acknowledged)), position)
				if w.countedThrough.Before(before) {
					t.Fatalf("went back from %s to %s", before, w.countedThrough)
				}
				var want time.Time
				for _, sample := range samples {
					if sample.end <= position {
						want = sample.at
					}
				}
				if len(samples) <= maxLogSamples && !w.countedThrough.Equal(want) {
					t.Fatalf("counted through %s, and the samples say %s", w.countedThrough, want)
				}
			}
			for offset := position; offset < int64(len(acknowledged)); offset++ {
				if at := acknowledged[offset]; at.Before(w.countedThrough) {
					t.Fatalf("counted through %s at position %d, but offset %d was acknowledged at %s", w.countedThrough, position, offset, at)
				}
			}
		}
	})
}

// bucketsOf reads a rollup from the engine.
func (s *stack) bucketsOf(rollup tables.Rollup) map[bucket]sums {
	s.t.Helper()
	agent, credits := "''", "toInt64(0)"
	if rollup.ByAgent {
		agent = "toString(agent)"
	}
	if rollup.Credits {
		credits = "toInt64(sum(credits))"
	}
	got := make(map[bucket]sums)
	s.each(fmt.Sprintf(`SELECT partition, toString(workspace), toInt64(toUnixTimestamp(time)), %s AS a, %s, sum(messages), sum(events) FROM %s GROUP BY 1, 2, 3, 4`, agent, credits, rollup.Table), func(scan func(...any)) {
		var key bucket
		var sum sums
		var workspace, agent string
		scan(&key.partition, &workspace, &key.time, &agent, &sum.credits, &sum.messages, &sum.events)
		key.workspace, key.agent = schemas.WorkspaceID(workspace), schemas.AgentID(agent)
		if sum != (sums{}) { // a bucket that sums up to nothing is as good as none
			got[key] = sum
		}
	})
	return got
}

// Whatever happened to the buckets that a block touches, a reconcile of it makes
// them equal to the ledger; the others are none of its business; and a second
// one finds nothing to do.
func TestReconcileRepairsWhatItsBlockTouchesAndNothingElse(t *testing.T) {
	random := rand.New(rand.NewPCG(randomSeed(t), 2))
	s := newStack(t)
	const partition = 0
	known, err := adoptStream(t.Context(), s.client, s.admin, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{client: s.client, stream: known.id, partition: partition, timeout: time.Minute}
	day := time.Now().UTC().Truncate(24 * time.Hour)
	var blocks []*block
	c := newColumns()
	next := int64(0)
	for range 3 {
		b := &block{lo: next, hi: next, day: day}
		for range 40 {
			r := row{offset: b.hi, kafkaTime: day.Add(time.Hour), outcome: schemas.OutcomeCounted, event: schemas.Event{
				ID: fmt.Sprintf("event-%d", b.hi), Workspace: schemas.WorkspaceID(fmt.Sprintf("ws_%d", random.IntN(2))), Agent: schemas.AgentID(fmt.Sprintf("agt_%d", random.IntN(3))),
				OccurredAt: day.Add(-time.Duration(random.IntN(72*60)) * time.Minute), Channel: "embed", Credits: schemas.Credits(random.Int64N(1e9)), Messages: random.Int64N(9),
			}}
			switch random.IntN(6) {
			case 0:
				r.outcome, r.event.Channel = schemas.OutcomePlayground, schemas.ChannelPlayground
			case 1:
				r.outcome, r.event.Credits, r.event.Adjustment = schemas.OutcomeAdjustment, -r.event.Credits, &schemas.Adjustment{Reason: "drawn"}
			case 2:
				r.outcome = schemas.OutcomeDuplicate
			}
			b.rows = append(b.rows, r)
			b.hi++
		}
		encoded, err := c.encode(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.append(t.Context(), b, encoded); err != nil {
			t.Fatal(err)
		}
		blocks, next = append(blocks, b), b.hi
	}
	whole := make(map[string]map[bucket]sums)
	for _, rollup := range tables.Rollups {
		whole[rollup.Table] = s.bucketsOf(rollup)
	}
	repaired := uint64(0) // rows that were lacking, as ClickHouse says
	for round := range slowtest.Number(1, 3) {
		b := blocks[random.IntN(len(blocks))]
		damaged := make(map[string]map[bucket]sums)
		for _, rollup := range tables.Rollups {
			keys := slices.Collect(maps.Keys(whole[rollup.Table]))
			for range 1 + random.IntN(12) {
				key := keys[random.IntN(len(keys))]
				harm := sums{random.Int64N(1e6) - 5e5, random.Int64N(9) - 4, random.Int64N(5) - 2}
				if random.IntN(3) == 0 { // as if the view had missed it
					is := whole[rollup.Table][key]
					harm = sums{-is.credits, -is.messages, -is.events}
				}
				if rollup.ByAgent && random.IntN(4) == 0 {
					key.agent = "agt_that_never_was"
				}
				columns, values := "workspace, time, stream, partition, messages, events", fmt.Sprintf("'%s', %d, '%s', %d, %d, %d", key.workspace, key.time, known.id, partition, harm.messages, harm.events)
				if rollup.ByAgent {
					columns, values = columns+", agent", values+", '"+string(key.agent)+"'"
				}
				if rollup.Credits {
					columns, values = columns+", credits", values+", "+strconv.FormatInt(harm.credits, 10)
				}
				if err := s.client.Conn().Exec(t.Context(), "INSERT INTO "+rollup.Table+" ("+columns+") VALUES ("+values+")"); err != nil {
					t.Fatal(err)
				}
			}
			damaged[rollup.Table] = s.bucketsOf(rollup)
		}
		for again := range 2 {
			added, err := l.reconcile(t.Context(), b.lo, b.hi)
			if err != nil {
				t.Fatal(err)
			}
			repaired += added
			if again == 1 && added != 0 {
				t.Errorf("round %d: reconciling block [%d, %d) again added %d rows", round, b.lo, b.hi, added)
			}
			for _, rollup := range tables.Rollups {
				touched := make(map[bucket]bool)
				withoutAgent := func(key bucket) bucket { key.agent = ""; return key }
				for i := range b.rows {
					if key, _, ok := bucketOf(rollup, partition, &b.rows[i].event, b.rows[i].outcome); ok {
						touched[withoutAgent(key)] = true
					}
				}
				want := make(map[bucket]sums)
				for key, sum := range damaged[rollup.Table] {
					if !touched[withoutAgent(key)] {
						want[key] = sum
					}
				}
				for key, sum := range whole[rollup.Table] {
					if touched[withoutAgent(key)] {
						want[key] = sum
					}
				}
				for _, difference := range differences(s.bucketsOf(rollup), want) {
					t.Errorf("round %d, reconcile %d of block [%d, %d): %s: %s", round, again+1, b.lo, b.hi, rollup.Table, difference)
				}
			}
		}
		for _, b := range blocks { // whole again for the next round, but for what no block touches
			if _, err := l.reconcile(t.Context(), b.lo, b.hi); err != nil {
				t.Fatal(err)
			}
		}
	}
	if repaired == 0 {
		t.Error("rows were repaired, and nothing says how many")
	}
}

// What a producer sent is what the ledger says, field by field, at the edges of
// what may be sent, too.
func TestLedgerKeepsWhatWasSent(t *testing.T) {
	random := rand.New(rand.NewPCG(randomSeed(t), 3))
	pick := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	words := []string{"a", "ws/1", `back\slash`, `qu'o"te`, "ünïcødé", "日本語", "🦜", "a,b", "NULL", "{x:String}", "%s\u00a0x"}
	s := newStack(t)
	known, err := adoptStream(t.Context(), s.client, s.admin, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(map[logPlace]schemas.Event)
	var decoder schemas.EventDecoder
	c := newColumns()
	next := make(map[int32]int64)
	at := time.Date(2026, 12, 31, 23, 59, 59, 999_000_000, time.UTC)
	for block := range 5 {
		pending := make(map[int32][]*kgo.Record)
		for i := range 100 {
			e := schemas.Event{
				ID: fmt.Sprintf("%s-%d-%d", pick(words...), block, i), Workspace: schemas.WorkspaceID(pick(words...)), Agent: schemas.AgentID(pick(words...)),
				Conversation: pick(append(words, "")...), Model: pick(append(words, "")...), Channel: pick(append(words, schemas.ChannelPlayground)...),
				OccurredAt: []time.Time{
					schemas.MinOccurredAt.Add(time.Microsecond), schemas.MaxOccurredAt.Add(-time.Microsecond), at, time.UnixMicro(random.Int64N(4e15) + 1).UTC(),
				}[random.IntN(4)],
				Credits: schemas.Credits([]int64{0, 1, math.MaxInt64, random.Int64()}[random.IntN(4)]), Messages: []int64{0, 1, schemas.MaxMessages}[random.IntN(3)],
			}
			if random.IntN(4) == 0 {
				e.Channel, e.Credits, e.Messages = "", -e.Credits, -e.Messages
				e.Adjustment = &schemas.Adjustment{Reason: pick(words...), EventID: pick(append(words, "")...)}
			}
			if faults := e.Validate(); faults != nil {
				t.Fatal(faults)
			}
			p := schemas.PartitionOf(schemas.RecordKey(e.Workspace, e.ID), known.partitions)
			offset := next[p] + int64(len(pending[p]))
			pending[p] = append(pending[p], &kgo.Record{Offset: offset, Timestamp: at, Value: schemas.EncodeEvent(nil, &e)})
			sent[logPlace{p, offset}] = e
		}
		for p, records := range pending {
			l := &ledger{client: s.client, stream: known.id, partition: p, timeout: time.Minute}
			b, rest := cutBlock(next[p], records, blockSize{len(records), math.MaxInt})
			if len(rest) > 0 {
				t.Fatalf("%d records are left", len(rest))
			}
			decode(b.rows, &decoder, p, known.partitions)
			classify(b.rows, make(map[schemas.IDHash]uint64))
			encoded, err := c.encode(nil, &b)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.append(t.Context(), &b, encoded); err != nil {
				t.Fatal(err)
			}
			next[p] = b.hi
		}
		at = at.Add(time.Millisecond) // and so into the next year
	}
	read := 0
	s.each(`SELECT stream, partition, offset, event_id, toInt8(outcome), toString(workspace), toString(agent), conversation, toString(model), toString(channel),
toUnixTimestamp64Micro(occurred_at), credits, messages, reason, refers_to FROM usage_ledger`, func(scan func(...any)) {
		var stream uuid.UUID
		var where logPlace
		var got schemas.Event
		var outcome int8
		var workspace, agent, reason, refersTo string
		var micros, credits int64
		scan(&stream, &where.partition, &where.offset, &got.ID, &outcome, &workspace, &agent, &got.Conversation, &got.Model, &got.Channel, &micros, &credits, &got.Messages, &reason, &refersTo)
		read++
		got.Workspace, got.Agent, got.OccurredAt, got.Credits = schemas.WorkspaceID(workspace), schemas.AgentID(agent), time.UnixMicro(micros).UTC(), schemas.Credits(credits)
		want := sent[where]
		wantOutcome := schemas.OutcomeCounted
		switch {
		case want.Adjustment != nil:
			wantOutcome = schemas.OutcomeAdjustment
			if *want.Adjustment != (schemas.Adjustment{Reason: reason, EventID: refersTo}) {
				t.Errorf("%v: reason %q and %q, want %+v", where, reason, refersTo, *want.Adjustment)
			}
			want.Adjustment = nil
		case want.Playground():
			wantOutcome, want.Credits = schemas.OutcomePlayground, 0 // which weighs nothing
		}
		want.OccurredAt = want.OccurredAt.UTC()
		if got != want || schemas.Outcome(outcome) != wantOutcome || stream != known.id {
			t.Errorf("%v holds %s %+v, want %s %+v", where, schemas.Outcome(outcome), got, wantOutcome, want)
		}
	})
	if read != len(sent) {
		t.Errorf("%d rows, want %d", read, len(sent))
	}
}
