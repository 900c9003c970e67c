package rollup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

func appended(by string, partition int32) func(*statement) bool {
	return func(s *statement) bool { return s.kind == kindAppend && s.by == by && s.partition == partition }
}

func owns(m *member, partition int32) bool {
	_, ok := m.ownedPartitions()[partition]
	return ok
}

func TestRevokedPartitionFinishesItsBlockAndTheNextOwnerGoesOnFromThere(t *testing.T) {
	severalMembers(t)
	onWire(t, 2, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		w.produce(testEvents(20)...)
		w.waitCounted()

		// Both partitions have a block under way, of three seconds, when the
		// second consumer comes.
		slow := w.engine.inject(&mishap{match: ofKindBy(kindAppend, "a"), times: 2, runs: 3 * time.Second})
		w.produce(w.eventsIn(0, "slow", 5)...)
		w.produce(w.eventsIn(1, "slow", 5)...)
		w.until("both blocks are under way", func() bool { return w.engine.strikes(slow) == 2 })
		b := w.start("b", fast)
		w.until("the partitions are shared", func() bool { return owns(a, 0) != owns(a, 1) && owns(b, 0) != owns(b, 1) && owns(a, 0) == owns(b, 1) })
		w.waitCounted()

		moved := int32(0)
		if owns(b, 1) {
			moved = 1
		}
		var ended time.Time
		for _, s := range w.engine.statements(appended("a", moved)) {
			if s.result != "applied" || s.clientLeft {
				t.Errorf("the block [%d, %d) of the partition that moved: %s", s.lo, s.hi, s.result)
			}
			ended = s.ended
		}
		var taken []statement
		w.until("the next owner has looked at the ledger", func() bool {
			taken = w.engine.statements(func(s *statement) bool { return s.by == "b" && s.mutex != "" && s.partition == moved })
			return len(taken) > 0
		})
		if taken[0].arrived.Before(ended) {
			t.Errorf("the next owner looked at the ledger before the block ended at %s", ended)
		}
		if a.counter("doubts_total")+b.counter("doubts_total")+b.counter("stale_total") != 0 {
			t.Error("a rebalance that was waited for left a doubt")
		}

		w.produce(testEvents(60)...)
		w.waitCounted()
		if len(w.engine.statements(appended("b", moved))) == 0 {
			t.Error("the next owner has counted nothing")
		}
	})
}

func TestPartitionLostDuringAnInsertIsCountedOnce(t *testing.T) {
	onWire(t, 1, func(_ *testing.T, w *wire) {
		a := w.start("a", fast)
		w.produce(testEvents(5)...)
		w.waitCounted()
		slow := w.engine.inject(&mishap{match: ofKind(kindAppend), runs: 4 * time.Second})
		w.produce(w.eventsIn(0, "lost", 5)...)
		w.reached(slow)
		// The coordinator has forgotten the member: what it owned is lost.
		var forgotten atomic.Bool
		w.broker.ControlKey(int16(kmsg.Heartbeat), func(request kmsg.Request) (kmsg.Response, error, bool) {
			forgotten.Store(true)
			answer := request.ResponseKind().(*kmsg.HeartbeatResponse)
			answer.ErrorCode = kerr.UnknownMemberID.Code
			return answer, nil, true
		})
		w.until("the partition is taken over again", func() bool { return forgotten.Load() && owns(a, 0) && len(w.appends("applied")) == 2 })
		w.produce(w.eventsIn(0, "after", 5)...)
		w.waitCounted()
		w.waitPublished()
	})
}

