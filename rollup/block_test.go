package rollup

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"agentmeter/schemas"
)

// drawRecords draws records with rising offsets, some missing, whose broker
// times rise by up to a day a record.
func drawRecords(t *rapid.T) (next int64, records []*kgo.Record) {
	next = rapid.Int64Range(0, 1000).Draw(t, "next")
	offset, at := next, time.Date(2026, 12, 31, 20, 0, 0, 0, time.UTC)
	for range rapid.IntRange(1, 60).Draw(t, "records") {
		offset += rapid.Int64Range(0, 3).Draw(t, "skipped")
		at = at.Add(time.Duration(rapid.Int64Range(0, int64(10*time.Hour)).Draw(t, "pause")))
		records = append(records, &kgo.Record{Offset: offset, Timestamp: at})
		offset++
	}
	return next, records
}

func TestBlocksAreAnUnbrokenRunOfOffsets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		next, records := drawRecords(t)
		maxRows, maxBytes := rapid.IntRange(1, 10).Draw(t, "rows"), rapid.IntRange(0, 60).Draw(t, "bytes")
		for _, r := range records {
			r.Value = make([]byte, rapid.IntRange(0, 30).Draw(t, "size"))
		}
		last := records[len(records)-1].Offset
		delivered := make(map[int64]bool)
		for _, r := range records {
			delivered[r.Offset] = true
		}
		position, rest := next, records
		for len(rest) > 0 {
			var b block
			b, rest = cutBlock(position, rest, blockSize{maxRows, maxBytes})
			if b.lo != position || b.hi != b.lo+int64(len(b.rows)) {
				t.Fatalf("block [%d, %d) with %d rows follows position %d", b.lo, b.hi, len(b.rows), position)
			}
			if len(b.rows) == 0 || len(b.rows) > maxRows {
				t.Fatalf("block of %d rows, want 1 to %d", len(b.rows), maxRows)
			}
			if size := sizeOf(recordsOf(b)); size.bytes > maxBytes && size.rows > 1 {
				t.Fatalf("block of %d records with %d bytes, want at most %d", size.rows, size.bytes, maxBytes)
			}
			for i, r := range b.rows {
				if r.offset != b.lo+int64(i) {
					t.Fatalf("row %d of block [%d, %d) has offset %d", i, b.lo, b.hi, r.offset)
				}
				if got := r.outcome == schemas.OutcomeGap; got == delivered[r.offset] {
					t.Fatalf("offset %d: delivered %v, a gap %v", r.offset, delivered[r.offset], got)
				}
				if !dayOf(r.kafkaTime).Equal(b.day) {
					t.Fatalf("block of %s holds a row of %s: it would be two parts", b.day, r.kafkaTime)
				}
			}
			position = b.hi
		}
		if position != last+1 {
			t.Fatalf("blocks end at %d, want %d", position, last+1)
		}
	})
}

func TestFirstCopyOfAnIDCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "rows")
		known := make(map[schemas.IDHash]uint64)
		for id := range rapid.IntRange(0, 3).Draw(t, "known") {
			known[schemas.IDHash{byte(id)}] = uint64(rapid.IntRange(0, 1).Draw(t, "payload"))
		}
		before := make(map[schemas.IDHash]uint64)
		for hash, payload := range known {
			before[hash] = payload
		}
		rows := make([]row, n)
		for i := range rows {
			rows[i].hash = schemas.IDHash{byte(rapid.IntRange(0, 6).Draw(t, "id"))}
			rows[i].payload = uint64(rapid.IntRange(0, 1).Draw(t, "payload"))
			rows[i].event.Channel = rapid.SampledFrom([]string{"embed", schemas.ChannelPlayground}).Draw(t, "channel")
		}
		classify(rows, known)
		first := before
		for i := range rows {
			payload, seen := first[rows[i].hash]
			want := schemas.OutcomeCounted
			switch {
			case seen && payload == rows[i].payload:
				want = schemas.OutcomeDuplicate
			case seen:
				want = schemas.OutcomeInvalid
			case rows[i].event.Playground():
				want = schemas.OutcomePlayground
			}
			if !seen {
				first[rows[i].hash] = rows[i].payload
			}
			if rows[i].outcome != want {
				t.Fatalf("row %d (%v) is %s, want %s", i, rows[i].hash[0], rows[i].outcome, want)
			}
		}
	})
}

func recordsOf(b block) (records []*kgo.Record) {
	for i := range b.rows {
		if record := b.rows[i].record; record != nil {
			records = append(records, record)
		}
	}
	return records
}
