package crash

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"agentmeter/internal/fault"
)

// The harness has to be able to fail. Each schedule below is aimed at one
// weakness; the real protocol passes it, and the weakened one is caught.

// lighter is a verdict on the stored figures alone.
func (l *lab) lighter() *Verdict {
	l.t.Helper()
	var halted haltedError
	if err := l.judge.waitCounted(l.t.Context()); errors.As(err, &halted) {
		l.t.Logf("halted: %v", halted)
		return &Verdict{AuditFindings: 1}
	} else if err != nil {
		l.t.Fatal(err)
	}
	v, err := l.judge.figures(l.t.Context())
	l.must(err)
	return v
}

// caught runs a schedule against a weakened protocol until the verdict is that
// it is wrong, and against the real one, which has to stay right throughout.
// The schedule reports what each of its rounds came to.
func caught(t *testing.T, variant string, rounds int, o labOptions, round func(l *lab, n int)) {
	t.Helper()
	requireAsked(t)
	t.Parallel()
	t.Run("the real protocol passes", func(t *testing.T) {
		l := ownLab(t, o)
		for n := range rounds {
			round(l, n)
			if v := l.lighter(); !v.Right() {
				for _, note := range v.Notes {
					t.Log(note)
				}
				t.Fatalf("round %d: %s", n, v)
			}
		}
		l.settled()
	})
	t.Run(variant+" is caught", func(t *testing.T) {
		o.variant = variant
		l := ownLab(t, o)
		for n := range 3 * rounds {
			round(l, n)
			if v := l.lighter(); !v.Right() {
				t.Logf("caught in round %d: %s", n, v)
				return
			}
		}
		t.Errorf("%d rounds, and nobody noticed", 3*rounds)
	})
}

func TestStoredOffsetIsCaught(t *testing.T) {
	o := labOptions{rollups: 1, partitions: 1, blockRows: 200, linger: 50 * time.Millisecond}
	caught(t, fault.StoredOffset, 2, o, func(l *lab, _ int) {
		// The block is in, and the rollup dies before it stores how far it came.
		life := l.restart(l.rollups[0], at(fault.AppendAnswered, fault.ActionKill, 1, 0))
		l.send(100)
		l.struck(life)
		<-life.ended
		l.restart(l.rollups[0])
	})
}

// engineAndRollupDie kills both while a block is being inserted, at one
// fraction of its time after another, so that some views have it and some do
// not.
func engineAndRollupDie() func(l *lab, n int) {
	var took time.Duration
	return func(l *lab, n int) {
		const rows = 2000
		if n == 0 { // how long an insert takes here
			for range 3 {
				came := l.proxies[0].order(onlyWatch, 0)
				l.send(rows)
				l.until("a block", came)
				began := time.Now()
				l.counted()
				took = l.proxies[0].lastTook()
				l.t.Logf("an insert took %s (%s until it was confirmed)", took, time.Since(began))
			}
		}
		came := l.proxies[0].order(onlyWatch, 0)
		l.send(rows)
		l.until("a block", came)
		l.pause(took * time.Duration(30+(n*17)%80) / 100)
		l.engine.kill()
		l.rollups[0].kill()
		l.restart(l.engine)
		l.must(l.waitEngine(l.t.Context()))
		l.restart(l.rollups[0])
	}
}

func TestNoReconcileIsCaught(t *testing.T) {
	o := labOptions{rollups: 1, partitions: 1, blockRows: 2000, linger: 300 * time.Millisecond}
	caught(t, fault.NoReconcile, 8, o, engineAndRollupDie())
}

func TestTrustedTokensAreCaught(t *testing.T) {
	o := labOptions{rollups: 1, partitions: 1, blockRows: 2000, linger: 300 * time.Millisecond}
	caught(t, fault.TrustedTokens, 8, o, engineAndRollupDie())
}

func TestNoMutexIsCaught(t *testing.T) {
	// The rollup sends a block again 100 ms after its connection broke, and the
	// first try must still be running then. A constraint that sleeps holds every
	// insert between its condition and its first row.
	const rows = 2000
	o := labOptions{rollups: 1, partitions: 1, blockRows: rows, linger: 300 * time.Millisecond, limit: 20 * time.Second}
	caught(t, fault.NoMutex, 2, o, func(l *lab, n int) {
		if n == 0 {
			l.rows("ALTER TABLE usage_ledger ADD CONSTRAINT held CHECK sleep(1) = 0")
		}
		done := l.proxies[0].order(faultHangUp, time.Duration(200+100*n)*time.Millisecond)
		l.send(rows)
		l.until("the connection to break", done)
	})
}

func TestClientReconcileIsCaught(t *testing.T) {
	o := labOptions{rollups: 2, partitions: 1, blockRows: 2000, linger: 400 * time.Millisecond, sleeping: true}
	caught(t, fault.ClientReconcile, 2, o, func(l *lab, n int) {
		l.restart(l.rollups[0])
		// A day that every rollup still keeps, of each round its own.
		day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -10-n).Add(12 * time.Hour)
		entries := make([]*entry, 500)
		for i := range entries {
			e := l.producer.gen.event()
			e.OccurredAt, e.Channel = day, "api"
			entries[i] = l.book.add(e, false)
		}
		l.sendAgain(entries...)
		l.counted()
		l.rollups[0].kill()
		// As if the engine had been killed before this view had the block.
		l.rows("ALTER TABLE usage_day DELETE WHERE toDate(time) = '" + day.Format(time.DateOnly) + "' SETTINGS mutations_sync = 2")
		counted := "SELECT sum(events) FROM usage_day WHERE toDate(time) = '" + day.Format(time.DateOnly) + "'"
		l.must(l.wantRows(l.t.Context(), counted, "0"))
		// The first rollup has read what is missing, and stands still: of this view
		// alone, since the others lack nothing.
		first := l.restart(l.rollups[0], at(fault.ReconcileBefore, fault.ActionStop, 1, 0))
		l.struck(first)
		l.must(l.wantRows(l.t.Context(), counted, "0"))
		// Another one, of another group, takes over and repairs. In the same
		// group the first might be told in time.
		l.rollups[1].next = []string{"AGENTMETER_ROLLUP_GROUP=another"}
		l.restart(l.rollups[1])
		l.must(poll(l.t.Context(), "the repair", patience, func(ctx context.Context) error {
			return l.wantRows(ctx, counted, "500")
		}))
		// The first one goes on with what it knew.
		l.rollups[0].signal(syscall.SIGCONT)
		l.pause(2 * time.Second)
		l.rollups[0].kill()
		l.rollups[1].kill()
		l.restart(l.rollups[0])
	})
}