func TestInsertThatOutlivesItsTimeoutIsWaitedForAndNotSentAgain(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		slow := w.engine.inject(&mishap{match: ofKind(kindAppend), runs: 90 * time.Second})
		w.produce(testEvents(7)...)
		w.reached(slow)
		w.waitCounted()
		w.waitPublished()

		sent := w.engine.statements(ofKind(kindAppend))
		if len(sent) != 1 || sent[0].result != "applied" || !sent[0].clientLeft {
			t.Fatalf("sent %d times, want one insert that its client had left: %+v", len(sent), sent)
		}
		waited := w.engine.statements(func(s *statement) bool { return s.kind == kindEnd && s.result == "waiting" })
		if len(waited) == 0 || waited[0].arrived.Sub(sent[0].began) < time.Minute {
			t.Errorf("nobody waited at the mutex after the timeout: %d", len(waited))
		}
		looked := w.engine.statements(ofKind(kindShort))
		if len(looked) != 1 || looked[0].began.Before(sent[0].ended) {
			t.Errorf("what the views lack was looked for %d times, want once, after the insert", len(looked))
		}
		if reconciled := w.engine.statements(ofKind(kindReconcile)); len(reconciled) != 1 || reconciled[0].table != tables.IDs {
			t.Errorf("%d reconciles, want none of a rollup that has everything", len(reconciled))
		}
		if a.counter("doubts_total") != 1 || a.counter("reconciles_total") != 1 {
			t.Errorf("%v doubts and %v reconciles, want 1 of each", a.counter("doubts_total"), a.counter("reconciles_total"))
		}
	})
}

func TestInsertThatArrivesAfterItsRepetitionIsRefused(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		w.start("a", fast)
		late := w.engine.inject(&mishap{match: ofKind(kindAppend), travels: 2 * time.Minute})
		w.produce(testEvents(7)...)
		w.reached(late)
		w.waitCounted()
		w.until("the late one was refused", func() bool { return len(w.appends("refused")) == 1 })
		if n := len(w.appends("applied")); n != 1 {
			t.Errorf("%d inserts were applied, want 1", n)
		}
	})
}

func TestLostAnswerIsLookedUpInTheLedger(t *testing.T) {
	for name, lost := range map[string]*mishap{"dropped": {drop: true}, "a stranger's": {stranger: true}} {
		t.Run(name, func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				a := w.start("a", fast)
				lost.match, lost.times = ofKind(kindAppend), 3
				w.engine.inject(lost)
				for i := range 3 {
					w.produce(w.eventsIn(0, fmt.Sprintf("lost-%d", i), 4)...)
					w.waitCounted()
				}
				w.waitPublished()
				if n := len(w.engine.statements(ofKind(kindAppend))); n != 3 {
					t.Errorf("%d inserts for three blocks", n)
				}
				if got := a.counter("reconciles_total"); got != 3 {
					t.Errorf("%v reconciles, want one for each lost answer", got)
				}
			})
		})
	}
}

func TestViewThatThrowsIsRepaired(t *testing.T) {
	for filled := range len(viewNames()) {
		t.Run(fmt.Sprintf("after %d views", filled), func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				a := w.start("a", fast)
				w.produce(testEvents(6)...)
				w.waitCounted()
				w.engine.inject(&mishap{match: ofKind(kindAppend), views: &filled})
				more := w.eventsIn(0, "thrown", 8)
				more[3].Channel = schemas.ChannelPlayground
				w.produce(more...)
				w.waitCounted()
				w.waitPublished()
				if n := len(w.engine.statements(ofKind(kindAppend))); n != 2 {
					t.Errorf("%d inserts for two blocks: a block that is in the ledger was sent again", n)
				}
				if a.counter("doubts_total") != 1 || a.counter("reconciles_total") != 1 {
					t.Errorf("%v doubts, %v reconciles", a.counter("doubts_total"), a.counter("reconciles_total"))
				}
			})
		})
	}
}

func TestErrorWithoutEffectIsSentAgain(t *testing.T) {
	for _, code := range []int{241, 252, 159, 243, 395} { // memory, parts, timeout, disk, a guard that is wrong
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				w.start("a", fast)
				w.engine.inject(&mishap{match: ofKind(kindAppend), code: code, times: 3})
				w.produce(testEvents(5)...)
				w.waitCounted()
				if failed, applied := len(w.appends("failed")), len(w.appends("applied")); failed != 3 || applied != 1 {
					t.Errorf("%d failed and %d applied, want 3 and 1", failed, applied)
				}
			})
		})
	}
}

