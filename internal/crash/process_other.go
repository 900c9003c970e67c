//go:build !linux

package crash

import (
	"errors"
	"os/exec"
	"syscall"
)

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func connected(int) (alive, known bool) { return false, false }

func resident(int) (int64, error) { return 0, errors.ErrUnsupported }

func descriptors(int) (int, error) { return 0, errors.ErrUnsupported }

func noDescriptors(int) (loose func() error, err error) {
	return func() error { return nil }, errors.ErrUnsupported
}
