package fair

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Errors of Enter and Take.
var (
	// ErrFull: there is no room, whoever asks.
	ErrFull = errors.New("no room")
	// ErrShare: there is room, and the party has its share of it.
	ErrShare = errors.New("the party has its share")
)

// Gate lets no more in than its capacity. It is safe for concurrent use.
type Gate struct {
	config Config

	mu      sync.Mutex // guards what follows, and the parties
	used    int64
	waiting int
	parties map[string]*party // of those that hold something, or wait
	arrived uint64            // of all that ever waited
}

// Config bounds a gate.
type Config struct {
	// Capacity is what is held at once, in whatever unit.
	Capacity int64
	// MaxWaiting is how many wait for room at most, and MaxWait for how long. With
	// none, what does not fit is refused at once.
	MaxWaiting int
	MaxWait    time.Duration
	// Used and Waiting are told what is held and how many wait. They must not
	// call the gate. Nil: nobody is told.
	Used, Waiting func(int64)
}

type party struct {
	name  string
	used  int64
	queue []*waiter
}

type waiter struct {
	party   *party
	amount  int64
	arrived uint64
	in      chan struct{} // closed when it is in, or has been pushed out
	out     error         // of one that was pushed out
}

// New makes a gate.
func New(config Config) *Gate {
	for _, told := range []*func(int64){&config.Used, &config.Waiting} {
		if *told == nil {
			*told = func(int64) {}
		}
	}
	return &Gate{config: config, parties: make(map[string]*party)}
}

// Take takes an amount for a party at once, or says why not. Give gives it back.
func (g *Gate) Take(name string, amount int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.partyOf(name)
	defer g.forget(p)
	if err := g.fits(p, amount); err != nil {
		return err
	}
	g.take(p, amount)
	return nil
}

// Give gives back what a party took.
func (g *Gate) Give(name string, amount int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.parties[name]
	if p == nil || p.used < amount {
		panic(fmt.Sprintf("fair: %q gives back %d and holds less", name, amount)) // a mistake of the program's
	}
	p.used -= amount
	g.used -= amount
	g.config.Used(g.used)
	g.letIn()
	g.forget(p)
}

// Enter takes an amount for a party, and waits for it where there is none. An
// amount beyond a party's share is cut to half the capacity: it comes in where
// little else is. Leave gives it back, and has to be called once.
func (g *Gate) Enter(ctx context.Context, name string, amount int64) (leave func(), err error) {
	amount = min(amount, max(g.config.Capacity/2, 1))
	w, err := g.line(name, amount)
	if err != nil {
		return nil, err
	}
	leave = func() { g.Give(name, amount) }
	if w == nil {
		return leave, nil
	}
	timer := time.NewTimer(g.config.MaxWait)
	defer timer.Stop()
	select {
	case <-w.in:
	case <-timer.C:
		if g.giveUp(w) {
			return nil, g.why(name, amount)
		}
	case <-ctx.Done():
		if g.giveUp(w) {
			return nil, context.Cause(ctx)
		}
	}
	if w.out != nil {
		return nil, w.out
	}
	return leave, nil
}

// line takes the amount, or puts a waiter in line, or says why not.
func (g *Gate) line(name string, amount int64) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.partyOf(name)
	defer g.forget(p)
	err := g.fits(p, amount)
	if err == nil && len(p.queue) == 0 && !g.overtakes(p) {
		g.take(p, amount)
		return nil, nil //nolint:nilnil // nobody has to wait
	}
	if err == nil {
		err = ErrFull // there is room, for those who come before it
	}
	if g.waiting >= g.config.MaxWaiting && !g.pushOut(p) {
		return nil, err
	}
	g.arrived++
	w := &waiter{party: p, amount: amount, arrived: g.arrived, in: make(chan struct{})}
	p.queue = append(p.queue, w)
	g.waiting++
	g.config.Waiting(int64(g.waiting))
	return w, nil
}

// overtakes reports whether somebody waits for room who comes before a party.
func (g *Gate) overtakes(p *party) bool {
	if g.waiting == 0 {
		return false
	}
	next := g.next()
	return next != nil && next.used <= p.used
}

// pushOut refuses the newest of the party with most waiters, if that has more of
// them than p would have.
func (g *Gate) pushOut(p *party) bool {
	longest := p
	for _, other := range g.parties {
		if len(other.queue) > len(longest.queue) {
			longest = other
		}
	}
	if len(longest.queue) <= len(p.queue)+1 {
		return false
	}
	newest := longest.queue[len(longest.queue)-1]
	g.dequeue(newest)
	newest.out = ErrShare
	close(newest.in)
	return true
}

// giveUp takes a waiter out of the line, unless it has just come in or been
// pushed out.
func (g *Gate) giveUp(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in:
		return false
	default:
	}
	g.dequeue(w)
	g.letIn() // it may have been in somebody's way
	g.forget(w.party)
	return true
}

func (g *Gate) dequeue(w *waiter) {
	for i, other := range w.party.queue {
		if other == w {
			w.party.queue = append(w.party.queue[:i], w.party.queue[i+1:]...)
			break
		}
	}
	g.waiting--
	g.config.Waiting(int64(g.waiting))
}

// letIn lets in whoever fits now, the party that holds least first.
func (g *Gate) letIn() {
	for g.waiting > 0 {
		p := g.next()
		if p == nil || g.fits(p, p.queue[0].amount) != nil {
			return
		}
		w := p.queue[0]
		g.dequeue(w)
		g.take(p, w.amount)
		close(w.in)
	}
}

// next is the party whose turn it is: of those that have not got their share, the
// one that holds least, and the one that has waited longest of those that hold as
// much. One that holds nothing is waited for until there is room for it.
func (g *Gate) next() *party {
	var next *party
	for _, p := range g.parties {
		if len(p.queue) == 0 || g.beyondShare(p, p.queue[0].amount) {
			continue
		}
		if next == nil || p.used < next.used || p.used == next.used && p.queue[0].arrived < next.queue[0].arrived {
			next = p
		}
	}
	return next
}

// fits says why a party may not take an amount, or nil.
func (g *Gate) fits(p *party, amount int64) error {
	switch {
	case amount > g.config.Capacity-g.used:
		return ErrFull
	case g.beyondShare(p, amount):
		return ErrShare
	}
	return nil
}

// beyondShare reports whether a party would hold more than what is left free. The
// first that it takes is never too much.
func (g *Gate) beyondShare(p *party, amount int64) bool {
	return p.used > 0 && p.used+amount > g.config.Capacity-g.used
}

// why is what a party that has waited in vain is told.
func (g *Gate) why(name string, amount int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.partyOf(name)
	defer g.forget(p)
	if err := g.fits(p, amount); err != nil {
		return err
	}
	return ErrFull // there is room, for those who come before it
}

func (g *Gate) take(p *party, amount int64) {
	p.used += amount
	g.used += amount
	g.config.Used(g.used)
}

func (g *Gate) partyOf(name string) *party {
	p := g.parties[name]
	if p == nil {
		p = &party{name: name}
		g.parties[name] = p
	}
	return p
}

// forget drops a party that holds nothing and does not wait.
func (g *Gate) forget(p *party) {
	if p.used == 0 && len(p.queue) == 0 && g.parties[p.name] == p {
		delete(g.parties, p.name)
	}
}

// InUse is what is held now.
func (g *Gate) InUse() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used
}