// A reconcile that fails half-way is run again, and until then nothing is
// claimed of its block.
func TestBlockInDoubtIsNotPublishedBeforeItsViewsAreRepaired(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		w.start("a", func(c *Config) { c.BlockLinger = 5 * time.Second })
		w.produce(testEvents(5)...)
		w.waitCounted()
		w.waitPublished()

		none := 0
		w.engine.inject(&mishap{match: ofKind(kindAppend), views: &none})
		broken := w.engine.inject(&mishap{match: func(s *statement) bool { return s.kind == kindReconcile && s.table == "usage_day" }, code: 241, times: 12})
		doubted := time.Now()
		for _, e := range w.eventsIn(0, "doubted", 5) { // one block, of several moments
			w.produce(e)
			pass(700 * time.Millisecond)
		}
		w.until("the reconcile has failed for a while", func() bool { return w.engine.strikes(broken) == 12 })
		w.engine.mu.Lock()
		said := 0
		for _, row := range w.engine.progress {
			if row.updatedAt.After(doubted.Add(time.Second)) {
				said++
				if row.countedThrough.After(doubted) {
					t.Errorf("counted through %s was published at %s, in the middle of the doubt", row.countedThrough, row.updatedAt)
				}
			}
		}
		w.engine.mu.Unlock()
		if said == 0 {
			t.Error("nothing was published in the middle of the doubt: this test has shown nothing")
		}
		w.waitCounted()
		w.waitPublished()
	})
}

func TestDrainThatTakesTooLongIsAbandonedAndTheNextOwnerWaitsForTheInsert(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		w.produce(testEvents(5)...)
		w.waitCounted()
		slow := w.engine.inject(&mishap{match: ofKindBy(kindAppend, "a"), runs: 3 * time.Minute})
		w.produce(w.eventsIn(0, "slow", 5)...)
		w.reached(slow)
		if took, limit := a.stop(), DefaultConfig().DrainTimeout; took < limit || took > limit+2*time.Second {
			t.Errorf("stopping took %s, want little more than %s", took, limit)
		}
		b := w.start("b", fast)
		w.produce(w.eventsIn(0, "after", 5)...)
		w.waitCounted()
		first := w.engine.statements(appended("b", 0))
		abandoned := w.engine.statements(appended("a", 0))
		last := abandoned[len(abandoned)-1]
		if last.result != "applied" || !last.clientLeft {
			t.Errorf("the abandoned insert: %+v", last)
		}
		if len(first) == 0 || first[0].began.Before(last.ended) || first[0].lo != last.hi {
			t.Errorf("the next owner began at %d, before the abandoned insert had ended", first[0].lo)
		}
		if got := b.counter("reconciles_total"); got < 1 {
			t.Error("the abandoned block was not reconciled")
		}
	})
}

func TestStoppingWithinTheDrainFinishesTheBlock(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		slow := w.engine.inject(&mishap{match: ofKind(kindAppend), runs: 5 * time.Second})
		w.produce(testEvents(5)...)
		w.reached(slow)
		a.stop()
		if sent := w.engine.statements(ofKind(kindAppend)); len(sent) != 1 || sent[0].clientLeft || a.counter("rows_total") != 5 {
			t.Errorf("the block under way was not confirmed: %v rows", a.counter("rows_total"))
		}
	})
}

// What was prepared while that block was appended is left to whoever is next: a
// stop takes no longer than the block under way.
func TestStoppingDoesNotAppendWhatWasPreparedBehind(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		a := w.start("a", fast, lookedUpAll)
		slow := w.engine.inject(&mishap{match: ofKind(kindAppend), times: 2, runs: 5 * time.Second})
		w.produce(w.eventsIn(0, "under way", 5)...)
		w.reached(slow)
		w.produce(w.eventsIn(0, "behind", 5)...)
		w.until("the block behind is prepared", func() bool { return len(w.engine.statements(ofKind(kindFindIDs))) == 2 })
		if took := a.stop(); took > 6*time.Second {
			t.Errorf("stopping took %s, and the block under way less than 5s", took)
		}
		if sent := w.engine.statements(ofKind(kindAppend)); len(sent) != 1 || sent[0].clientLeft {
			t.Errorf("%d blocks were appended, want the one under way", len(sent))
		}
		w.start("b", fast)
		w.waitCounted()
	})
}

