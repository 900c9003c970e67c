package processes_test

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"agentmeter/internal/processes"
)

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestAProcessThatHasEndedIsNotAliveThoughNobodyHasAsked(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), "cat")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	defer func() { _ = child.Wait() }()
	if !processes.Alive(pid) || !processes.GroupAlive(pid) {
		t.Error("a process that waits for its input is not alive")
	}
	if family := processes.WithChildren(os.Getpid()); family[0] != os.Getpid() || !slices.Contains(family[1:], pid) {
		t.Errorf("this process and its children: %v, without %d", family, pid)
	}
	eventually(t, "its program is in memory", func() bool { return processes.MemoryOf(pid).Files > 0 })
	if m := processes.MemoryOf(pid); m.Files > m.Resident || m.Peak < m.Resident {
		t.Errorf("it holds %+v", m)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool { return !processes.Alive(pid) })
	if err := syscall.Kill(-pid, 0); err != nil {
		t.Fatalf("it is not even listed: %v", err)
	}
	if processes.GroupAlive(pid) {
		t.Error("nothing is left in its group, and that is alive")
	}
	if m := processes.MemoryOf(pid); m != (processes.Memory{}) {
		t.Errorf("ended, it holds %+v", m)
	}
}

func TestAGroupOutlivesWhoBeganIt(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	// The shell ends at once, and leaves one that waits for the pipe's end.
	leader := exec.CommandContext(t.Context(), "sh", "-c", "cat <&3 & exit")
	leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leader.ExtraFiles = []*os.File{r}
	if err := leader.Run(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	group := leader.Process.Pid
	if processes.Alive(group) || !processes.GroupAlive(group) {
		t.Errorf("alive: the shell %t, its group %t", processes.Alive(group), processes.GroupAlive(group))
	}
	w.Close()
	eventually(t, "its group has ended", func() bool { return !processes.GroupAlive(group) })
}

func TestProcessorTimeGrowsWithWork(t *testing.T) {
	t.Parallel()
	own := os.Getpid()
	before := processes.ProcessorTime(own)
	eventually(t, "20 ms were used", func() bool { return processes.ProcessorTime(own) >= before+20*time.Millisecond })
	if one, two := processes.ProcessorTime(own), processes.ProcessorTime(own, own); two < 2*one {
		t.Errorf("%s for it, %s for it twice", one, two)
	}
}
