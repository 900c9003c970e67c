package e2e

import (
	"testing"
	"time"

	"agentmeter/internal/processes"
)

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// memoryWatch looks again and again at how much memory processes have.
type memoryWatch struct {
	peak  map[int]int64 // by process, in bytes
	files map[int]int64 // at that peak
	sum   int64         // the highest sum
	stop  func()
}

func watchMemory(b *testing.B, pids ...int) *memoryWatch {
	b.Helper()
	m := &memoryWatch{peak: map[int]int64{}, files: map[int]int64{}}
	stop, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		sum := int64(0)
		for _, pid := range pids {
			now := processes.MemoryOf(pid)
			sum += now.Resident
			if now.Resident > m.peak[pid] {
				m.peak[pid], m.files[pid] = now.Resident, now.Files
			}
		}
		m.sum = max(m.sum, sum)
	}
	look()
	if m.sum == 0 {
		b.Skip("SKIPPED: the system does not say how much memory a process has")
	}
	go func() {
		defer close(ended)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				look()
			case <-stop:
				look()
				return
			}
		}
	}()
	m.stop = func() {
		close(stop)
		<-ended
	}
	return m
}
