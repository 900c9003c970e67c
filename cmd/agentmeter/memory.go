package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	memoryInterval = 10 * time.Second
	// busyBytes is what is allocated in that time by a process that has more to
	// do than to look after itself.
	busyBytes = 128 << 20
)

// returnMemory gives memory back to the system when work has ended. By itself
// Go keeps what the busiest minute took for as long as little is allocated: no
// collection comes that would find out that it is not needed.
func returnMemory(ctx context.Context) {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(allocated)
	for last, busy := allocated[0].Value.Uint64(), false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		switch {
		case now-last >= busyBytes:
			busy = true
		case busy:
			debug.FreeOSMemory()
			busy = false
		}
		last = now
	}
}
