// Package processes says what becomes of processes that tests, benchmarks and the
// crash harness start: their children, whether they are gone, what they use.
//
// In: a process id. Out: what the system tells at that moment. Memory and time are 0
// where there is no such process, and where there is no /proc to read.
package processes

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// WithChildren is a process and its children, the process first.
func WithChildren(pid int) []int { return append([]int{pid}, childrenOf(pid)...) }

// Memory is what a process holds, in bytes.
type Memory struct {
	Resident int64 // now
	Files    int64 // of Resident: programs and libraries above all, which the kernel may drop
	Peak     int64 // the most that was ever resident
}

// MemoryOf is what a process holds.
func MemoryOf(pid int) (m Memory) {
	content, _ := os.ReadFile(file(pid, "status"))
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &m.Resident
		case "RssFile":
			to = &m.Files
		case "VmHWM":
			to = &m.Peak
		default:
			continue
		}
		if kibibytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64); err == nil {
			*to = kibibytes << 10
		}
	}
	return m
}

// ProcessorTime is what processes have used of the processors so far, those of their
// children that have ended not included.
func ProcessorTime(pids ...int) (used time.Duration) {
	const tick = 10 * time.Millisecond // of every Linux that Go runs on
	for _, pid := range pids {
		fields := statOf(file(pid, "stat"))
		if len(fields) < 13 {
			continue
		}
		for _, field := range fields[11:13] { // as user, as system
			ticks, _ := strconv.ParseInt(field, 10, 64)
			used += time.Duration(ticks) * tick
		}
	}
	return used
}

// statOf are the fields of a stat file after the name, the state first.
func statOf(path string) []string {
	content, _ := os.ReadFile(path)
	end := bytes.LastIndexByte(content, ')') // a name may hold anything
	return strings.Fields(string(content[end+1:]))
}

func file(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
