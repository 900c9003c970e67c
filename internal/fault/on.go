//go:build faults

package fault

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Enabled says whether this build can strike at all.
const Enabled = true

// The environment of a process that strikes.
const (
	// PlanVariable holds the plan; see ParsePlan.
	PlanVariable = "AGENTMETER_FAULTS"
	// LogVariable names a file to which the process appends a line for each
	// point that it reaches for the first time ("reached POINT"), and for each
	// strike before it falls ("struck POINT ACTION").
	LogVariable = "AGENTMETER_FAULT_LOG"
	// VariantVariable names the weakened protocol.
	VariantVariable = "AGENTMETER_VARIANT"
)

var state = struct {
	sync.Mutex
	plan    []Strike
	hits    map[string]int
	log     *os.File
	variant string
}{hits: map[string]int{}}

func init() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "agentmeter: faults:", err)
		os.Exit(2)
	}
	var err error
	if state.plan, err = ParsePlan(os.Getenv(PlanVariable)); err != nil {
		fail(err)
	}
	if name := os.Getenv(LogVariable); name != "" {
		if state.log, err = os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			fail(err)
		}
	}
	state.variant = os.Getenv(VariantVariable)
	if state.variant != "" && !slices.Contains(Variants, state.variant) {
		fail(fmt.Errorf("%s: unknown protocol %q", VariantVariable, state.variant))
	}
}

// Is reports whether the named weakened protocol is selected.
func Is(variant string) bool { return state.variant == variant }

// Point strikes if the plan says so for this visit.
func Point(name string) {
	state.Lock()
	state.hits[name]++
	visit := state.hits[name]
	if visit == 1 {
		note("reached " + name)
	}
	var due []Strike
	for _, strike := range state.plan {
		if strike.Point == name && strike.Visit == visit {
			due = append(due, strike)
		}
	}
	state.Unlock()
	for _, strike := range due {
		if strike.Delay > 0 && strike.Action != ActionWait {
			time.AfterFunc(strike.Delay, func() { carryOut(strike) })
		} else {
			carryOut(strike)
		}
	}
}

// stopTakes is for how long, at most, a thread runs on after a SIGSTOP that
// the kernel has given to another one.
const stopTakes = 20 * time.Millisecond

func carryOut(strike Strike) {
	note("struck " + strike.Point + " " + strike.Action)
	switch strike.Action {
	case ActionKill:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // not a step further
	case ActionStop:
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(stopTakes) // not a step further before all threads stand still
	case ActionWait:
		time.Sleep(strike.Delay)
	}
}

func note(line string) {
	if state.log != nil {
		_, _ = state.log.WriteString(line + "\n") // one write, so that lines of several processes do not mix
	}
}