// Two groups are two owners of everything.
func TestTwoOwnersWhoBothBelieveInThemselvesCountOnce(t *testing.T) {
	owners := func(t *testing.T, test func(t *testing.T, w *wire, a *member)) {
		onWire(t, 1, func(t *testing.T, w *wire) {
			a := w.start("a", fast, func(c *Config) { c.Group = "one" })
			b := w.start("b", fast, func(c *Config) { c.Group = "two" })
			w.produce(testEvents(5)...)
			w.waitCounted()
			w.until("both know", func() bool {
				for _, m := range []*member{a, b} {
					if p := m.ownedPartitions()[0]; p == nil || p.state().position != 5 {
						return false
					}
				}
				return true
			})
			test(t, w, a)
			w.produce(w.eventsIn(0, "last", 5)...)
			w.waitCounted()
			w.waitPublished()
		})
	}
	t.Run("the other has appended the very block", func(t *testing.T) {
		owners(t, func(t *testing.T, w *wire, a *member) {
			before, repaired := a.counter("rows_total"), a.counter("reconciles_total")
			w.engine.inject(&mishap{match: ofKindBy(kindAppend, "a"), travels: 20 * time.Second})
			w.produce(w.eventsIn(0, "both", 1)...)
			w.until("a has confirmed it, too", func() bool { return a.counter("rows_total") == before+1 })
			sent := w.engine.statements(appended("a", 0))
			if last := sent[len(sent)-1]; last.lo != 5 || last.result != "refused" {
				t.Errorf("a was not refused: %+v", last)
			}
			if a.counter("reconciles_total") != repaired+1 {
				t.Error("a has not reconciled the block that it found")
			}
		})
	})
	t.Run("the other is ahead", func(t *testing.T) {
		owners(t, func(_ *testing.T, w *wire, a *member) {
			stale := a.counter("stale_total")
			w.engine.inject(&mishap{match: ofKindBy(kindAppend, "a"), travels: 20 * time.Second})
			for i := range 3 {
				w.produce(w.eventsIn(0, fmt.Sprintf("both-%d", i), 3)...)
				w.waitCounted()
			}
			w.until("a has found out", func() bool { return a.counter("stale_total") > stale })
		})
	})
}

// A process that is stopped in the middle of anything, and goes on minutes
// later, changes nothing.
func TestZombieThatWakesUpChangesNothing(t *testing.T) {
	severalMembers(t)
	seed := randomSeed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	for round := range 12 {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			onWire(t, 2, func(_ *testing.T, w *wire) {
				a := w.start("a", fast)
				jitter := func(s *statement) bool { return s.mutex != "" }
				for range 200 {
					w.engine.inject(&mishap{match: jitter, runs: time.Duration(random.IntN(400)) * time.Millisecond})
				}
				send := func(label string, n int) {
					for i := range n {
						w.produce(w.eventsIn(int32(i%2), fmt.Sprintf("%s-%d", label, i), 1+random.IntN(4))...)
						pass(time.Duration(random.IntN(300)) * time.Millisecond)
					}
				}
				send("before", 4)
				a.gate.close()
				b := w.start("b", fast)
				send("while", 10)
				w.until("the other owns everything", func() bool { return owns(b, 0) && owns(b, 1) })
				w.waitCounted()
				pass(time.Duration(random.IntN(180)) * time.Second)
				send("before waking", 2)
				a.gate.open()
				send("awake", 10)
				w.waitCounted()
				w.waitPublished()
			})
		})
	}
}

