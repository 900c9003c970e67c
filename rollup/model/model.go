// Package model is the counting protocol as a finite model, and a checker that
// looks at every state it can reach.
//
// The model is one partition with a few records (one of them may re-send an
// earlier id), a ledger with two views, a server that can be killed at any
// moment, a network that loses, delays and keeps requests, and two consumers
// that may both believe that they own the partition. In flows a Protocol, the
// one of package rollup or a weakened one, and bounds on how often each fault
// may strike; out flows either nothing or the shortest story that ends in a
// wrong figure.
//
// It is exhaustive within its bounds and says nothing beyond them. Change it
// before you change the protocol.
package model

import (
	"fmt"
	"strings"
)

// Protocol says how counting works. The zero value is the protocol of package
// rollup: conditional inserts, one statement of the partition at a time,
// reconciles computed by the server. Each field weakens it.
type Protocol struct {
	// StoredOffset: insert without a condition, then store the offset, and
	// start from the stored offset after a restart.
	StoredOffset bool
	// NoMutex: statements of the partition may run at the same time.
	NoMutex bool
	// ClientReconcile: a consumer reads the difference between ledger and view
	// and then inserts what it has read.
	ClientReconcile bool
	// NoReconcile: a consumer goes on where the ledger ends.
	NoReconcile bool
	// Tokens: the server drops an insert, in each table by itself, whose token
	// it has logged there; it logs the token before it commits the rows.
	Tokens bool
	// Regardless: a consumer sends the next block, which it has prepared already,
	// whatever became of the one before it.
	Regardless bool
	// TwoParts: a block of two records is committed as two parts.
	TwoParts bool
	// OldServerRuns: the server is replaced by its replica while statements still
	// run at it, which the replica's mutex knows nothing of.
	OldServerRuns bool
	// StaleReplica: the server is replaced by a replica that answers before it has
	// everything.
	StaleReplica bool
}

// Bounds limit the model: how many records there are, and how often each
// fault strikes.
type Bounds struct {
	Records int
	// Resent is the offset of a record that re-sends the id of offset 0, or -1.
	Resent int
	// OneBucket: all records fall into one bucket of the views.
	OneBucket bool

	ServerKills   int // the server is killed and started again
	ConsumerKills int
	Rebalances    int // the partition is taken from a consumer that has not noticed
	Timeouts      int // a request's answer never arrives
	Failures      int // an insert fails cleanly in the middle
	// Replacements: the server is replaced by its replica, in the order that
	// docs/operations/cluster.md gives: the consumers stop, then the server, and
	// begin again with a replica that has everything.
	Replacements int
	Rebuilds     int // a third party makes a view equal to the ledger everywhere, as agentmeter rebuild does
}

// Result is what a check found.
type Result struct {
	States    int
	Complete  int      // states in which everything was counted and nothing is under way
	Violation string   // "" where no state is wrong
	Story     []string // the shortest way to the violation
}

const (
	maxRecords  = 3
	maxParts    = 6
	maxRequests = 3
	views       = 2
)

type requestKind int8

const (
	noRequest requestKind = iota
	insertBlock
	reconcileView
)

// Stages of an insert in the server. Before running it is in the network.
const (
	inNetwork int8 = iota
	running        // the condition held
	ledgerLogged
	ledgerFirstPart
	ledgerCommitted
	firstViewLogged
	firstViewCommitted
	secondViewLogged
)

type request struct {
	kind   requestKind
	stage  int8
	lo, hi int8
	counts int8 // which records of the block count, bit i for offset lo+i
	view   int8
	diff   [maxRecords]int8 // of a reconcile, once it is computed
	from   int8             // the consumer that sent it
	waits  bool             // whether that consumer still waits for the answer
	old    bool             // it is at the server that was replaced
}

type part struct {
	lo, hi int8 // hi == 0: no part
	counts int8
}

type phase int8

const (
	idle phase = iota
	readEnd
	readKnown
	counting
	waitInsert
	doubt
	readDiff
	sendReconcile
	waitReconcile
	storeOffset
	done
	halted
)

