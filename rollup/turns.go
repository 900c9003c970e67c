package rollup

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// turns are how many blocks of a backlog, those larger than a small one, a process
// makes and appends at once: as many as keep all cores busy. Its other
// partitions wait, each with a small block's records, so that memory does not
// grow with the partitions, and blocks can be large, which cost ClickHouse less.
// Nil: there is no bound.
type turns chan struct{}

const (
	// smallShare of the largest block's records is what a block may have without a
	// turn.
	smallShare = 5
	// longestTurn is when a turn ends at the latest, so that a server that does not
	// answer does not stop the partitions of others.
	longestTurn = 10 * time.Second
)

func newTurns() turns { return make(turns, runtime.GOMAXPROCS(0)+1) }

// take waits for a turn, for the longest time that one takes.
func (t turns) take(ctx context.Context) (end func(), ok bool) {
	if t == nil {
		return func() {}, true
	}
	patience := time.NewTimer(longestTurn)
	defer patience.Stop()
	select {
	case t <- struct{}{}:
	case <-patience.C:
		return nil, false
	case <-ctx.Done():
		return nil, false
	}
	leave := sync.OnceFunc(func() { <-t })
	late := time.AfterFunc(longestTurn, leave)
	return func() {
		late.Stop()
		leave()
	}, true
}
