package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the kernel says about processes, in /proc.

const mebibyte = 1 << 20

// family is a process and its children.
func family(pid int) []int {
	all := []int{pid}
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, path := range tasks {
		content, _ := os.ReadFile(path) // a thread that has ended has none
		for field := range strings.FieldsSeq(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// lives says whether a process holds anything still: one that has ended does not,
// though it is listed until its parent, or who is in its place, has asked how.
func lives(pid int) bool {
	threads, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
	return slices.ContainsFunc(threads, func(path string) bool {
		content, _ := os.ReadFile(path) // gone: nothing
		_, state, found := strings.Cut(string(content), ") ")
		return found && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
	})
}

// resident is a process's resident memory in bytes, of which so much is files
// (programs and libraries above all) that the kernel may drop.
func resident(pid int) (all, files float64) {
	content, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status") // gone: nothing
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			all = kilobytes * 1024
		case "RssFile:":
			files = kilobytes * 1024
		}
	}
	return all, files
}

// processorSeconds is what the processes have used so far.
func processorSeconds(pids []int) (seconds float64) {
	const ticksASecond = 100
	for _, pid := range pids {
		content, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		text := string(content)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) < 13 {
			continue // it has ended
		}
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		seconds += (user + system) / ticksASecond
	}
	return seconds
}

// memoryWatch looks again and again at how much memory processes have.
type memoryWatch struct {
	peak  map[int]float64 // by process
	files map[int]float64 // at that peak
	sum   float64         // the highest sum
	stop  func()
}

func watchMemory(b *testing.B, pids ...int) *memoryWatch {
	b.Helper()
	m := &memoryWatch{peak: map[int]float64{}, files: map[int]float64{}}
	stop, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		sum := 0.0
		for _, pid := range pids {
			all, files := resident(pid)
			sum += all
			if all > m.peak[pid] {
				m.peak[pid], m.files[pid] = all, files
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