func TestEngineThatGoesAwayInTheMiddleLosesAndDoublesNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		at   func(*statement) bool
		runs bool // or it has had its effect already
	}{
		{"before the block's effect", ofKind(kindAppend), true},
		{"after the block's effect", ofKind(kindAppend), false},
		{"in a look-up of ids", ofKind(kindFindIDs), true},
		{"while the end is read", ofKind(kindEnd), true},
		{"while progress is published", ofKind(kindProgress), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				a := w.start("a", fast, func(c *Config) { c.HotIDs = 0 }) // every id is looked up
				w.produce(testEvents(5)...)
				w.waitCounted()
				if test.name == "while the end is read" { // which is done after a doubt
					w.engine.inject(&mishap{match: ofKind(kindAppend), drop: true})
				}
				f := &mishap{match: test.at}
				if test.runs {
					f.runs = time.Second
				} else {
					f.lingers = time.Second
				}
				f = w.engine.inject(f)
				w.produce(w.eventsIn(0, "away", 5)...)
				w.reached(f)
				pass(500 * time.Millisecond)
				w.engine.goAway()
				pass(20 * time.Second)
				w.engine.comeBack()
				w.produce(w.eventsIn(0, "back", 5)...)
				w.waitCounted()
				w.waitPublished()
				if a.counter("halted") != 0 {
					t.Error("an engine that was away has halted the partition")
				}
			})
		})
	}
}

// What is waiting is known from Kafka and from what was counted, and needed most
// while the engine cannot be told.
func TestLagIsToldWhileTheEngineIsAway(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		w.produce(testEvents(3)...)
		w.waitCounted()
		w.waitPublished()
		w.engine.goAway()
		w.produce(w.eventsIn(0, "away", 7)...)
		pass(time.Minute)
		if got := a.counter("lag_records"); got != 7 {
			t.Errorf("the lag is %v records, want the 7 that wait", got)
		}
		w.engine.comeBack()
		w.waitCounted()
		w.waitPublished()
		pass(time.Second)
		if got := a.counter("lag_records"); got != 0 {
			t.Errorf("the lag is %v records, and nothing waits", got)
		}
		if got, want := a.counter("topic_retention_seconds"), kafka.DefaultPlan().EventRetention.Seconds(); float64(got) != want {
			t.Errorf("Kafka keeps events for %v seconds, want %v", got, want)
		}
	})
}

func TestRetriesSlowDownAndStartOverAfterABlock(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		w.start("a", fast)
		outage := func(label string) []time.Duration {
			w.engine.goAway()
			began := time.Now()
			w.produce(w.eventsIn(0, label, 3)...)
			pass(time.Minute)
			w.engine.comeBack()
			w.waitCounted()
			var waits []time.Duration
			tries := w.engine.statements(func(s *statement) bool {
				// Whatever a try begins with.
				return s.stream != "" && s.kind != kindAppend && s.kind != kindLoadIDs && s.result == "down" && s.arrived.After(began)
			})
			for i := 1; i < len(tries); i++ {
				waits = append(waits, tries[i].arrived.Sub(tries[i-1].arrived))
			}
			return waits
		}
		w.produce(testEvents(3)...)
		w.waitCounted()
		for _, label := range []string{"first", "second"} {
			waits := outage(label)
			if len(waits) < 8 || len(waits) > 25 {
				t.Fatalf("%s outage: %d tries in a minute: %v", label, len(waits), waits)
			}
			if waits[0] > 2*firstRetry {
				t.Errorf("%s outage: the first wait is %s, so the last outage's were not forgotten", label, waits[0])
			}
			for i, wait := range waits {
				if i > 0 && wait < waits[i-1] || wait > maxRetry {
					t.Errorf("%s outage: waits %v do not grow to %s", label, waits, maxRetry)
					break
				}
			}
			if last := waits[len(waits)-1]; last != maxRetry {
				t.Errorf("%s outage: the last wait is %s, want %s", label, last, maxRetry)
			}
		}
	})
}

func TestBlockNeverSpansTwoOfTheBrokersDays(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		// From three seconds before midnight to three seconds after.
		midnight := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		pass(time.Until(midnight.Add(-3 * time.Second)))
		w.start("a", func(c *Config) { c.BlockLinger = 10 * time.Second })
		for i, e := range testEvents(60) {
			if i%10 == 0 {
				pass(time.Second)
			}
			w.produce(e)
		}
		w.waitCounted()
		days := make(map[string]int)
		for _, s := range w.appends("applied") {
			days[s.params["day"]]++
			for _, row := range w.engine.ledger(w.stream, 0) {
				if row.lo == s.lo && row.kafkaTime.Format(time.DateOnly) != s.params["day"] {
					t.Errorf("block [%d, %d) of %s has a row of %s", s.lo, s.hi, s.params["day"], row.kafkaTime)
				}
			}
		}
		if len(days) != 2 {
			t.Errorf("blocks of %d days, want two: %v", len(days), days)
		}
	})
}

