package query

import (
	"context"
	"errors"
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
			return share(t.Context(), &f, key, func(context.Context) (string, error) {
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
				_, err := share(ctx, &f, "key", read)
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

// A question without a time limit of its own does not wait for ever, and one
// with a limit is told that it has passed.
func TestFlightsEndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flights
		stuck := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		began := time.Now()
		if _, err := share(t.Context(), &f, "key", stuck); !errors.Is(err, errTimeout) || time.Since(began) != longestFlight {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errTimeout)
		defer cancel()
		began = time.Now()
		if _, err := share(ctx, &f, "key", stuck); !errors.Is(err, errTimeout) || time.Since(began) != 3*time.Second {
			t.Errorf("with a limit, after %v: %v", time.Since(began), err)
		}
	})
}
