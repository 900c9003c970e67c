package main

import (
	"context"
	"os"
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

// rollupGrowth is by how many percent of what a rollup holds its heap may grow before
// it is collected. Nearly all of what it holds are a few large blocks, which are cheap
// to go over, so that less than half of Go's own measure saves more memory than it costs time.
const rollupGrowth = 40

// collectEarly keeps a rollup's heap small, unless whoever runs it has set GOGC.
func collectEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(rollupGrowth)
	}
}

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
