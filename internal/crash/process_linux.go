package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"agentmeter/internal/processes"
)

// dieWithParent makes the kernel kill the process when the thread that
// started it ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// connected tells whether a process still holds a connection from that local
// TCP port; known is false where the system does not say.
func connected(port int) (alive, known bool) {
	suffix := ":" + strings.ToUpper(strconv.FormatInt(int64(port)+0x10000, 16)[1:])
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		content, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		known = true
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			const established = "01"
			if len(fields) > 3 && strings.HasSuffix(fields[1], suffix) && fields[3] == established {
				return true, true
			}
		}
	}
	return false, known
}

// resident is the resident memory of a process and its children, in bytes.
func resident(pid int) (total int64, err error) {
	for _, each := range processes.WithChildren(pid) {
		total += processes.MemoryOf(each).Resident
	}
	return total, nil
}

// descriptors is how many files a process and its children have open.
func descriptors(pid int) (int, error) {
	total := 0
	for _, each := range processes.WithChildren(pid) {
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(each) + "/fd")
		if err != nil {
			continue // it has just ended
		}
		total += len(entries)
	}
	return total, nil
}

// noDescriptors lets a process and its children open no further file until loose
// is called.
func noDescriptors(pid int) (loose func() error, err error) {
	var undo []func() error
	loose = func() error {
		var faults []error
		for _, each := range undo {
			faults = append(faults, each())
		}
		return errors.Join(faults...)
	}
	for _, each := range processes.WithChildren(pid) {
		var usual unix.Rlimit
		if err := unix.Prlimit(each, unix.RLIMIT_NOFILE, nil, &usual); err != nil {
			return loose, err
		}
		tight := unix.Rlimit{Max: usual.Max}
		for { // up to the one that it would get next
			if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", each, tight.Cur)); errors.Is(err, fs.ErrNotExist) {
				break
			} else if err != nil {
				return loose, err
			}
			tight.Cur++
		}
		undo = append(undo, func() error { return unix.Prlimit(each, unix.RLIMIT_NOFILE, &usual, nil) })
		if err := unix.Prlimit(each, unix.RLIMIT_NOFILE, &tight, nil); err != nil {
			return loose, err
		}
	}
	return loose, nil
}
