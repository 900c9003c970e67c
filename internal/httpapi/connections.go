package httpapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// connections counts the open ones, and keeps them within a bound. While more than
// half of it are open, each answer ends its connection, so that those which do
// nothing between requests leave the other half to whoever comes. Where that is
// busy, too, whoever comes is told to come again.
//
// No idle connection is closed to make room: a request may be on its way on it, and
// whoever sent that would not know whether it was done.
type connections struct {
	most int64
	open atomic.Int64
}

func newConnections(most int) *connections { return &connections{most: int64(most)} }

// beyond is how many more than the most are accepted to be told so. More than that
// wait in the kernel's queue.
func (c *connections) beyond() int { return max(int(c.most)/4, 16) }

// follow is http.Server.ConnState.
func (c *connections) follow(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.open.Add(-1)
	case http.StateActive, http.StateIdle: // it stays open
	}
}

// forProbes are answered even then: a process that is busy must not be taken for
// a dead one.
var forProbes = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

type crowdedKey struct{}

// mark says which answers are the last of their connection, and tells the router of
// requests that it is to refuse.
func (c *connections) mark(router *Router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open := c.open.Load()
		if open > c.most/2 {
			w.Header().Set("Connection", "close")
		}
		if open > c.most && !forProbes[r.URL.Path] {
			r = r.WithContext(context.WithValue(r.Context(), crowdedKey{}, true))
		}
		router.ServeHTTP(w, r)
	})
}

// crowded reports whether a request came while more than the most were open.
func crowded(r *http.Request) bool { return r.Context().Value(crowdedKey{}) != nil }

var errTooManyConnections = errors.New("too many connections")

// refuseConnection answers such a request.
func refuseConnection(w http.ResponseWriter, r *http.Request) {
	WriteError(w, r, Unavailable("too_many_connections", "Too many connections are open. Nothing was done; send it again.", time.Second, errTooManyConnections))
}
