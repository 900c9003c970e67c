package crash

import (
	"math/rand/v2"
	"sync"

	"agentmeter/schemas"
)

// book is the producers' own list: every event that was ever sent, with what
// is known of its fate. It is all that the verdict believes.
type book struct {
	mu      sync.Mutex // guards what follows, and the entries
	entries map[eventKey]*entry
	order   []*entry // of those that may be sent again
	poison  map[string]*poison
	acked   int64 // acknowledgements, of copies too
	unsure  int64 // sends whose fate nobody told
}

type eventKey struct {
	workspace schemas.WorkspaceID
	id        string
}

// entry is one event id.
type entry struct {
	event schemas.Event
	acked bool
	// others are different payloads that were sent with the same id, after the
	// first was acknowledged.
	others []schemas.Event
	// misplaced events are sent to the wrong partition only.
	misplaced bool
}

func (e *entry) key() eventKey { return eventKey{e.event.Workspace, e.event.ID} }

// poison is a record that is no event.
type poison struct {
	acked bool
}

func newBook() *book {
	return &book{entries: make(map[eventKey]*entry), poison: make(map[string]*poison)}
}

// add lists a new event, before it is sent.
func (b *book) add(e schemas.Event, misplaced bool) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	entry := &entry{event: e, misplaced: misplaced}
	b.entries[entry.key()] = entry
	if !misplaced {
		b.order = append(b.order, entry)
	}
	return entry
}

func (b *book) addPoison(value []byte) *poison {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &poison{}
	b.poison[string(value)] = p
	return p
}

// addOther lists a different payload for the id of an acknowledged event.
func (b *book) addOther(e *entry, other schemas.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.others = append(e.others, other)
}

// settle notes what became of a send.
func (b *book) settle(acked bool, entries ...*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		if acked {
			e.acked = true
			b.acked++
		} else {
			b.unsure++
		}
	}
}

func (b *book) settlePoison(p *poison, acked bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.acked = p.acked || acked
}

// pick returns an entry from anywhere in the list, or from its last n where n
// is positive; nil from an empty list.
func (b *book) pick(random *rand.Rand, n int) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := len(b.order)
	if size == 0 {
		return nil
	}
	if n > 0 && n < size {
		return b.order[size-1-random.IntN(n)]
	}
	return b.order[random.IntN(size)]
}

// pickAcked is pick among acknowledged entries; nil where chance finds none.
func (b *book) pickAcked(random *rand.Rand) *entry {
	for range 8 {
		e := b.pick(random, 0)
		if e == nil {
			return nil
		}
		b.mu.Lock()
		acked := e.acked
		b.mu.Unlock()
		if acked {
			return e
		}
	}
	return nil
}

// BookCounts is the size of the producers' list.
type BookCounts struct {
	IDs           int   `json:"ids"`
	Acknowledged  int   `json:"acknowledged"`
	Conflicts     int   `json:"conflicting_payloads"`
	Poison        int   `json:"poison_records"`
	Misplaced     int   `json:"misplaced_records"`
	Sends         int64 `json:"acknowledged_sends"`
	SendsOfUnsure int64 `json:"sends_of_unknown_fate"`
}

func (b *book) counts() BookCounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := BookCounts{IDs: len(b.entries), Poison: len(b.poison), Sends: b.acked, SendsOfUnsure: b.unsure}
	for _, e := range b.entries {
		if e.acked {
			c.Acknowledged++
		}
		if e.misplaced {
			c.Misplaced++
		}
		c.Conflicts += len(e.others)
	}
	return c
}
