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

func TestAProcessThatHasEndedIsNotAliveThoughNobodyHasAsked(t *testing.T) {
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
	for processes.MemoryOf(pid).Files == 0 { // it has its program
		runtime.Gosched()
	}
	if m := processes.MemoryOf(pid); m.Files > m.Resident || m.Peak < m.Resident {
		t.Errorf("it holds %+v", m)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for processes.Alive(pid) {
		runtime.Gosched()
	}
	if err := syscall.Kill(-pid, 0); err != nil {
		t.Fatalf("it is not even listed: %v", err)
	}
	if processes.GroupAlive(pid) {
		t.Error("nothing is left in its group, and that is alive")
	}
	if !processes.GroupAlive(syscall.Getpgrp()) {
		t.Error("this group is not alive")
	}
	if m := processes.MemoryOf(pid); m != (processes.Memory{}) {
		t.Errorf("ended, it holds %+v", m)
	}
}

func TestProcessorTimeGrowsWithWork(t *testing.T) {
	own := os.Getpid()
	for before := processes.ProcessorTime(own); processes.ProcessorTime(own) < before+20*time.Millisecond; {
		runtime.Gosched()
	}
	if one, two := processes.ProcessorTime(own), processes.ProcessorTime(own, own); two < 2*one {
		t.Errorf("%s for it, %s for it twice", one, two)
	}
}
