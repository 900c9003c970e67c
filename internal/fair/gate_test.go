package fair

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"agentmeter/internal/pause"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fill takes one at a time for a party until it is refused.
func fill(t *testing.T, g *Gate, party string) (taken int) {
	t.Helper()
	for {
		err := g.Take(party, 1)
		if err != nil {
			return taken
		}
		taken++
	}
}

func TestOneAloneGetsHalfAndTwoAThirdEach(t *testing.T) {
	g := New(Config{Capacity: 90})
	if got := fill(t, g, "a"); got != 45 {
		t.Errorf("one alone holds %d of 90, want half", got)
	}
	if err := g.Take("a", 1); !errors.Is(err, ErrShare) {
		t.Errorf("more for the one: %v", err)
	}
	g.Give("a", 15)
	if got := fill(t, g, "b"); got != 30 {
		t.Errorf("the second holds %d of 90, want a third", got)
	}
	if got := fill(t, g, "a"); got != 0 {
		t.Errorf("the first has %d more than a third", got)
	}
}

func TestWhoComesAnewFindsRoomHoweverMuchOneWants(t *testing.T) {
	g := New(Config{Capacity: 64})
	fill(t, g, "flood")
	for i := range 20 {
		if err := g.Take(fmt.Sprint("quiet ", i), 1); err != nil {
			t.Fatalf("the %dth that comes anew: %v", i+1, err)
		}
	}
}

func TestWhatNobodyCouldHoldIsRefusedAsFull(t *testing.T) {
	g := New(Config{Capacity: 10})
	if err := g.Take("a", 11); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if len(g.parties) != 0 {
		t.Error("one that holds nothing is remembered")
	}
}

// enter enters in the background; the channel says what came of it.
func enter(t *testing.T, g *Gate, party string, amount int64) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		leave, err := g.Enter(t.Context(), party, amount)
		done <- err
		if err == nil {
			t.Cleanup(leave)
		}
	}()
	synctest.Wait()
	return done
}

func in(done <-chan error) bool {
	select {
	case err := <-done:
		return err == nil
	default:
		return false
	}
}

func TestWhoHoldsLeastIsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{Capacity: 4, MaxWaiting: 10, MaxWait: time.Minute})
		for _, party := range []string{"a", "a", "b", "c"} {
			g.take(g.partyOf(party), 1)
		}
		first, second, anew := enter(t, g, "a", 1), enter(t, g, "b", 1), enter(t, g, "d", 1)
		g.Give("a", 1)
		if synctest.Wait(); !in(anew) {
			t.Error("one that holds nothing is not next, since others came before")
		}
		g.Give("c", 1)
		if synctest.Wait(); in(first) || in(second) {
			t.Error("of one that is free somebody holds two")
		}
		g.Give("a", 1)
		if synctest.Wait(); !in(first) {
			t.Error("one that holds nothing any more is not next")
		}
		g.Give("b", 1)
		synctest.Wait()
		if !in(second) {
			t.Error("the last one does not come in")
		}
	})
}

func TestTheFloodIsPushedOutBySomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{Capacity: 2, MaxWaiting: 3, MaxWait: time.Minute})
		g.take(g.partyOf("x"), 2)
		var floods []<-chan error
		for range 3 {
			floods = append(floods, enter(t, g, "flood", 1))
		}
		if err := <-enter(t, g, "flood", 1); err == nil {
			t.Fatal("a fourth waits where three may")
		}
		quiet := enter(t, g, "quiet", 1)
		if err := <-floods[2]; !errors.Is(err, ErrShare) {
			t.Errorf("the newest of the flood: %v", err)
		}
		g.Give("x", 1)
		synctest.Wait()
		if !in(floods[0]) {
			t.Error("the first of the flood was first, and is not in")
		}
		g.Give("x", 1)
		if synctest.Wait(); !in(quiet) {
			t.Error("who holds nothing is not next")
		}
	})
}

func TestALargeOneIsNotOvertakenForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{Capacity: 8, MaxWaiting: 10, MaxWait: time.Minute})
		for i := range 5 {
			g.take(g.partyOf(fmt.Sprint(i)), 1)
		}
		large := enter(t, g, "large", 100) // cut to half of all
		small := enter(t, g, "small", 1)   // would fit
		if in(small) {
			t.Fatal("it was overtaken")
		}
		g.Give("0", 1)
		synctest.Wait()
		if !in(large) {
			t.Error("half is free, and it is not in")
		}
		g.Give("1", 1)
		if synctest.Wait(); !in(small) {
			t.Error("the small one is not in")
		}
	})
}

func TestWaitingEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waiting int64
		g := New(Config{Capacity: 1, MaxWaiting: 10, MaxWait: time.Second, Waiting: func(n int64) { waiting = n }})
		g.take(g.partyOf("x"), 1)
		began := time.Now()
		if _, err := g.Enter(t.Context(), "a", 1); !errors.Is(err, ErrFull) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if _, err := g.Enter(ctx, "a", 1); !errors.Is(err, gone) {
			t.Errorf("one that went away: %v", err)
		}
		g.Give("x", 1)
		if waiting != 0 || g.waiting != 0 || len(g.parties) != 0 {
			t.Errorf("%d wait, %d parties are remembered", g.waiting, len(g.parties))
		}
	})
}

func TestNothingIsLostOrHeldTwiceWhateverHappens(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{Capacity: 50, MaxWaiting: 20, MaxWait: 30 * time.Millisecond, Used: func(n int64) {
			if n < 0 || n > 50 {
				t.Errorf("%d of 50 are held", n)
			}
		}})
		var all sync.WaitGroup
		outcomes := make([][3]int, 8)
		for i := range outcomes {
			all.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				party := strings.Repeat("p", 1+i/2)
				for range 300 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(60))*time.Millisecond)
					leave, err := g.Enter(ctx, party, 1+random.Int64N(40))
					switch {
					case err == nil:
						pause.For(t.Context(), time.Duration(random.IntN(10))*time.Millisecond)
						leave()
						outcomes[i][0]++
					case errors.Is(err, ErrFull), errors.Is(err, ErrShare):
						outcomes[i][1]++
					default:
						outcomes[i][2]++
					}
					cancel()
				}
			})
		}
		all.Wait()
		if g.used != 0 || g.waiting != 0 || len(g.parties) != 0 {
			t.Errorf("in the end %d are held, %d wait, %d parties are remembered", g.used, g.waiting, len(g.parties))
		}
		for i, outcome := range outcomes {
			if outcome[0] == 0 {
				t.Errorf("party %d never came in: %v", i, outcome)
			}
		}
	})
}
