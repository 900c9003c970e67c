package httpapi

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// leastIdle is how long a connection has to have been idle before it is closed
// for another: a request that is on its way on one that was used just now would be
// lost, and who sent it would not know whether it was done.
const leastIdle = time.Second

// connections keeps the open ones within a bound. Beyond it the one that has been
// idle longest is closed for each that comes; where none is idle, whoever comes is
// told to come again. Nobody waits unheard behind connections that do nothing.
type connections struct {
	most int

	mu   sync.Mutex // guards what follows
	open map[net.Conn]*list.Element
	idle list.List // of idleConnection, longest first
}

type idleConnection struct {
	net.Conn
	since time.Time
}

func newConnections(most int) *connections {
	return &connections{most: most, open: make(map[net.Conn]*list.Element)}
}

// beyond is how many more than the most are accepted to be told so. More than that
// wait in the kernel's queue.
func (c *connections) beyond() int { return max(c.most/4, 16) }

// follow is http.Server.ConnState.
func (c *connections) follow(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.open[conn]; element != nil {
		c.idle.Remove(element)
	}
	switch state {
	case http.StateNew:
		c.open[conn] = nil
		c.makeRoom()
	case http.StateActive:
		c.open[conn] = nil
	case http.StateIdle:
		c.open[conn] = c.idle.PushBack(idleConnection{conn, time.Now()})
		c.makeRoom()
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// makeRoom closes idle connections while there are too many.
func (c *connections) makeRoom() {
	for element := c.idle.Front(); element != nil && len(c.open) > c.most; element = c.idle.Front() {
		oldest := element.Value.(idleConnection) //nolint:forcetypeassert // nothing else is put in
		if time.Since(oldest.since) < leastIdle {
			return
		}
		c.idle.Remove(element)
		delete(c.open, oldest.Conn)
		go oldest.Close() // where it is encrypted, a goodbye comes first
	}
}

func (c *connections) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > c.most
}

// forProbes are answered even then: a process that is busy must not be taken for
// a dead one.
var forProbes = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

type crowdedKey struct{}

// mark tells the router of requests that it is to refuse.
func (c *connections) mark(router *Router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.full() && !forProbes[r.URL.Path] {
			r = r.WithContext(context.WithValue(r.Context(), crowdedKey{}, true))
		}
		router.ServeHTTP(w, r)
	})
}

// crowded reports whether a request came on a connection beyond the most.
func crowded(r *http.Request) bool { return r.Context().Value(crowdedKey{}) != nil }

var errTooManyConnections = errors.New("too many connections")

// refuseConnection answers such a request, and closes its connection.
func refuseConnection(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	WriteError(w, r, Unavailable("too_many_connections", "Too many connections are open, and all are busy. Nothing was done; send it again.", time.Second, errTooManyConnections))
}
