// Package freeaddress finds loopback addresses for processes that tests start,
// stop and start again on the same one.
package freeaddress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// given are the addresses that were handed out: a process listens on its own only
// later, or is down at the moment, and another test would find it free.
var given sync.Map

// draws is how often an address is drawn. Of twenty thousand ports nearly all are free.
const draws = 1000

// Find returns an address of 127.0.0.1 that nobody listens on, drawn by intN (as
// rand.IntN). Its port is below those that the kernel gives to whoever connects or
// asks for any (from 32768), so that it stays free while its process is down. It
// returns none twice, and panics where none is free.
func Find(intN func(n int) int) string {
	err := errors.New("all that were drawn were given before")
	for range draws {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+intN(20_000))
		if _, taken := given.LoadOrStore(address, nil); taken {
			continue
		}
		var l net.Listener
		if l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", address); err == nil {
			_ = l.Close() // nothing was sent on it
			return address
		}
	}
	panic(fmt.Sprintf("no loopback address is free: %v", err))
}