type consumer struct {
	phase    phase
	position int8
	known    int8 // offsets whose ids are known, as bits
	lo, hi   int8 // the block in hand
	counts   int8
	view     int8 // being reconciled
	diff     [maxRecords]int8
	takeOver bool // the reconcile belongs to taking over, not to doubt
	again    bool // the block in hand was sent before
}

type state struct {
	parts     [maxParts]part
	view      [views][maxRecords]int8
	logged    [views + 1]int16 // tokens, by block
	requests  [maxRequests]request
	consumers [2]consumer
	owner     int8
	stored    int8
	budget    [7]int8 // how often each fault may still strike

	// What a stale replica does not have yet.
	late     part
	lateView [views][maxRecords]int8
}

const (
	serverKill = iota
	consumerKill
	rebalance
	timeout
	failure
	rebuild
	replacement
)

// checker explores one protocol within bounds.
type checker struct {
	protocol Protocol
	bounds   Bounds
	next     []transition
	telling  bool // whether transitions carry words
}

type transition struct {
	to    state
	words string
}

func (c *checker) emit(s state, format string, args ...any) {
	sortRequests(&s)
	words := ""
	if c.telling {
		words = fmt.Sprintf(format, args...)
	}
	c.next = append(c.next, transition{s, words})
}

// sortRequests makes states that differ only in the order of requests equal.
func sortRequests(s *state) {
	r := &s.requests
	for i := 1; i < len(r); i++ {
		for j := i; j > 0 && requestLess(&r[j], &r[j-1]); j-- {
			r[j], r[j-1] = r[j-1], r[j]
		}
	}
}

func requestLess(a, b *request) bool {
	x := [...]int8{-int8(a.kind), a.stage, a.lo, a.hi, a.counts, a.view, a.from, a.diff[0], a.diff[1], a.diff[2]}
	y := [...]int8{-int8(b.kind), b.stage, b.lo, b.hi, b.counts, b.view, b.from, b.diff[0], b.diff[1], b.diff[2]}
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	if a.old != b.old {
		return b.old
	}
	return !a.waits && b.waits
}

// Check looks at every state that the protocol can reach within the bounds, in
// the order of their distance, until one is wrong.
func Check(protocol Protocol, bounds Bounds) Result {
	c := &checker{protocol: protocol, bounds: bounds}
	begin := state{owner: -1, budget: [7]int8{
		int8(bounds.ServerKills), int8(bounds.ConsumerKills), int8(bounds.Rebalances), int8(bounds.Timeouts), int8(bounds.Failures), int8(bounds.Rebuilds),
		int8(bounds.Replacements),
	}}
	index := map[state]int32{begin: 0}
	states := []state{begin}
	parents := []int32{-1}
	var result Result
	for at := 0; at < len(states); at++ {
		s := states[at]
		if violation := c.violation(&s); violation != "" {
			result.Violation = violation
			result.Story = c.story(states, parents, int32(at))
			break
		}
		if c.complete(&s) {
			result.Complete++
		}
		c.next = c.next[:0]
		c.step(s)
		for i := range c.next {
			to := c.next[i].to
			if _, seen := index[to]; !seen {
				index[to] = int32(len(states))
				states = append(states, to)
				parents = append(parents, int32(at))
			}
		}
	}
	result.States = len(states)
	return result
}

// story tells how a state was reached.
func (c *checker) story(states []state, parents []int32, at int32) []string {
	var path []int32
	for i := at; i >= 0; i = parents[i] {
		path = append(path, i)
	}
	c.telling = true
	defer func() { c.telling = false }()
	var words []string
	for i := len(path) - 1; i > 0; i-- {
		c.next = c.next[:0]
		c.step(states[path[i]])
		for _, t := range c.next {
			if t.to == states[path[i-1]] {
				words = append(words, t.words)
				break
			}
		}
	}
	s := states[at]
	rows, counted := c.ledger(&s)
	return append(words, fmt.Sprintf("ledger rows %v, counted %v, views %v", rows, counted, s.view))
}

// ledger is how many rows each offset has, and how many of them count.
func (c *checker) ledger(s *state) (rows, counted [maxRecords]int8) {
	for _, p := range s.parts {
		for o := p.lo; o < p.hi; o++ {
			rows[o]++
			if p.counts&(1<<(o-p.lo)) != 0 {
				counted[o]++
			}
		}
	}
	return rows, counted
}

