package query

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// flights lets questions that need the same answer of ClickHouse's at the same
// time ask for it once: when a page's figures have changed, all who look at it
// ask at once. What is asked ends when nobody waits for it any more.
//
// A question may join what was asked before it began, so a key has to say all
// that the answer must hold: the sums that it has to add up to, or how far the
// ledger was counted.
type flights struct {
	mu    sync.Mutex // guards byKey, and the waiters of each
	byKey map[any]*flight
}

// longestFlight bounds what questions share, whatever their own limit is.
const longestFlight = time.Minute

type flight struct {
	waiters int
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err are set
	value   any
	err     error
}

// caught is read with a panic made an error: it runs in no request's goroutine,
// where the router would make it a 500, and one question must not end them all.
func caught[T any](ctx context.Context, read func(context.Context) (T, error)) (value T, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
		}
	}()
	return read(ctx)
}

// askOnce returns what read returns, which is called once for all who ask for the
// key while it runs. Their copies are one: nobody may change it.
func askOnce[T any](ctx context.Context, f *flights, key any, read func(context.Context) (T, error)) (T, error) {
	f.mu.Lock()
	own := f.byKey[key]
	if own == nil {
		// It outlives the question that began it, and the time that this one has, as
		// long as another one waits.
		flying, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), longestFlight, errTimeout)
		own = &flight{done: make(chan struct{}), cancel: cancel}
		if f.byKey == nil {
			f.byKey = map[any]*flight{}
		}
		f.byKey[key] = own
		go func() {
			own.value, own.err = caught(flying, read)
			own.cancel()
			f.mu.Lock()
			if f.byKey[key] == own {
				delete(f.byKey, key)
			}
			f.mu.Unlock()
			close(own.done)
		}()
	}
	own.waiters++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if own.waiters--; own.waiters == 0 {
			own.cancel()
			if f.byKey[key] == own { // whoever comes now must not wait for it
				delete(f.byKey, key)
			}
		}
	}()
	var none T
	select {
	case <-own.done:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	if own.err != nil {
		return none, own.err
	}
	return own.value.(T), nil //nolint:forcetypeassert // a key has one type of answer
}
