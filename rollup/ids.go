package rollup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/bits"
	"sync"
	"time"

	"agentmeter/internal/fault"
	"agentmeter/internal/pause"
	"agentmeter/schemas"
)

// knownIDs answers, for one partition and one session, whether an event id has
// been recorded before, and with which payload. It is exact however old an id
// is: what memory cannot decide is looked up in ClickHouse, in one go for a
// block.
//
//   - Recently recorded ids are kept with their payloads, so that quick re-sends
//     need no look-up.
//   - A filter over all ids that were ever recorded proves that an id is new,
//     which nearly all are.
//   - The rest is looked up: re-sent ids, the filter's rare accidents, and every
//     id for as long as the filter is not complete.
//
// # Why the filter is right
//
// A session begins at the ledger's end e, with the last block reconciled, its
// ids included. So the look-up table holds every id recorded below e, and a
// reading of it that begins later sees them all. What is recorded from e on is
// recorded by this session, which adds it (remember) to every filter there is;
// had anybody else recorded something, this session's next block would be
// refused and the session end, its filter with it. A filter that has seen the
// whole table once and every block of the session since therefore holds every
// id that the ledger holds at the instant when it is asked. It is never asked
// before. (The block that is being appended while the next is prepared is known by
// itself; see lookUp.) When an event is said to have occurred plays no part: a copy
// may say something else.
//
// It holds ids by their keys, the first bits of their hashes: of another id with the
// same key it says "perhaps", as by its other accidents, and the look-up decides.
//
// Ids of other streams, the predecessors of this one, are in the filter too;
// they do not change any more. Ids of this stream's other partitions are not:
// copies of an id meet in one partition.
//
// An error while loading, or a table that never answers, only means that ids go
// on being looked up.
type knownIDs struct {
	find     findFunc
	source   idSource // what filters are loaded from; nil: there is no filter
	bound    int64
	loadTurn chan struct{} // held while loading, so that loads do not compete; may be nil
	log      *slog.Logger
	metrics  *idMetrics
	recent   recentIDs

	cancel  context.CancelCauseFunc
	loading sync.WaitGroup
	wake    chan struct{} // asks for a load

	mu     sync.Mutex // guards what follows
	filter *idFilter  // complete; nil until the first load has ended
	next   *idFilter  // being loaded; nil while none is
}

// findFunc returns the payload hashes of what was recorded, below offset lo of this
// partition, under each of the given ids; those that are new are absent.
type findFunc func(ctx context.Context, ids []schemas.IDHash, lo int64) (map[schemas.IDHash]uint64, error)

// idSource is where a filter is loaded from.
type idSource interface {
	// countIDs is about how many ids loadIDs will yield.
	countIDs(ctx context.Context) (int64, error)
	// loadIDs gives the key of every id that was recorded before the call to yield,
	// some perhaps twice.
	loadIDs(ctx context.Context, yield func([]schemas.IDKey)) error
}

// idOptions are the parts of knownIDs that tests do without.
type idOptions struct {
	bound    int           // ids up to which the filter grows; 0: no filter
	loadTurn chan struct{} // see knownIDs
	log      *slog.Logger
	metrics  *idMetrics
}

// newKnownIDs begins to answer, by looking up; close ends it.
func newKnownIDs(ctx context.Context, find findFunc, source idSource, options idOptions) *knownIDs {
	k := &knownIDs{
		find: find, source: source, bound: int64(options.bound), loadTurn: options.loadTurn,
		log: options.log, metrics: options.metrics, wake: make(chan struct{}, 1),
	}
	ctx, k.cancel = context.WithCancelCause(ctx)
	if k.bound > 0 && source != nil {
		k.wake <- struct{}{}
		k.loading.Go(func() { k.load(ctx) })
	}
	return k
}

// close ends the loading and waits for it.
func (k *knownIDs) close() {
	k.cancel(errors.New("the session has ended"))
	k.loading.Wait()
	k.metrics.forget()
}

// Waits between tries to load.
const (
	firstLoadRetry = time.Second
	maxLoadRetry   = time.Minute
)

// load loads a filter whenever it is asked to, until ctx ends.
func (k *knownIDs) load(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		for wait := firstLoadRetry; ; wait = min(2*wait, maxLoadRetry) {
			err := k.loadOnce(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			k.log.WarnContext(ctx, "id filter not loaded; ids are looked up meanwhile", "error", err, "wait", wait)
			pause.For(ctx, wait)
		}
	}
}

