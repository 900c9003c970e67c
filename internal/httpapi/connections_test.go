package httpapi

import (
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// isOpen reports whether the other end of a connection has not been closed.
func isOpen(t *testing.T, end net.Conn) bool {
	t.Helper()
	if err := end.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := end.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Clients that keep connections which they do not use are in nobody's way.
func TestAnIdleConnectionMakesRoomForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(2)
		connect := func(states ...http.ConnState) (conn, client net.Conn) {
			conn, client = net.Pipe()
			for _, state := range append([]http.ConnState{http.StateNew, http.StateActive}, states...) {
				c.follow(conn, state)
			}
			return conn, client
		}
		_, longIdle := connect(http.StateIdle)
		used, usedClient := connect(http.StateIdle)
		<-time.After(leastIdle)
		c.follow(used, http.StateActive)
		c.follow(used, http.StateIdle)

		_, third := connect()
		if isOpen(t, longIdle) || c.full() {
			t.Error("the connection that has been idle longest makes no room")
		}
		if !isOpen(t, usedClient) || !isOpen(t, third) {
			t.Error("a connection that is used was closed")
		}
		// A request may be on its way on one that was idle for no time.
		fourth, _ := connect()
		if !isOpen(t, usedClient) || !c.full() {
			t.Error("a connection was closed just after its use")
		}
		c.follow(fourth, http.StateClosed)
		if c.full() {
			t.Error("a connection that has ended takes up room")
		}
	})
}

func TestBusyConnectionsStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(1)
		conn, client := net.Pipe()
		c.follow(conn, http.StateNew)
		c.follow(conn, http.StateActive)
		<-time.After(time.Minute)
		another, _ := net.Pipe()
		c.follow(another, http.StateNew)
		if !isOpen(t, client) || !c.full() {
			t.Error("a request under way was cut off for another one")
		}
	})
}
