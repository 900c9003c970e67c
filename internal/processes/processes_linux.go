package processes

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Alive says whether a process holds anything still: files, addresses, memory. One that
// has ended does not, though it is listed until its parent, or who is in its place, has
// asked how.
func Alive(pid int) bool {
	threads, _ := filepath.Glob(file(pid, "task/*/stat"))
	return slices.ContainsFunc(threads, func(path string) bool {
		fields := statOf(path)
		return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
	})
}

// GroupAlive says whether a process of a group is alive.
func GroupAlive(group int) bool {
	if errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) {
		return false
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	return slices.ContainsFunc(all, func(path string) bool {
		fields := statOf(path + "/stat")
		if len(fields) < 3 || fields[2] != strconv.Itoa(group) {
			return false
		}
		pid, err := strconv.Atoi(filepath.Base(path))
		return err == nil && Alive(pid)
	})
}

func childrenOf(pid int) (children []int) {
	threads, _ := filepath.Glob(file(pid, "task/*/children"))
	for _, path := range threads {
		content, _ := os.ReadFile(path) // a thread that has ended has none
		for field := range strings.FieldsSeq(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}
