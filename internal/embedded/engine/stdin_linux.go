package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

func takeStdin() (*os.File, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	own, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	stdin := os.NewFile(uintptr(own), "/dev/stdin")
	if err := unix.Dup3(int(null.Fd()), 0, 0); err != nil {
		_ = stdin.Close()
		return nil, os.NewSyscallError("dup3", err)
	}
	return stdin, nil
}
