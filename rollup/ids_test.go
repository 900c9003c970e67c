package rollup

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"agentmeter/schemas"
)

// fakeTable is a look-up table of one partition, in memory.
type fakeTable struct {
	mu      sync.Mutex                // guards what follows
	ids     map[schemas.IDHash]uint64 // with their payload hashes
	asked   int                       // ids that were looked up
	failing int                       // how many loads fail half-way from now on
	gate    chan struct{}             // if not nil, a load waits here before it ends
	begun   chan struct{}             // if not nil, closed when a load has seen what there is
}

func (f *fakeTable) find(_ context.Context, ids []schemas.IDHash, _ int64) (map[schemas.IDHash]uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked += len(ids)
	found := make(map[schemas.IDHash]uint64)
	for _, id := range ids {
		if payload, ok := f.ids[id]; ok {
			found[id] = payload
		}
	}
	return found, nil
}

func (f *fakeTable) countIDs(context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.ids)), nil
}

var errFakeLoad = errors.New("the load breaks off")

func (f *fakeTable) loadIDs(ctx context.Context, yield func([]schemas.IDKey)) error {
	f.mu.Lock()
	ids := make([]schemas.IDKey, 0, len(f.ids))
	for id := range f.ids {
		ids = append(ids, id.Key())
	}
	failing, gate := f.failing > 0, f.gate
	f.failing--
	if f.begun != nil {
		close(f.begun)
		f.begun = nil
	}
	f.mu.Unlock()
	half := len(ids) / 2
	yield(ids[:half])
	if failing {
		return errFakeLoad
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	yield(ids[half:])
	return nil
}

func (f *fakeTable) record(rows []row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range rows {
		switch rows[i].outcome {
		case schemas.OutcomeCounted, schemas.OutcomePlayground, schemas.OutcomeAdjustment:
			f.ids[rows[i].hash] = rows[i].payload
		default:
		}
	}
}

func (k *knownIDs) complete() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.filter != nil
}

// smallID is one of some ids, each of which has its key in common with another.
func smallID(i int) schemas.IDHash {
	var id schemas.IDHash
	binary.BigEndian.PutUint64(id[:8], uint64(i/2)*0x9e3779b97f4a7c15)
	id[14], id[15] = byte(i%2), 1
	return id
}

// Whatever sequence of blocks, re-sends, conflicts, erasures, sessions, loads
// that end sooner or later or fail: each row gets the outcome that a plain map
// of everything that was ever recorded gives it.
func TestIDsAreKnownExactlyAsAMapWouldKnowThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := make(map[schemas.IDHash]uint64)
		table := &fakeTable{ids: make(map[schemas.IDHash]uint64)}
		bound := rapid.SampledFrom([]int{0, 1, 50, 1_000_000}).Draw(t, "bound")
		turn := make(chan struct{}, 1)
		offset := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "sessions") {
			ids := rapid.IntRange(1, 300).Draw(t, "ids")
			gate := make(chan struct{})
			begun := make(chan struct{})
			table.mu.Lock()
			table.gate, table.begun = gate, begun
			failing := rapid.IntRange(0, 1).Draw(t, "failing loads")
			table.failing = failing
			table.mu.Unlock()
			k := newKnownIDs(context.Background(), table.find, table, idOptions{bound: bound, loadTurn: turn, log: slog.New(slog.DiscardHandler)})
			if bound > 0 && rapid.Bool().Draw(t, "load begins first") {
				<-begun
			}
			opened := false
			for range rapid.IntRange(0, 12).Draw(t, "blocks") {
				if !opened && rapid.Bool().Draw(t, "load ends") {
					opened = true
					close(gate) // it ends beside the next blocks, or before them
					before := rapid.Bool().Draw(t, "before them")
					for before && bound > 0 && failing == 0 && !k.complete() {
						runtime.Gosched()
					}
				}
				if rapid.Bool().Draw(t, "forget recent") {
					k.recent = recentIDs{} // as if many others had taken their places
				}
				rows := make([]row, rapid.IntRange(1, 60).Draw(t, "rows"))
				for i := range rows {
					rows[i] = row{offset: offset, record: &kgo.Record{}, hash: smallID(rapid.IntRange(1, ids).Draw(t, "id"))}
					if rapid.IntRange(0, 9).Draw(t, "conflict") == 0 {
						rows[i].payload = 1
					}
					offset++
				}
				known, err := k.lookUp(context.Background(), &block{lo: rows[0].offset, rows: rows}, nil)
				if err != nil {
					t.Fatal(err)
				}
				classify(rows, known)
				for i := range rows {
					before, seen := model[rows[i].hash]
					want := schemas.OutcomeCounted
					switch {
					case seen && before == rows[i].payload:
						want = schemas.OutcomeDuplicate
					case seen:
						want = schemas.OutcomeInvalid
					default:
						model[rows[i].hash] = rows[i].payload
					}
					if rows[i].outcome != want {
						t.Fatalf("offset %d is %s, want %s", rows[i].offset, rows[i].outcome, want)
					}
				}
				table.record(rows)
				k.remember(rows, true)
			}
			if !opened {
				close(gate)
			}
			k.close()
			// Between sessions a workspace may be erased: of its events nothing is known.
			for id := range model {
				if rapid.IntRange(0, 9).Draw(t, "erase") == 0 {
					delete(model, id)
					delete(table.ids, id)
				}
			}
		}
	})
}