// damagedLedger runs a rollup to an exact ledger of two blocks, stops it, and
// lets the test do harm.
func damagedLedger(w *wire, harm func()) {
	a := w.start("a", fast)
	w.produce(testEvents(6)...)
	w.waitCounted()
	w.produce(w.eventsIn(0, "more", 6)...)
	w.waitCounted()
	a.stop()
	harm()
	w.damaged = true
	w.start("b", fast)
}

func TestPartialBlockHaltsItsPartition(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(rows []fakeRow) []fakeRow
		says string
	}{
		{"a row is missing", func(rows []fakeRow) []fakeRow { return slices.Delete(rows, 9, 10) }, "5 rows with 5 distinct"},
		{"a row is there twice", func(rows []fakeRow) []fakeRow { return append(rows, rows[9]) }, "7 rows with 6 distinct"},
		{"the last row is missing", func(rows []fakeRow) []fakeRow { return rows[:len(rows)-1] }, "5 rows with 5 distinct"},
		{"two blocks overlap", func(rows []fakeRow) []fakeRow {
			extra := rows[len(rows)-1]
			extra.lo++
			return append(rows, extra)
		}, "blocks overlap"},
	} {
		t.Run(test.name, func(t *testing.T) {
			onWire(t, 1, func(t *testing.T, w *wire) {
				damagedLedger(w, func() {
					key := ledgerKey{w.stream.String(), 0}
					w.engine.mu.Lock()
					defer w.engine.mu.Unlock()
					w.engine.ledgers[key] = test.harm(w.engine.ledgers[key])
				})
				w.until("the halt is published", func() bool { return strings.Contains(w.halted(0), "partial block at the ledger's end") })
				if !strings.Contains(w.halted(0), test.says) {
					t.Errorf("it says %q, want %q in it", w.halted(0), test.says)
				}
				standsStill(w, 0)
			})
		})
	}
}

// standsStill makes sure that nothing is written for a halted partition, and
// that its halt goes on being published.
func standsStill(w *wire, partition int32) {
	w.t.Helper()
	writes := func() int {
		return len(w.engine.statements(func(s *statement) bool { return s.partition == partition && s.kind == kindAppend }))
	}
	before, now := writes(), time.Now()
	w.produce(w.eventsIn(partition, "too late", 3)...)
	pass(5 * time.Minute)
	if n := writes() - before; n != 0 {
		w.t.Errorf("%d blocks were sent for a partition that has halted", n)
	}
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	said := 0
	for _, row := range w.engine.progress {
		if row.partition != partition || !row.updatedAt.After(now) {
			continue
		}
		said++
		if row.halted == "" {
			w.t.Errorf("at %s the halted partition was published as running", row.updatedAt)
		}
		if row.countedThrough.After(now) {
			w.t.Errorf("the halted partition is said to be counted through %s, after it halted", row.countedThrough)
		}
	}
	if said == 0 {
		w.t.Error("the halt is not published any more")
	}
}

func TestLogThatBeginsAboveTheLedgersEndHalts(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		w.produce(testEvents(6)...)
		w.waitCounted()
		a.stop()
		w.produce(w.eventsIn(0, "gone", 10)...)
		deleteBefore(w, 0, 12)
		w.damaged = true
		w.start("b", fast)
		w.until("the halt is published", func() bool { return w.halted(0) != "" })
		want := "Kafka's log begins at offset 12, above the ledger's end 6: 6 records were deleted before they were counted"
		if got := w.halted(0); !strings.HasPrefix(got, want) {
			t.Errorf("it says %q, want %q and what to do", got, want)
		}
		standsStill(w, 0)
	})
}

