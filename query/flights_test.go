package query

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoAsksTheSameAtTheSameTimeIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flights
		calls := map[string]int{}
		ask := func(key string) (string, error) {
			return askOnce(t.Context(), &f, key, func(context.Context) (string, error) {
				calls[key]++ // one at a time for a key, and other keys are asked later
				<-time.After(time.Second)
				return "of " + key, nil
			})
		}
		answers := make(chan string)
		for range 5 {
			go func() {
				answer, err := ask("a")
				if err != nil {
					t.Error(err)
				}
				answers <- answer
			}()
		}
		for range 5 {
			if got := <-answers; got != "of a" {
				t.Errorf("answered %q", got)
			}
		}
		if _, err := ask("b"); err != nil {
			t.Error(err)
		}
		if _, err := ask("a"); err != nil { // nothing is kept
			t.Error(err)
		}
		if calls["a"] != 2 || calls["b"] != 1 {
			t.Errorf("asked %v times, want a twice and b once", calls)
		}
	})
}

func TestWhatNobodyWaitsForAnyMoreEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var ended []error
		read := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			ended = append(ended, context.Cause(ctx))
			return 0, context.Cause(ctx)
		}
		gone := errors.New("the reader has gone")
		first, leave := context.WithCancelCause(t.Context())
		second, leaveToo := context.WithCancelCause(t.Context())
		results := make(chan error, 2)
		for _, ctx := range []context.Context{first, second} {
			go func() {
				_, err := askOnce(ctx, &f, "key", read)
				results <- err
			}()
			synctest.Wait()
		}
		leave(gone)
		if err := <-results; !errors.Is(err, gone) {
			t.Errorf("who leaves is told %v", err)
		}
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatal("it ended although somebody waits for it")
		}
		leaveToo(gone)
		if err := <-results; !errors.Is(err, gone) {
			t.Errorf("the last is told %v", err)
		}
		synctest.Wait()
		if len(ended) != 1 || !errors.Is(ended[0], context.Canceled) {
			t.Errorf("it ended with %v, want cancelled", ended)
		}
		if len(f.byKey) != 0 {
			t.Error("it is still under way for whoever comes")
		}
	})
}

// Nothing runs for ever, each who waits is told when the own time has passed, and
// who has more of it goes on waiting.
func TestFlightsEndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flights
		stuck := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		began := time.Now()
		if _, err := askOnce(t.Context(), &f, "key", stuck); !errors.Is(err, errTimeout) || time.Since(began) != longestFlight {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		slow := func(context.Context) (int, error) {
			<-time.After(10 * time.Second)
			return 7, nil
		}
		hasty, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errTimeout)
		defer cancel()
		first := make(chan error)
		go func() {
			_, err := askOnce(hasty, &f, "key", slow)
			first <- err
		}()
		synctest.Wait()
		patient := make(chan error)
		go func() {
			got, err := askOnce(t.Context(), &f, "key", slow)
			if got != 7 {
				t.Errorf("who waits is answered %d", got)
			}
			patient <- err
		}()
		if err := <-first; !errors.Is(err, errTimeout) {
			t.Errorf("whose time has passed is told %v", err)
		}
		if err := <-patient; err != nil {
			t.Errorf("who has more time is told %v", err)
		}
	})
}

// A mistake in what questions share costs those questions, and no other.
func TestAPanicIsTheErrorOfThoseWhoWait(t *testing.T) {
	var f flights
	_, err := askOnce(t.Context(), &f, "key", func(context.Context) (int, error) { panic("a mistake") })
	if err == nil || !strings.Contains(err.Error(), "a mistake") || !strings.Contains(err.Error(), "flights_test.go") {
		t.Errorf("who waits is told %v, and should be told what and where", err)
	}
	if got, err := askOnce(t.Context(), &f, "key", func(context.Context) (int, error) { return 7, nil }); got != 7 || err != nil {
		t.Errorf("who comes next is answered %d, %v", got, err)
	}
}
