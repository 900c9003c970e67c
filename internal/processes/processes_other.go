//go:build !linux

package processes

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Alive says whether a process is listed: one that has ended is, until its parent
// has asked how.
func Alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// GroupAlive says whether a process of a group is listed.
func GroupAlive(group int) bool { return Alive(-group) }

func childrenOf(pid int) (children []int) {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output() //nolint:gosec,noctx // a number; it ends at once
	if err != nil {
		return nil
	}
	for field := range strings.FieldsSeq(string(out)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}
