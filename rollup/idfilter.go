package rollup

import (
	"math/bits"

	"agentmeter/schemas"
)

// idFilter proves that an id was never added: a Bloom filter that only ever
// answers "certainly not" or "perhaps".
//
// It grows by slices, each a blocked Bloom filter: an id sets one bit in each
// of the eight words of one cache line, so that a test costs one cache miss a
// slice. A slice at its capacity has 24 bits an id; a test of a new id finds all
// its eight bits set by accident about once in 10,000 times.
//
// Memory is bounded: once the slices hold bound ids they share what comes, and
// accidents become more frequent. Nothing is ever forgotten: "certainly not" is
// right at any size.
//
// It holds the keys of ids, which is what the look-up has to load it from. That
// another id has the same key is a thousand times rarer than its own accidents.
type idFilter struct {
	slices []filterSlice // each follows the earlier ones in time
	held   int64         // ids that were added, as far as it can tell
	room   int64         // ids that all slices take together at full precision
	bound  int64         // ids beyond which no slice is added
}

type filterSlice struct {
	lines    [][filterWords]uint64
	capacity int64
	held     int64
}

const (
	filterWords  = 8
	lineBits     = filterWords * 64
	bitsPerID    = 24
	smallestFill = 1 << 16 // ids of the smallest slice
	// Below this many ids a slice doubles what is there, beyond it adds half,
	// so that memory stays close to what is needed and tests touch few slices.
	doublingUpTo = 1 << 22
)

func newIDFilter(bound int64) *idFilter { return &idFilter{bound: bound} }

// reserve makes room for n more ids in one slice, as far as the bound allows.
func (f *idFilter) reserve(n int64) {
	if n = min(n, f.bound-f.room); n > f.room-f.held {
		f.grow(n)
	}
}

func (f *idFilter) grow(capacity int64) {
	capacity = max(capacity, 1)
	lines := (capacity*bitsPerID + lineBits - 1) / lineBits
	f.slices = append(f.slices, filterSlice{lines: make([][filterWords]uint64, lines), capacity: capacity})
	f.room += capacity
}

// add makes mayHold true for the id for ever.
func (f *idFilter) add(id schemas.IDKey) {
	if f.mayHold(id) {
		return
	}
	n := len(f.slices)
	if n == 0 || f.slices[n-1].held >= f.slices[n-1].capacity {
		next := f.room
		if next > doublingUpTo {
			next /= 2
		}
		if next = min(max(next, smallestFill), f.bound-f.room); next > 0 || n == 0 {
			f.grow(next)
			n++
		}
	}
	into := &f.slices[n-1]
	if into.held >= into.capacity { // beyond the bound: all slices share the burden
		for i := range f.slices {
			if s := &f.slices[i]; s.held*into.capacity < into.held*s.capacity {
				into = s
			}
		}
	}
	into.set(id)
	f.held++
}

// mayHold reports false only if the id was never added.
func (f *idFilter) mayHold(id schemas.IDKey) bool {
	for i := range f.slices {
		if f.slices[i].test(id) {
			return true
		}
	}
	return false
}

// bytes is the memory that the filter takes.
func (f *idFilter) bytes() int64 {
	var n int64
	for i := range f.slices {
		n += int64(len(f.slices[i].lines)) * (lineBits / 8)
	}
	return n
}

// line is the cache line of an id, and what chooses the bits in it. Keys are uniform,
// so a key chooses the line as it is; for the bits it is mixed, since those that share
// a line begin alike.
func (s *filterSlice) line(id schemas.IDKey) (line *[filterWords]uint64, choice uint64) {
	at, _ := bits.Mul64(uint64(id)<<(64-schemas.IDKeyBits), uint64(len(s.lines)))
	return &s.lines[at], mixed(uint64(id))
}

// mixed is the finisher of SplitMix64: each bit of its result depends on each of x's.
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (s *filterSlice) set(id schemas.IDKey) {
	line, choice := s.line(id)
	for word := range line {
		line[word] |= 1 << (choice & 63)
		choice >>= 6
	}
	s.held++
}

func (s *filterSlice) test(id schemas.IDKey) bool {
	line, choice := s.line(id)
	all := uint64(1)
	for word := range line {
		all &= line[word] >> (choice & 63)
		choice >>= 6
	}
	return all != 0
}
