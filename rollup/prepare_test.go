package rollup

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/schemas"
)

// outcomesFrom are the outcomes of the partition's rows from an offset on, in order.
func outcomesFrom(w *wire, partition int32, offset int64) []schemas.Outcome {
	var outcomes []schemas.Outcome
	rows := w.engine.ledger(w.stream, partition)
	slices.SortFunc(rows, func(a, b fakeRow) int { return int(a.offset - b.offset) })
	for _, row := range rows {
		if row.offset >= offset {
			outcomes = append(outcomes, row.outcome)
		}
	}
	return outcomes
}

// lookedUpAll makes rollups look every id up, so that a test sees when.
func lookedUpAll(c *Config) { c.HotIDs = 0 }

func TestNextBlockIsPreparedWhileOneIsAppended(t *testing.T) {
	for name, slow := range map[string]*mishap{
		"before its effect": {runs: 10 * time.Second},
		"after its effect":  {lingers: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				w.start("a", fast, lookedUpAll)
				slow.match = ofKind(kindAppend)
				w.engine.inject(slow)
				first := w.eventsIn(0, "first", 4)
				w.produce(first...)
				w.reached(slow)

				// Copies of what is under way, one of them with another payload.
				changed := first[1]
				changed.Credits++
				w.produce(first[0], changed)
				w.produce(w.eventsIn(0, "second", 3)...)
				w.waitCounted()

				appends := w.engine.statements(ofKind(kindAppend))
				lookUps := w.engine.statements(ofKind(kindFindIDs))
				if len(lookUps) < 2 || !lookUps[1].began.Before(appends[0].ended) {
					t.Errorf("the second block's ids were looked up at %s, and the first was being appended until %s", lookUps[1].began, appends[0].ended)
				}
				if appends[1].arrived.Before(appends[0].ended) {
					t.Error("the second block was sent before the first was confirmed")
				}
				want := []schemas.Outcome{schemas.OutcomeDuplicate, schemas.OutcomeInvalid, schemas.OutcomeCounted, schemas.OutcomeCounted, schemas.OutcomeCounted}
				if got := outcomesFrom(w, 0, 4); !slices.Equal(got, want) {
					t.Errorf("the second block is %v, want %v", got, want)
				}
			})
		})
	}
}

// What a block recorded is not certain where somebody else may have put another
// one between the same bounds, as accepting a loss does.
func TestBlockPreparedBehindOneInDoubtIsDecidedAnew(t *testing.T) {
	for name, change := range map[string]func(*Config){"every id is looked up": lookedUpAll, "filtered": func(*Config) {}} {
		t.Run(name, func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				a := w.start("a", fast, change)
				w.produce(w.eventsIn(0, "settled", 2)...)
				w.waitCounted()

				events := w.eventsIn(0, "doubted", 3)
				doubted := w.engine.inject(&mishap{match: ofKind(kindAppend), code: 241, runs: 10 * time.Second})
				w.produce(events...)
				w.reached(doubted)
				w.engine.mu.Lock() // not under the mutex, which only a test may do
				key := ledgerKey{w.stream.String(), 0}
				for offset := int64(2); offset < 5; offset++ {
					w.engine.ledgers[key] = append(w.engine.ledgers[key], fakeRow{
						offset: offset, lo: 2, hi: 5, kafkaTime: time.Now().UTC(), outcome: schemas.OutcomeGap, inViews: make(map[string]bool),
					})
				}
				w.engine.mu.Unlock()
				w.damaged = true // three events are lost, on purpose

				w.produce(append(slices.Clone(events), w.eventsIn(0, "after", 1)...)...)
				w.until("the block behind is in the ledger", func() bool { return len(outcomesFrom(w, 0, 5)) == 4 })
				if got := a.counter("doubts_total"); got != 1 {
					t.Errorf("%v doubts, want the one that was made", got)
				}
				for i, outcome := range outcomesFrom(w, 0, 5) {
					if outcome != schemas.OutcomeCounted {
						t.Errorf("row %d behind the gaps is %s: its only copy is this one", i, outcome)
					}
				}
			})
		})
	}
}