func (c *checker) bucket(offset int8) int8 {
	if c.bounds.OneBucket {
		return 0
	}
	return offset
}

// difference is the ledger minus a view, in the buckets that [lo, hi) touches.
func (c *checker) difference(s *state, view, lo, hi int8) (diff [maxRecords]int8) {
	_, counted := c.ledger(s)
	var sums [maxRecords]int8
	for o := range int8(c.bounds.Records) {
		sums[c.bucket(o)] += counted[o]
	}
	for o := lo; o < hi; o++ {
		b := c.bucket(o)
		diff[b] = sums[b] - s.view[view][b]
	}
	return diff
}

// end is where the ledger ends, and its last block.
func (c *checker) end(s *state) (position, lo, hi int8) {
	for _, p := range s.parts {
		if p.hi > position {
			position, lo, hi = p.hi, p.lo, p.hi
		}
	}
	return position, lo, hi
}

func (c *checker) addPart(s *state, p part) bool {
	for i := range s.parts {
		if s.parts[i].hi == 0 {
			s.parts[i] = p
			// Sorted, so that states that differ only in order are equal.
			for j := i; j > 0 && partLess(s.parts[j], s.parts[j-1]); j-- {
				s.parts[j], s.parts[j-1] = s.parts[j-1], s.parts[j]
			}
			return true
		}
	}
	return false
}

func partLess(a, b part) bool {
	if a.lo != b.lo {
		return a.lo < b.lo
	}
	if a.hi != b.hi {
		return a.hi < b.hi
	}
	return a.counts < b.counts
}

func (c *checker) addView(s *state, view int8, r *request) {
	for o := r.lo; o < r.hi; o++ {
		if r.counts&(1<<(o-r.lo)) != 0 {
			s.view[view][c.bucket(o)]++
		}
	}
}

func token(r *request) int16 { return 1 << (r.lo*maxRecords + r.hi - 1) }

// complete: everything was counted and nothing is under way any more.
func (c *checker) complete(s *state) bool {
	if s.owner < 0 || s.consumers[s.owner].phase != done || s.consumers[1-s.owner].phase != idle {
		return false
	}
	for i := range s.requests {
		if s.requests[i].kind != noRequest {
			return false
		}
	}
	return !s.catchingUp()
}

func (c *checker) violation(s *state) string {
	for i := range s.consumers {
		if s.consumers[i].phase == halted {
			return "a consumer halts, although nothing was truncated or tampered with"
		}
	}
	rows, counted := c.ledger(s)
	for o := range c.bounds.Records {
		if rows[o] > 1 {
			return "an offset is in the ledger twice"
		}
	}
	if !c.complete(s) {
		return ""
	}
	var sums [maxRecords]int8
	for o := range c.bounds.Records {
		want := int8(1)
		if o == c.bounds.Resent {
			want = 0
		}
		switch {
		case rows[o] == 0:
			return "an offset is missing from the ledger"
		case counted[o] != want:
			return "an id is not counted exactly once"
		}
		sums[c.bucket(int8(o))] += counted[o]
	}
	for view := range s.view {
		for b := range sums {
			switch {
			case s.view[view][b] > sums[b]:
				return "a view has counted too much"
			case s.view[view][b] < sums[b]:
				return "a view has counted too little"
			}
		}
	}
	return ""
}

var names = [...]string{"A", "B"}

// thirdParty sends requests and is no consumer.
const thirdParty = -1

func (r *request) String() string {
	if r.kind == insertBlock {
		return fmt.Sprintf("%s's insert of [%d,%d)", names[r.from], r.lo, r.hi)
	}
	if r.from == thirdParty {
		return fmt.Sprintf("a rebuild of view %d", r.view+1)
	}
	return fmt.Sprintf("%s's reconcile of view %d for [%d,%d)", names[r.from], r.view+1, r.lo, r.hi)
}

// Tell formats a result for people.
func (r Result) Tell() string {
	if r.Violation == "" {
		return fmt.Sprintf("%d states, %d of them complete: nothing is wrong", r.States, r.Complete)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, after %d states:", r.Violation, r.States)
	for i, words := range r.Story {
		fmt.Fprintf(&b, "\n  %2d %s", i+1, words)
	}
	return b.String()
}
