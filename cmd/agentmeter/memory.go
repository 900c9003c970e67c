package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
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

// memoryLimitFile is where Linux says how much memory a container may take.
const memoryLimitFile = "/sys/fs/cgroup/memory.max"

// limitMemory has Go collect, rather than be killed, where a container's memory is
// about to run out, unless whoever runs it has set GOMEMLIMIT. A tenth is left for
// what is not Go's.
func limitMemory(file string) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return // there is no container
	}
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 { // else it is "max"
		debug.SetMemoryLimit(limit / 10 * 9)
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
