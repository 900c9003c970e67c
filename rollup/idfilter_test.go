package rollup

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"agentmeter/schemas"
)

// randomID is uniform, as hashes are.
func randomID(random *rand.Rand) schemas.IDHash {
	var id schemas.IDHash
	binary.LittleEndian.PutUint64(id[:8], random.Uint64())
	binary.LittleEndian.PutUint64(id[8:], random.Uint64())
	return id
}

func randomKey(random *rand.Rand) schemas.IDKey {
	return schemas.IDKey(random.Uint64N(1 << schemas.IDKeyBits))
}

func TestFilterNeverCallsAnIDNewThatItWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(1, 200_000).Draw(t, "bound")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		f := newIDFilter(bound)
		var added []schemas.IDKey
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			if rapid.Bool().Draw(t, "reserve") {
				f.reserve(rapid.Int64Range(0, 100_000).Draw(t, "room"))
			}
			for range rapid.IntRange(0, 30_000).Draw(t, "ids") {
				id := randomKey(random)
				f.add(id)
				added = append(added, id)
			}
			// Ids that are not uniform only cost precision.
			for range rapid.IntRange(0, 20).Draw(t, "odd ids") {
				id := schemas.IDKey(rapid.Uint64Range(0, 1<<schemas.IDKeyBits-1).Draw(t, "id"))
				f.add(id)
				added = append(added, id)
			}
			for i := range added {
				if !f.mayHold(added[i]) {
					t.Fatalf("id %d of %d is called new after %d slices", i, len(added), len(f.slices))
				}
			}
		}
		if limit := (bound*bitsPerID+lineBits-1)/8 + int64(len(f.slices))*lineBits/8; f.bytes() > limit {
			t.Fatalf("%d bytes for a bound of %d ids, want at most %d", f.bytes(), bound, limit)
		}
	})
}

func TestFilterGrowsAndStaysPrecise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	f := newIDFilter(1 << 40)
	const ids = 2_000_000
	for range ids {
		id := randomKey(random)
		f.add(id)
	}
	if len(f.slices) < 3 || len(f.slices) > 8 {
		t.Errorf("%d slices for %d ids", len(f.slices), ids)
	}
	if perMillion := float64(f.bytes()) / ids; perMillion < 1.2 || perMillion > 6.1 {
		t.Errorf("%.1f MB for a million ids", perMillion)
	}
	accidents := 0
	const tests = 1_000_000
	for range tests {
		id := randomKey(random)
		if f.mayHold(id) {
			accidents++
		}
	}
	if accidents > tests/1000 {
		t.Errorf("%d of %d new ids were not called new, want at most 1 in 1000", accidents, tests)
	}
	if f.held < ids*998/1000 || f.held > ids {
		t.Errorf("%d ids are held, want about %d", f.held, ids)
	}
}

func TestFilterBeyondItsBoundLosesPrecisionOnly(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const bound = 100_000
	f := newIDFilter(bound)
	added := make([]schemas.IDKey, 2*bound)
	for i := range added {
		added[i] = randomKey(random)
		f.add(added[i])
	}
	for i := range added {
		if !f.mayHold(added[i]) {
			t.Fatalf("id %d is called new", i)
		}
	}
	accidents := 0
	for range bound {
		id := randomKey(random)
		if f.mayHold(id) {
			accidents++
		}
	}
	if accidents > bound/10 {
		t.Errorf("at twice the bound %d of %d new ids are not called new", accidents, bound)
	}
}

func BenchmarkFilter(b *testing.B) {
	for _, ids := range []int{1_000_000, 10_000_000} {
		name := map[int]string{1_000_000: "1M", 10_000_000: "10M"}[ids]
		random := rand.New(rand.NewPCG(5, 6))
		fill := func(f *idFilter) {
			for range ids {
				id := randomKey(random)
				f.add(id)
			}
		}
		reserved, grown := newIDFilter(1<<40), newIDFilter(1<<40)
		reserved.reserve(int64(ids))
		fill(reserved)
		fill(grown)
		for kind, f := range map[string]*idFilter{"reserved": reserved, "grown": grown} {
			probes := make([]schemas.IDKey, 1<<16)
			for i := range probes {
				probes[i] = randomKey(random)
			}
			b.Run("test/"+name+"/"+kind, func(b *testing.B) {
				n := 0
				for b.Loop() {
					f.mayHold(probes[n&(1<<16-1)])
					n++
				}
				b.ReportMetric(float64(f.bytes())/float64(ids), "B/id")
				b.ReportMetric(float64(len(f.slices)), "slices")
			})
			wrong := 0
			for range 4_000_000 {
				if id := randomKey(random); f.mayHold(id) {
					wrong++
				}
			}
			b.Logf("%s %s: %d slices, %.2f MB a million, %d of 4 million new ids not called new", name, kind, len(f.slices), float64(f.bytes())/float64(ids), wrong)
		}
		b.Run("add/"+name, func(b *testing.B) {
			f := newIDFilter(1 << 40)
			f.reserve(int64(ids))
			for b.Loop() {
				id := randomKey(random)
				f.add(id)
			}
		})
	}
}
