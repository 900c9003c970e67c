package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"agentmeter/internal/fault"
	"agentmeter/internal/pause"
	"agentmeter/internal/processes"
)

// process is one role of the product: started, killed and started again under
// one name, on the same addresses.
type process struct {
	name   string
	binary string
	args   []string
	env    []string // beyond the environment of the harness
	next   []string // of the next life alone
	dir    string   // for logs

	mu    sync.Mutex // guards what follows
	life  *life
	lives int
}

// life is one run of a process.
type life struct {
	number   int
	cmd      *exec.Cmd
	plan     []fault.Strike
	faultLog string
	ended    chan struct{}
	err      error // of Wait, once ended is closed
	expected bool  // somebody asked for its end; guarded by process.mu
}

// starter runs on one thread for as long as the harness lives, because the
// kernel ends a child with the thread that started it.
var starter = sync.OnceValue(func() chan<- func() {
	orders := make(chan func())
	go func() {
		runtime.LockOSThread()
		for order := range orders {
			order()
		}
	}()
	return orders
})

// lifeLine begins the line that each life begins in its log.
const lifeLine = "=== life"

// start begins a new life, which obeys the plan.
func (p *process) start(plan ...fault.Strike) (*life, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lives++
	l := &life{number: p.lives, plan: plan, ended: make(chan struct{}), faultLog: filepath.Join(p.dir, fmt.Sprintf("%s-%d.faults", p.name, p.lives))}
	log, err := os.OpenFile(filepath.Join(p.dir, p.name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()
	texts := make([]string, len(plan))
	for i, strike := range plan {
		texts[i] = strike.String()
	}
	fmt.Fprintf(log, lifeLine+" %d at %s, plan %q\n", l.number, time.Now().UTC().Format(time.RFC3339Nano), strings.Join(texts, ","))
	l.cmd = exec.Command(p.binary, p.args...) //nolint:gosec,noctx // the product under test, ended by kill
	l.cmd.Stdout, l.cmd.Stderr = log, log
	l.cmd.Env = append(append(append(os.Environ(), p.env...), p.next...),
		"AGENTMETER_FAULTS="+strings.Join(texts, ","), "AGENTMETER_FAULT_LOG="+l.faultLog)
	p.next = nil
	dieWithParent(l.cmd)
	started := make(chan error, 1)
	starter() <- func() { started <- l.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		l.err = l.cmd.Wait()
		close(l.ended)
	}()
	p.life = l
	return l, nil
}

// current is the process's present or last life, or nil.
func (p *process) current() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// expect notes that the end of the present life is asked for.
func (p *process) expect() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil {
		p.life.expected = true
	}
	return p.life
}

func (p *process) wasExpected(l *life) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.expected
}

// kill ends the process and its children as kill -9 does, and waits until they
// are gone.
func (p *process) kill() {
	l := p.expect()
	if l == nil {
		return
	}
	_ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL) // it may be gone already
	<-l.ended
	// A child may hold the listener for a moment longer.
	gone, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for processes.GroupAlive(l.cmd.Process.Pid) {
		if !pause.For(gone, 2*time.Millisecond) {
			return
		}
	}
}

// killChild kills a child of the process (the engine behind its supervisor)
// and reports whether there was one.
func (p *process) killChild() bool {
	l := p.current()
	if l == nil || l.over() {
		return false
	}
	killed := false
	for _, child := range processes.WithChildren(l.cmd.Process.Pid)[1:] {
		killed = syscall.Kill(child, syscall.SIGKILL) == nil || killed
	}
	return killed
}

// signal sends sig to the process and its children.
func (p *process) signal(sig syscall.Signal) {
	if l := p.current(); l != nil && !l.over() {
		_ = syscall.Kill(-l.cmd.Process.Pid, sig) // it may have ended just now
	}
}

// term asks the process to drain, and kills it where it has not ended by the
// end of ctx. The error says that it did not end as it should.
func (p *process) term(ctx context.Context) error {
	l := p.expect()
	if l == nil || l.over() {
		return nil
	}
	_ = syscall.Kill(l.cmd.Process.Pid, syscall.SIGTERM) // it may have ended just now
	select {
	case <-l.ended:
		if l.err != nil {
			return fmt.Errorf("%s after SIGTERM: %w", p.name, l.err)
		}
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s: %w", p.name, errors.New("did not end after SIGTERM"))
	}
}

func (l *life) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// marks are the lines that the life has written to its fault log.
func (l *life) marks() []mark {
	content, err := os.ReadFile(l.faultLog)
	if err != nil {
		return nil // nothing was reached yet
	}
	var marks []mark
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "reached":
			marks = append(marks, mark{point: fields[1]})
		case len(fields) == 3 && fields[0] == "struck":
			marks = append(marks, mark{point: fields[1], action: fields[2]})
		}
	}
	return marks
}

// mark is a point that was reached, or struck with an action.
type mark struct{ point, action string }

// strikes counts the life's strikes so far.
func (l *life) strikes() int {
	n := 0
	for _, m := range l.marks() {
		if m.action != "" {
			n++
		}
	}
	return n
}

// waitStruck waits until the life has struck n times and reports whether it
// has.
func (l *life) waitStruck(ctx context.Context, n int) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if l.strikes() >= n {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
		if l.over() {
			return l.strikes() >= n
		}
	}
}
