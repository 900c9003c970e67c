package engine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newMemoryBody makes a file that lives in memory and in no directory.
func newMemoryBody(string) (*body, error) {
	fd, err := unix.MemfdCreate("agentmeter-insert", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return fdBody(fd), nil
}

// newDiskBody makes a file on dir's file system without a name.
func newDiskBody(dir string) (*body, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return namedBody(dir) // not every file system can do without
	}
	return fdBody(fd), nil
}

func fdBody(fd int) *body {
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	return &body{file: os.NewFile(uintptr(fd), path), path: path}
}

func namedBody(dir string) (*body, error) {
	file, err := os.CreateTemp(dir, "insert-*.tmp")
	if err != nil {
		return nil, err
	}
	// The descriptor's path works without the name, which can't be left behind.
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &body{file: file, path: fmt.Sprintf("/proc/self/fd/%d", file.Fd())}, nil
}

func (b *body) close() { _ = b.file.Close() }
