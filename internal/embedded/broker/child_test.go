package broker_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"agentmeter/internal/embedded/broker"
)

const childVariable = "AGENTMETER_BROKERTEST_DIR"

// runChild makes this test binary a broker on the directory that the variable
// names, until its standard input ends or it is killed.
func runChild() {
	dir := os.Getenv(childVariable)
	if dir == "" {
		return
	}
	b, err := broker.Open(broker.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(b.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := b.Close(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a broker in a process of its own.
type child struct {
	addr  string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startChild(t testing.TB, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, stdin: stdin}
	t.Cleanup(func() { c.kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("broker process: %q, %v", line, err)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

// kill ends the broker with SIGKILL and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may be gone
	_ = c.cmd.Wait()
}

// stop ends the broker in an orderly way.
func (c *child) stop(t testing.TB) {
	t.Helper()
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("broker process: %v", err)
	}
}