// waitComplete waits for the filter; the log line after it is the event.
func waitComplete(t *testing.T, k *knownIDs) {
	t.Helper()
	k.loadTurn <- struct{}{} // whoever holds it does not load, and the loader has had it
	<-k.loadTurn
	if !k.complete() {
		t.Fatal("the filter is not complete")
	}
}

func newRows(random *rand.Rand, n int) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{record: &kgo.Record{}, hash: randomID(random), payload: random.Uint64()}
	}
	return rows
}

func TestCompleteFilterSparesLookUpsOfNewIDsOnly(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	table := &fakeTable{ids: make(map[schemas.IDHash]uint64)}
	old := newRows(random, 5000)
	classify(old, map[schemas.IDHash]uint64{})
	table.record(old)

	loaded := make(chan struct{}, 1)
	source := &signalled{table, loaded}
	k := newKnownIDs(t.Context(), table.find, source, idOptions{bound: 1 << 20, loadTurn: make(chan struct{}, 1), log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	defer k.close()
	<-loaded
	waitComplete(t, k)

	fresh := newRows(random, 5000)
	if _, err := k.lookUp(t.Context(), &block{lo: 5000, rows: fresh}, nil); err != nil {
		t.Fatal(err)
	}
	if table.asked > 50 {
		t.Errorf("%d of 5000 new ids were looked up", table.asked)
	}
	table.asked = 0
	for i := range old {
		old[i].outcome = 0
	}
	known, err := k.lookUp(t.Context(), &block{lo: 10_000, rows: old}, nil)
	if err != nil || len(known) != len(old) {
		t.Errorf("%d of %d recorded ids are known, %v", len(known), len(old), err)
	}
	if table.asked != len(old) {
		t.Errorf("%d of %d recorded ids were looked up", table.asked, len(old))
	}
	// What this session recorded is at hand with its payloads.
	classify(fresh, map[schemas.IDHash]uint64{})
	k.remember(fresh, true)
	table.asked = 0
	for i := range fresh {
		fresh[i].outcome = 0
	}
	known, err = k.lookUp(t.Context(), &block{lo: 15_000, rows: fresh}, nil)
	if err != nil || len(known) != 5000-table.asked || table.asked > 100 {
		t.Errorf("of 5000 quick re-sends %d are known and %d were looked up, %v", len(known), table.asked, err)
	}
}

// signalled says when a load is under way.
type signalled struct {
	*fakeTable
	loading chan struct{}
}

func (s *signalled) loadIDs(ctx context.Context, yield func([]schemas.IDKey)) error {
	err := s.fakeTable.loadIDs(ctx, yield)
	select {
	case s.loading <- struct{}{}:
	default:
	}
	return err
}

func TestFilterThatGrowsIsLoadedAnew(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	table := &fakeTable{ids: make(map[schemas.IDHash]uint64)}
	loads := make(chan struct{}, 1)
	k := newKnownIDs(t.Context(), table.find, &signalled{table, loads}, idOptions{bound: 1 << 30, loadTurn: make(chan struct{}, 1), log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	defer k.close()
	<-loads
	waitComplete(t, k)
	k.loadTurn <- struct{}{} // the load that is asked for waits until the filter has grown
	var all []row
	for slices := 0; slices <= maxSlices; {
		rows := newRows(random, 20_000)
		classify(rows, map[schemas.IDHash]uint64{})
		table.record(rows)
		k.remember(rows, true)
		all = append(all, rows...)
		if len(all) > 3_000_000 {
			t.Fatalf("%d slices for %d ids", slices, len(all))
		}
		k.mu.Lock()
		slices = len(k.filter.slices)
		k.mu.Unlock()
	}
	<-k.loadTurn
	<-loads
	waitComplete(t, k)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.filter.slices) > 2 {
		t.Errorf("%d slices after a load", len(k.filter.slices))
	}
	for i := range all {
		if !k.filter.mayHold(all[i].hash.Key()) {
			t.Fatalf("id %d of %d is called new", i, len(all))
		}
	}
}

func TestRecentIDsKeepTheirPayloads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c recentIDs
		model := make(map[schemas.IDHash]uint64)
		var last []schemas.IDHash
		for i := range rapid.IntRange(0, 200).Draw(t, "ids") {
			id := smallID(i)
			if rapid.Bool().Draw(t, "same set") {
				id = schemas.IDHash{15: byte(i)}
			}
			c.put(&id, uint64(i))
			model[id] = uint64(i)
			last = append(last, id)
		}
		for id, payload := range model {
			if got, ok := c.get(&id); ok && got != payload {
				t.Fatalf("%x has payload %d, want %d", id, got, payload)
			}
		}
		for _, id := range last[max(0, len(last)-recentWays):] {
			if _, ok := c.get(&id); !ok && id != (schemas.IDHash{}) {
				t.Fatalf("%x is among the last %d and not kept", id, recentWays)
			}
		}
	})
}
