//go:build !linux

package crash

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func childrenOf(pid int) []int {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output() //nolint:gosec,noctx // a number; it ends at once
	if err != nil {
		return nil
	}
	var children []int
	for field := range strings.FieldsSeq(string(out)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}

func connected(int) (alive, known bool) { return false, false }

func resident(int) (int64, error) { return 0, errors.ErrUnsupported }

func descriptors(int) (int, error) { return 0, errors.ErrUnsupported }

func noDescriptors(int) (loose func() error, err error) {
	return func() error { return nil }, errors.ErrUnsupported
}
