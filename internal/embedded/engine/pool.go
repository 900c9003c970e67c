package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// param is a query parameter {name:Type}; the engine parses the value as the
// type it is used with.
type param struct{ name, value string }

// sessionSpec is what a session has to be like.
type sessionSpec struct {
	database string
	settings []setting
	readonly string // "" or the readonly setting's value
}

type setting struct{ name, value string }

// key identifies the spec; equal keys mean interchangeable sessions.
func (s sessionSpec) key() string { return strings.Join(s.statements(), ";\n") }

// statements turn a new session into what the spec asks for. The names have
// been checked to be plain identifiers; everything else is quoted.
func (s sessionSpec) statements() []string {
	var statements []string
	if s.database != "" {
		statements = append(statements, "USE "+quoteIdentifier(s.database))
	}
	if len(s.settings) > 0 {
		slices.SortFunc(s.settings, func(a, b setting) int { return strings.Compare(a.name, b.name) })
		var set strings.Builder
		for i, one := range s.settings {
			if i == 0 {
				set.WriteString("SET ")
			} else {
				set.WriteString(", ")
			}
			set.WriteString(one.name + " = " + quoteString(one.value))
		}
		statements = append(statements, set.String())
	}
	if s.readonly != "" {
		// Last, because it forbids the others.
		statements = append(statements, "SET readonly = "+quoteString(s.readonly))
	}
	return statements
}

// pooled is a session that knows what it is like.
type pooled struct {
	*session
	key string
}

// pool keeps sessions for reuse and bounds the statements that run and wait.
type pool struct {
	open    func(sessionSpec) (*session, error)
	running chan struct{} // a token for each statement that runs
	waiting chan struct{} // a token for each statement that runs or waits

	mu     sync.Mutex
	idle   []*pooled // oldest first; never more than running can hold
	closed bool
}

func newPool(maxRunning, maxWaiting int, open func(sessionSpec) (*session, error)) *pool {
	return &pool{
		open:    open,
		running: make(chan struct{}, maxRunning),
		waiting: make(chan struct{}, maxRunning+maxWaiting),
	}
}

var (
	errTooMany = exceptionf(codeTooManyStatements, "TOO_MANY_SIMULTANEOUS_QUERIES",
		"Too many statements are running and waiting in the embedded engine")
	errClosed = exceptionf(codeAborted, "ABORTED", "The embedded engine is shutting down")
)

// admit waits for a turn. The caller calls leave when its statement has ended.
func (p *pool) admit(ctx context.Context) error {
	select {
	case p.waiting <- struct{}{}:
	default:
		return errTooMany
	}
	select {
	case p.running <- struct{}{}:
	case <-ctx.Done():
		<-p.waiting
		return context.Cause(ctx)
	}
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		p.leave()
		return errClosed
	}
	return nil
}

func (p *pool) leave() {
	<-p.running
	<-p.waiting
}

// get returns a session like spec. The caller must have been admitted.
func (p *pool) get(spec sessionSpec) (*pooled, error) {
	key := spec.key()
	p.mu.Lock()
	// The youngest that fits, so that the ones out of use grow old.
	for i := len(p.idle) - 1; i >= 0; i-- {
		if s := p.idle[i]; s.key == key {
			p.idle = slices.Delete(p.idle, i, i+1)
			p.mu.Unlock()
			return s, nil
		}
	}
	p.mu.Unlock()
	s, err := p.open(spec)
	if err != nil {
		return nil, err
	}
	return &pooled{session: s, key: key}, nil
}

// put takes a session back that is as good as new.
func (p *pool) put(s *pooled) {
	var old *pooled
	p.mu.Lock()
	p.idle = append(p.idle, s)
	if len(p.idle) > cap(p.running) {
		old = p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// close waits for the statements under way and closes every session.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for range cap(p.running) {
		p.running <- struct{}{}
	}
	for _, s := range p.idle {
		s.close()
	}
	p.idle = nil
}

// runningIDs is the set of query ids whose statements have not ended.
type runningIDs struct {
	mu      sync.Mutex
	running map[string]struct{}
}

// take claims id; false means that a statement with it runs.
func (r *runningIDs) take(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.running[id]; taken {
		return false
	}
	r.running[id] = struct{}{}
	return true
}

func (r *runningIDs) release(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, id)
}

// isCancelled tells whether err only says that the client did not want to wait.
func isCancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