func TestIDsOfTheBlockBeforeAreKnownFromItAlone(t *testing.T) {
	events := testEvents(6)
	rows := rowsOf(100, events)
	hashRows(rows)
	before := &blockIDs{lo: 90, payloads: map[schemas.IDHash]uint64{rows[1].hash: rows[1].payload, rows[2].hash: 7}}
	var asked []schemas.IDHash
	find := func(_ context.Context, ids []schemas.IDHash, lo int64) (map[schemas.IDHash]uint64, error) {
		if lo != before.lo {
			t.Errorf("what is recorded below %d was looked up, want below %d, where the block before begins", lo, before.lo)
		}
		asked = ids
		return map[schemas.IDHash]uint64{rows[4].hash: 9}, nil
	}
	k := newKnownIDs(t.Context(), find, nil, idOptions{})
	defer k.close()
	known, err := k.lookUp(t.Context(), &block{lo: 100, rows: rows}, before)
	if err != nil {
		t.Fatal(err)
	}
	if want := []schemas.IDHash{rows[0].hash, rows[3].hash, rows[4].hash, rows[5].hash}; !slices.Equal(asked, want) {
		t.Errorf("%d ids were looked up, want the four that the block before does not have", len(asked))
	}
	want := map[schemas.IDHash]uint64{rows[1].hash: rows[1].payload, rows[2].hash: 7, rows[4].hash: 9}
	if !maps.Equal(known, want) {
		t.Errorf("known %v, want %v", known, want)
	}
}

// A backlog's blocks are made a few at a time: who waits gets the turn that ends,
// one that never ends is ended, and nobody waits for longer than one may take.
func TestBlocksOfABacklogTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := make(turns, 1)
		end, ok := limit.take(t.Context())
		if !ok {
			t.Fatal("there was no first turn")
		}
		second := make(chan func())
		go func() {
			end, ok := limit.take(t.Context())
			if !ok {
				t.Error("the turn that ended was nobody's")
			}
			second <- end
		}()
		synctest.Wait()
		if len(limit) != 1 || len(second) != 0 {
			t.Fatalf("%d turns are taken of one", len(limit))
		}
		end()
		end() // once is enough
		stuck := <-second

		const later = time.Second
		pass(later)
		began := time.Now()
		if _, ok := limit.take(t.Context()); !ok {
			t.Error("a turn that is never given back did not end")
		}
		if waited := time.Since(began); waited != longestTurn-later {
			t.Errorf("waited %v for a turn that ends by itself after %v", waited, longestTurn)
		}
		stuck() // later than it ended by itself: it is somebody else's now
		if len(limit) != 1 {
			t.Error("a turn that was over took another one along")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := limit.take(ctx); ok {
			t.Error("who has stopped was given a turn")
		}
	})
}

// How long a block's records are waited for: the linger, and longer only for as long
// as the block before is likely to be appended.
func TestABlockWaitsForTheLingerAndTheAppendBeforeIt(t *testing.T) {
	const linger = 200 * time.Millisecond
	for _, test := range []struct {
		name         string
		before, ends time.Duration // how long the block before last took, and the one before takes
		first        time.Duration // when the first record comes
		want         time.Duration
	}{
		{"nothing is appended", 0, 0, 0, linger},
		{"an append as long as the last", time.Second, time.Second, 0, 750 * time.Millisecond},
		{"a shorter one", time.Second, 400 * time.Millisecond, 0, 400 * time.Millisecond},
		{"one shorter than the linger", time.Second, 50 * time.Millisecond, 0, linger},
		{"a longer one", 400 * time.Millisecond, time.Second, 0, 300 * time.Millisecond},
		{"a record late in an append", time.Second, time.Second, 700 * time.Millisecond, 900 * time.Millisecond},
		{"a record after it", time.Second, time.Second, 5 * time.Second, 5200 * time.Millisecond},
		{"a server that hung before", time.Hour, time.Hour, 0, longestAppend * 3 / 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &preparer{config: Config{BlockLinger: linger}}
				began := time.Now()
				if test.ends > 0 {
					time.AfterFunc(test.ends, p.expect(test.before))
				}
				<-time.After(test.first)
				window, end := p.window(t.Context())
				defer end()
				<-window.Done()
				if got := time.Since(began); got != test.want {
					t.Errorf("closed after %s, want %s", got, test.want)
				}
			})
		})
	}
}

// What is let go of is not what is remembered.
func TestABlockOnItsWayHoldsNoRecords(t *testing.T) {
	rows := rowsOf(7, []schemas.Event{{Workspace: "ws_a", ID: "1"}, {Workspace: "ws_a", ID: "2"}})
	hashRows(rows)
	b := preparedBlock{block: block{lo: 7, hi: 9, rows: slices.Clone(rows)}}
	b.letGo()
	for i, r := range b.rows {
		if r.record != nil || r.event != (schemas.Event{}) {
			t.Errorf("row %d still holds %v", i, r)
		}
		if r.hash != rows[i].hash || r.payload != rows[i].payload || r.offset != rows[i].offset || !r.kafkaTime.Equal(rows[i].kafkaTime) {
			t.Errorf("row %d lost what is remembered: %v", i, r)
		}
	}
}