func TestLogThatIsTruncatedUnderARunningRollupHalts(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		w.start("a", fast)
		w.produce(testEvents(6)...)
		w.waitCounted()
		// The engine is away for so long that retention overtakes the rollup.
		w.engine.goAway()
		for i := range 5 {
			w.produce(w.eventsIn(0, fmt.Sprintf("gone-%d", i), 10)...)
		}
		pass(time.Minute)
		deleteBefore(w, 0, 40)
		w.damaged = true
		w.engine.comeBack()
		w.until("it halts", func() bool { return strings.Contains(w.halted(0), "Kafka's log begins at offset 40") })
		rows := w.engine.ledger(w.stream, 0)
		if len(rows) != 6 {
			t.Errorf("the ledger has %d rows, want the 6 from before: what was deleted is no gap", len(rows))
		}
	})
}

func deleteBefore(w *wire, partition int32, offset int64) {
	w.t.Helper()
	var request kmsg.DeleteRecordsRequest
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = kafka.TopicEvents
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	topic.Partitions = append(topic.Partitions, p)
	request.Topics = append(request.Topics, topic)
	request.TimeoutMillis = 1000
	answer, err := request.RequestWith(w.t.Context(), w.producer)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode); err != nil {
		w.t.Fatal(err)
	}
}

func TestLogThatEndsBelowTheLedgersEndHalts(t *testing.T) {
	onWire(t, 1, func(t *testing.T, w *wire) {
		damagedLedger(w, func() {
			// The ledger knows of a block that the log has lost.
			key := ledgerKey{w.stream.String(), 0}
			w.engine.mu.Lock()
			defer w.engine.mu.Unlock()
			lost := w.engine.ledgers[key][11]
			lost.offset, lost.lo, lost.hi, lost.outcome = 12, 12, 13, schemas.OutcomeGap
			w.engine.ledgers[key] = append(w.engine.ledgers[key], lost)
		})
		w.until("the halt is published", func() bool { return w.halted(0) != "" })
		want := "Kafka's log ends at offset 12, below the ledger's end 13: records were lost, and new ones would take counted offsets"
		if got := w.halted(0); !strings.HasPrefix(got, want) {
			t.Errorf("it says %q, want %q and what to do", got, want)
		}
		w.engine.mu.Lock()
		for _, row := range w.engine.progress {
			if row.by == "b" && row.halted == "" {
				t.Errorf("published as running: %+v", row)
			}
		}
		w.engine.mu.Unlock()
	})
}

// What halted a partition may be mended while the rollup runs.
func TestHaltedPartitionGoesOnWhenItsCauseIsGone(t *testing.T) {
	onWire(t, 1, func(_ *testing.T, w *wire) {
		key := ledgerKey{w.stream.String(), 0}
		var whole []fakeRow
		damagedLedger(w, func() {
			w.engine.mu.Lock()
			defer w.engine.mu.Unlock()
			whole = slices.Clone(w.engine.ledgers[key])
			w.engine.ledgers[key] = whole[:len(whole)-1]
		})
		w.until("it halts", func() bool { return w.halted(0) != "" })
		w.produce(w.eventsIn(0, "meanwhile", 4)...)
		pass(time.Minute)
		w.engine.mu.Lock()
		w.engine.ledgers[key] = whole // from its backup
		w.engine.mu.Unlock()
		w.damaged = false
		w.waitCounted()
		w.waitPublished()
		w.until("it is not said to stand still any more", func() bool { return w.halted(0) == "" })
	})
}