func (k *knownIDs) loadOnce(ctx context.Context) error {
	if k.loadTurn != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case k.loadTurn <- struct{}{}:
			defer func() { <-k.loadTurn }()
		}
	}
	started := time.Now()
	next := newIDFilter(k.bound)
	k.mu.Lock()
	k.next = next // from here on it hears of every block
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.next = nil
		k.mu.Unlock()
	}()
	n, err := k.source.countIDs(ctx)
	if err != nil {
		return fmt.Errorf("count ids: %w", err)
	}
	k.mu.Lock()
	next.reserve(max(n+n/8, smallestFill))
	k.mu.Unlock()
	err = k.source.loadIDs(ctx, func(ids []schemas.IDKey) {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, id := range ids {
			next.add(id)
		}
	})
	if err != nil {
		return fmt.Errorf("load ids: %w", err)
	}
	k.mu.Lock()
	k.filter = next
	k.metrics.loaded(next, time.Since(started))
	held, bytes := next.held, next.bytes()
	k.mu.Unlock()
	k.log.InfoContext(ctx, "id filter loaded", "ids", held, "bytes", bytes, "took", time.Since(started))
	fault.Point(fault.IDsLoaded)
	return nil
}

// blockIDs are the payload hashes of the ids of a block's events, as they were
// recorded in it or before it.
type blockIDs struct {
	lo       int64 // the block's first offset
	payloads map[schemas.IDHash]uint64
}

// lookUp returns the payload hashes of those ids of the block's rows that were
// recorded before it. Rows without a decoded event are passed over.
//
// Of an erased event nothing is known, so a copy of it passes for new. The statement
// that appends it blanks it: its workspace was put among the erased ones before the
// first of its events was erased (append_block.sql).
//
// before is of the block before it, where that is still being appended: what it
// records is known from it, and only what was recorded below it is looked up. What
// views already hold of it counts for nothing, as after a failed try.
func (k *knownIDs) lookUp(ctx context.Context, b *block, before *blockIDs) (map[schemas.IDHash]uint64, error) {
	rows, lo := b.rows, b.lo
	var appending map[schemas.IDHash]uint64
	if before != nil {
		appending, lo = before.payloads, before.lo
	}
	known := make(map[schemas.IDHash]uint64, len(rows)) // classify fills it with the new ones
	var unsure []schemas.IDHash
	k.mu.Lock()
	filter := k.filter
	for i := range rows {
		r := &rows[i]
		if r.record == nil || r.outcome != 0 {
			continue
		}
		payload, ok := k.recent.get(&r.hash)
		if !ok {
			payload, ok = appending[r.hash]
		}
		switch {
		case ok:
			known[r.hash] = payload
		case filter == nil || filter.mayHold(r.hash.Key()):
			unsure = append(unsure, r.hash)
		}
	}
	k.mu.Unlock()
	if len(unsure) == 0 {
		return known, nil
	}
	started := time.Now()
	found, err := k.find(ctx, unsure, lo)
	if err != nil {
		return nil, fmt.Errorf("look up ids: %w", err)
	}
	k.metrics.lookedUp(len(unsure), len(found), time.Since(started))
	maps.Copy(known, found)
	return known, nil
}

// remember notes the ids that a confirmed block recorded first.
//
// Where it is not certain that it was this block that was confirmed, its ids
// are only added to the filters, which then send them to be looked up.
func (k *knownIDs) remember(rows []row, certain bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range rows {
		r := &rows[i]
		switch r.outcome {
		case schemas.OutcomeCounted, schemas.OutcomePlayground, schemas.OutcomeAdjustment:
		default:
			continue
		}
		if certain {
			k.recent.put(&r.hash, r.payload)
		}
		if k.filter != nil {
			k.filter.add(r.hash.Key())
		}
		if k.next != nil {
			k.next.add(r.hash.Key())
		}
	}
	if k.filter == nil {
		return
	}
	k.metrics.holds(k.filter)
	// A filter of many slices is slow to ask; loaded anew it has one.
	if len(k.filter.slices) > maxSlices && k.next == nil && k.filter.room < k.bound {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// maxSlices is how many slices a filter has at most before it is loaded anew.
const maxSlices = 3

// recentIDs holds recently recorded ids with their payloads: a cache in which a
// new id takes the place of the oldest of the few that share its set.
type recentIDs struct {
	sets   [][recentWays]recentID
	oldest []uint8 // of each set, the one that is replaced next
}

type recentID struct {
	hash    schemas.IDHash // zero: empty
	payload uint64
}

const (
	recentWays = 8
	recentSets = 1 << 13
)

func recentSet(hash *schemas.IDHash) uint64 {
	at, _ := bits.Mul64(binary.BigEndian.Uint64(hash[:8]), recentSets)
	return at
}

func (c *recentIDs) get(hash *schemas.IDHash) (payload uint64, ok bool) {
	if c.sets == nil || *hash == (schemas.IDHash{}) {
		return 0, false
	}
	at := recentSet(hash)
	for i := range uint8(recentWays) { // the newest first
		recent := &c.sets[at][(c.oldest[at]-1-i)%recentWays]
		if recent.hash == *hash {
			return recent.payload, true
		}
	}
	return 0, false
}

func (c *recentIDs) put(hash *schemas.IDHash, payload uint64) {
	if c.sets == nil {
		c.sets, c.oldest = make([][recentWays]recentID, recentSets), make([]uint8, recentSets)
	}
	at := recentSet(hash)
	c.sets[at][c.oldest[at]] = recentID{*hash, payload}
	c.oldest[at] = (c.oldest[at] + 1) % recentWays
}
