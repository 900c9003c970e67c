package fault

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a strike does to its process.
const (
	ActionKill = "kill" // SIGKILL, after the delay
	ActionStop = "stop" // SIGSTOP, after the delay; whoever wrote the plan sends SIGCONT
	ActionWait = "wait" // the step itself waits for the delay
)

// Strike is one line of a plan: at the Visit-th visit of Point, carry out
// Action, Delay later.
type Strike struct {
	Point  string
	Visit  int // from 1
	Action string
	Delay  time.Duration
}

// String is the strike as ParsePlan reads it.
func (s Strike) String() string {
	text := s.Point + "=" + s.Action
	if s.Delay > 0 {
		text += "+" + s.Delay.String()
	}
	if s.Visit != 1 {
		text += "@" + strconv.Itoa(s.Visit)
	}
	return text
}

// ParsePlan reads strikes separated by commas, each point=action, optionally
// followed by +delay and by @visit: "engine.statement.running=kill+3ms@5".
func ParsePlan(text string) ([]Strike, error) {
	var plan []Strike
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		point, rest, found := strings.Cut(part, "=")
		if !found || !slices.Contains(Points, point) {
			return nil, fmt.Errorf("plan: %q: unknown point %q", part, point)
		}
		strike := Strike{Point: point, Visit: 1}
		rest, visit, found := strings.Cut(rest, "@")
		if found {
			n, err := strconv.Atoi(visit)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("plan: %q: visit %q is not a number from 1", part, visit)
			}
			strike.Visit = n
		}
		action, delay, found := strings.Cut(rest, "+")
		if found {
			d, err := time.ParseDuration(delay)
			if err != nil || d < 0 {
				return nil, fmt.Errorf("plan: %q: delay %q: give one such as 3ms", part, delay)
			}
			strike.Delay = d
		}
		if !slices.Contains([]string{ActionKill, ActionStop, ActionWait}, action) {
			return nil, fmt.Errorf("plan: %q: unknown action %q", part, action)
		}
		strike.Action = action
		plan = append(plan, strike)
	}
	return plan, nil
}