func TestRecreatedTopicHaltsEveryPartition(t *testing.T) {
	onWire(t, 2, func(t *testing.T, w *wire) {
		a := w.start("a", fast)
		w.produce(testEvents(10)...)
		w.waitCounted()
		counted := [2]int{len(w.engine.ledger(w.stream, 0)), len(w.engine.ledger(w.stream, 1))}
		if _, err := w.admin.DeleteTopic(t.Context(), kafka.TopicEvents); err != nil {
			t.Fatal(err)
		}
		plan := kafka.DefaultPlan()
		plan.EventPartitions = 2
		if _, err := kafka.EnsureTopics(t.Context(), w.admin, plan); err != nil {
			t.Fatal(err)
		}
		live, err := kafka.DescribeStream(t.Context(), w.admin, kafka.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		producer := w.newProducer() // the other one still knows the old topic
		for i := range int32(40) {
			if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: kafka.TopicEvents, Partition: i % 2, Value: []byte("of another stream")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		w.until("both have halted", func() bool { return w.halted(0) != "" && w.halted(1) != "" })
		for partition := range int32(2) {
			if got := w.halted(partition); !strings.Contains(got, live.ID.String()) || !strings.Contains(got, w.stream.String()) {
				t.Errorf("partition %d says %q, want both streams named", partition, got)
			}
			if got := len(w.engine.ledger(w.stream, partition)); got != counted[partition] {
				t.Errorf("partition %d: %d rows, want the %d of the old topic alone", partition, got, counted[partition])
			}
		}
		a.stop()
		b := w.start("b", fast)
		select {
		case err := <-b.done:
			close(b.done)
			if err == nil || !strings.Contains(err.Error(), ErrForeignTopic.Error()) {
				t.Errorf("a rollup starts on another topic: %v", err)
			}
		case <-time.After(patience):
			t.Error("a rollup starts on another topic")
		}
	})
}

// Everything at once, in seeded order: consumers come and go, statements are
// slow, fail, lose their answers, throw in a view; the engine goes away.
func TestWhateverHappensEachEventIsCountedOnce(t *testing.T) {
	severalMembers(t)
	seed := randomSeed(t)
	for round := range rounds(8, 400) {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, uint64(round)))
			onWire(t, 3, func(_ *testing.T, w *wire) { storm(w, random) })
		})
	}
}

func storm(w *wire, random *rand.Rand) {
	ids := func(c *Config) { c.HotIDs = []int{0, 50, 1_000_000}[random.IntN(3)] }
	w.start("a", fast, ids)
	others := []*member{w.start("b", fast, ids)}
	anything := func(s *statement) bool {
		return s.mutex != "" || s.kind == kindFindIDs || s.kind == kindFindPayloads || s.kind == kindProgress
	}
	counting := func(s *statement) bool { return s.mutex != "" }
	sent := []schemas.Event{testEvent(0)}
	for step := range 60 {
		switch random.IntN(12) {
		case 0:
			w.engine.inject(&mishap{match: counting, runs: time.Duration(random.IntN(100)) * time.Second})
		case 1:
			w.engine.inject(&mishap{match: anything, travels: time.Duration(random.IntN(100)) * time.Second})
		case 2:
			w.engine.inject(&mishap{match: anything, drop: true, times: 1 + random.IntN(3)})
		case 3:
			w.engine.inject(&mishap{match: anything, code: 241, times: 1 + random.IntN(3)})
		case 4:
			views := random.IntN(len(viewNames()))
			w.engine.inject(&mishap{match: ofKind(kindAppend), views: &views, runs: time.Duration(random.IntN(3)) * time.Second})
		case 5:
			w.engine.goAway()
			pass(time.Duration(random.IntN(15)) * time.Second)
			w.engine.comeBack()
		case 6:
			if len(others) > 0 && random.IntN(2) == 0 {
				others[0].stop()
				others = others[1:]
			} else if len(others) < 3 {
				var alone func(*Config)
				if alone = func(*Config) {}; random.IntN(3) == 0 {
					alone = func(c *Config) { c.Group = fmt.Sprintf("alone-%d", step) }
				}
				others = append(others, w.start(fmt.Sprintf("c%d", step), fast, ids, alone))
			}
		case 7:
			if len(others) > 0 {
				others[0].gate.close()
				pass(time.Duration(random.IntN(30)) * time.Second)
				others[0].gate.open()
			}
		default:
			var batch []schemas.Event
			for range 1 + random.IntN(6) {
				e := testEvent(random.IntN(10_000))
				e.ID = fmt.Sprintf("e%d", random.IntN(200)) // some come again, some with another payload
				batch = append(batch, e)
			}
			if random.IntN(3) == 0 {
				batch = append(batch, sent[random.IntN(len(sent))])
			}
			sent = append(sent, batch...)
			w.produce(batch...)
		}
		pass(time.Duration(random.IntN(1500)) * time.Millisecond)
	}
	w.waitCounted()
	w.waitPublished()
}
