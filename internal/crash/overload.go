package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"agentmeter/internal/pause"
	"agentmeter/schemas"
)

// OverloadConfig says how a run with more load than can be served goes.
type OverloadConfig struct {
	Setup
	// Overload is how long each role is overloaded, and Quiet how long each of the
	// measurements that it is compared with lasts.
	Overload, Quiet time.Duration
	// Times is how many times as much comes in as is done.
	Times float64
	// Connections is how many the load has at most.
	Connections int
	// JudgeTimes makes times that miss their goal a failure, too, and not only
	// counts and memory.
	JudgeTimes bool
	// Out gets progress lines.
	Out io.Writer
}

// DefaultOverloadConfig is a run of about a quarter of an hour. Its connections are
// more than a role lets wait, and fewer than it keeps.
func DefaultOverloadConfig() OverloadConfig {
	return OverloadConfig{Overload: 5 * time.Minute, Quiet: time.Minute, Times: 3, Connections: 1536, JudgeTimes: true, Out: os.Stderr}
}

// Validate reports everything that is wrong with the configuration.
func (c OverloadConfig) Validate() error {
	faults := []error{c.validate()}
	if c.Overload <= 0 || c.Quiet <= 0 {
		faults = append(faults, fmt.Errorf("crash: overload for %s, quiet for %s: give positive times", c.Overload, c.Quiet))
	}
	if c.Times <= 0 {
		faults = append(faults, fmt.Errorf("crash: %g times the capacity: give a positive number", c.Times))
	}
	if c.Connections < 1 {
		faults = append(faults, fmt.Errorf("crash: %d connections: give a positive number", c.Connections))
	}
	return errors.Join(faults...)
}

// Finding is something that a run measured.
type Finding struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Goal is what is required; empty: nothing is.
	Goal string `json:"goal,omitempty"`
	Met  bool   `json:"met"`
	// Timed findings depend on the machine.
	Timed bool `json:"timed"`
}

// OverloadReport is what a run found.
type OverloadReport struct {
	Seed     uint64      `json:"seed"`
	Findings []Finding   `json:"findings"`
	Compared *comparison `json:"compared"`

	judgeTimes bool
}

// Right reports whether every goal is met.
func (r *OverloadReport) Right() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return !f.Met && (r.judgeTimes || !f.Timed) })
}

// WriteTable writes the findings for a terminal.
func (r *OverloadReport) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range r.Findings {
		state := "ok"
		switch {
		case f.Goal == "":
			state = ""
		case !f.Met && f.Timed && !r.judgeTimes:
			state = "missed, not judged"
		case !f.Met:
			state = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", state, f.Name, f.Value, f.Goal)
	}
	if r.Compared != nil {
		for _, note := range r.Compared.Notes {
			fmt.Fprintln(table, "wrong:", note)
		}
	}
	return table.Flush()
}

const (
	eventsOfBatch = 100
	quietRate     = 5 // requests a second, of each workspace that does not flood
	floodTimes    = 100
	// recoverWithin is how long after the load it may take until all is as before.
	recoverWithin = 10 * time.Second
)

// overload is a run under way.
type overload struct {
	*load
	judge  *judge // of what needs no list of single events
	config OverloadConfig
	report *OverloadReport
	watch  watch
	random *rand.Rand
	began  time.Time
	// Workspaces: those that overload together, those that are quiet, and the one
	// that floods.
	senders, quiet []schemas.WorkspaceID
	flood          schemas.WorkspaceID
}

func (o *overload) say(format string, args ...any) {
	fmt.Fprintf(o.config.Out, "overload: %s "+format+"\n", append([]any{time.Since(o.began).Round(time.Second)}, args...)...)
}

// note reports a figure of which nothing is required.
func (o *overload) note(name, format string, args ...any) {
	o.report.Findings = append(o.report.Findings, Finding{Name: name, Value: fmt.Sprintf(format, args...), Met: true})
}

// require reports a figure, and whether it is as it has to be.
func (o *overload) require(name string, met bool, goal, format string, args ...any) {
	o.report.Findings = append(o.report.Findings, Finding{Name: name, Value: fmt.Sprintf(format, args...), Goal: goal, Met: met})
}

// requireTimed is require of what depends on the machine.
func (o *overload) requireTimed(name string, met bool, goal, format string, args ...any) {
	o.require(name, met, goal, format, args...)
	o.report.Findings[len(o.report.Findings)-1].Timed = true
}

func (o *overload) requireAnswers(what string, t *tally) {
	n, example := t.astray()
	o.require(what+": what is not done gets 429 or 503, and Retry-After", n == 0, "all", "%d of %d do not: %s", n, len(t.all), example)
}

// Overload brings more to a whole stack than it can do, and compares what it has
// counted with what it has accepted. An error means that the run could not be
// carried out.
func Overload(ctx context.Context, config OverloadConfig) (*OverloadReport, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(config.Seed, 0)) //nolint:gosec // reproducible on purpose
	s, err := startStack(ctx, stackConfig{
		binary: config.Binary, dir: config.Dir, rollups: 1, partitions: 2,
		blockRows: 50_000, linger: 200 * time.Millisecond, limit: time.Minute, drain: 10 * time.Second, hotIDs: 20_000_000,
		// As many questions at once as there are cores to answer them.
		asking: []string{"--query-concurrency", strconv.Itoa(runtime.NumCPU())},
		random: random,
	})
	if err != nil {
		return nil, err
	}
	defer s.close()
	o := &overload{
		load: newLoad(s, config.Connections), judge: newJudge(s, newBook()), config: config, random: random, began: time.Now(),
		report:  &OverloadReport{Seed: config.Seed, judgeTimes: config.JudgeTimes},
		senders: []schemas.WorkspaceID{"ws_1", "ws_2", "ws_3", "ws_4"}, quiet: []schemas.WorkspaceID{"ws_q1", "ws_q2", "ws_q3"}, flood: "ws_flood",
	}
	defer o.client.CloseIdleConnections()
	if err := o.mint(ctx, filepath.Join(s.dir, "access.key"), slices.Concat(o.senders, o.quiet, []schemas.WorkspaceID{o.flood})...); err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go o.watch.run(watching, s.processes())
	for _, phase := range []func(context.Context) error{o.ingestOverload, o.ingestFairness, o.queryOverload, o.queryFairness, o.account} {
		if err := errors.Join(phase(ctx), context.Cause(ctx)); err != nil {
			return o.report, err
		}
	}
	return o.report, nil
}

// inTurn does something for whoever's turn it is.
func inTurn(workspaces []schemas.WorkspaceID, do func(context.Context, schemas.WorkspaceID) outcome) func(context.Context) outcome {
	var turn atomic.Uint64
	return func(ctx context.Context) outcome {
		return do(ctx, workspaces[turn.Add(1)%uint64(len(workspaces))])
	}
}

// send sends a batch of whoever's turn it is.
func (o *overload) send(workspaces ...schemas.WorkspaceID) func(context.Context) outcome {
	return inTurn(workspaces, func(ctx context.Context, workspace schemas.WorkspaceID) outcome {
		return o.post(ctx, workspace, eventsOfBatch)
	})
}

// capacity is how many requests a second are done by as many workers as are of
// use: twice as many get hardly more done.
func (o *overload) capacity(ctx context.Context, what string, do func(context.Context) outcome) float64 {
	best := 0.0
	for workers := 8; workers <= 512 && ctx.Err() == nil; workers *= 2 {
		t := o.closedLoop(ctx, workers, o.config.Quiet/6, do)
		rate := float64(len(t.done())) / t.ended.Sub(t.began).Seconds()
		o.say("%s, by %d workers: %.0f requests a second; %s", what, workers, rate, t)
		if workers >= 64 && rate < 1.1*best {
			break
		}
		best = max(best, rate)
	}
	return best
}

// role is what is overloaded: a request of it, its route, and the time that 99 of a
// hundred of those that are done may take.
type role struct {
	name, route string
	bound       time.Duration
	do          func(context.Context) outcome
}

// exceed brings so many times its capacity to a role, and requires that answers,
// the p99 of what is done, memory and recovery are as they have to be. It returns
// when the load ended.
func (o *overload) exceed(ctx context.Context, r role) (time.Time, error) {
	rate := o.config.Times * o.capacity(ctx, r.name, r.do)
	calm := o.openLoop(ctx, o.random, quietRate, o.config.Quiet/3, r.do)
	var t *tally
	p99, err := o.serverP99(ctx, r.name, r.route, func() { t = o.openLoop(ctx, o.random, rate, o.config.Overload, r.do) })
	if err != nil {
		return time.Time{}, err
	}
	o.say("%s, %.0f requests a second: %s", r.name, rate, t)
	o.note(r.name+": load", "%.0f requests a second, %g times what is done, for %s; %d of %d were sent", rate, o.config.Times, o.config.Overload, len(t.all), len(t.all)+t.unsent)
	o.requireAnswers(r.name, t)
	o.requireTimed(r.name+": p99 of what is done", t.p99() <= r.bound && len(t.done()) > 0, "≤ "+r.bound.String(), "%s, of %d; of all, by its own histogram, %s", t.p99().Round(time.Millisecond), len(t.done()), p99)
	o.requireFlat(r.name, t.began, t.ended)
	o.requireRecovery(ctx, r, t.ended, calm.p99())
	return t.ended, nil
}

// requireFlat requires that no process takes up much more memory in the last third
// of a load than in the one before.
func (o *overload) requireFlat(what string, from, to time.Time) {
	const slack = 64 << 20
	third := to.Sub(from) / 3
	names := o.watch.names()
	if len(names) == 0 {
		o.note(what+": memory", "not measured, this system does not tell")
	}
	for _, name := range names {
		before, _ := o.watch.most(name, from.Add(third), from.Add(2*third))
		after, files := o.watch.most(name, from.Add(2*third), to.Add(time.Second))
		o.require(what+": memory of "+name, after <= before+before/5+slack, "flat", "%d MiB, then %d MiB; %d descriptors", before>>20, after>>20, files)
	}
}

// requireRecovery waits until ten requests in a row are done in about the time that
// they took before.
func (o *overload) requireRecovery(ctx context.Context, r role, end time.Time, usual time.Duration) {
	const wanted = 10
	limit := max(2*usual, 100*time.Millisecond)
	inRow := 0
	var since time.Time // when the first in a row began
	for inRow < wanted && time.Since(end) < 3*recoverWithin && ctx.Err() == nil {
		began := time.Now()
		if !r.do(ctx).done() || time.Since(began) > limit {
			inRow = 0
			continue
		}
		if inRow == 0 {
			since = began
		}
		inRow++
	}
	value := fmt.Sprintf("not in %s", 3*recoverWithin)
	if inRow == wanted {
		value = "after " + since.Sub(end).Round(time.Millisecond).String()
	}
	o.requireTimed(fmt.Sprintf("%s: %d requests in a row within %s, after the load's end", r.name, wanted, limit.Round(time.Millisecond)),
		inRow == wanted && since.Sub(end) <= recoverWithin, "≤ "+recoverWithin.String(), "%s", value)
}

func (o *overload) ingestOverload(ctx context.Context) error {
	// A second in line, and a batch.
	end, err := o.exceed(ctx, role{name: "ingest", route: "POST /v1/events", bound: 3 * time.Second, do: o.send(o.senders...)})
	if err != nil {
		return err
	}
	if err := o.judge.waitCounted(ctx); err != nil {
		return err
	}
	o.note("ingest: everything in Kafka is counted", "%s after the load's end", time.Since(end).Round(100*time.Millisecond))
	return nil
}

func (o *overload) queryOverload(ctx context.Context) error {
	// Two seconds in line, and an answer.
	_, err := o.exceed(ctx, role{name: "query", route: "GET /v1/usage/dashboard", bound: 4 * time.Second, do: inTurn(o.senders, o.ask)})
	return err
}

// fairness compares how a few fare alone, and beside a flood.
func (o *overload) fairness(ctx context.Context, what string, few, flood func(context.Context) outcome) {
	rate := float64(quietRate * len(o.quiet))
	o.openLoop(ctx, o.random, rate, o.config.Quiet/6, few) // warms up
	alone := o.openLoop(ctx, o.random, rate, o.config.Quiet, few)
	random := rand.New(rand.NewPCG(o.config.Seed, 1)) //nolint:gosec // reproducible on purpose
	flooded := make(chan *tally, 1)
	// It begins before those that are compared, and ends after them.
	go func() { flooded <- o.openLoop(ctx, random, quietRate*floodTimes, o.config.Quiet+2*time.Second, flood) }()
	pause.For(ctx, time.Second)
	beside := o.openLoop(ctx, o.random, rate, o.config.Quiet, few)
	floods := <-flooded
	o.say("%s, alone: %s", what, alone)
	o.say("%s, beside a flood: %s", what, beside)
	o.say("%s, the flood: %s", what, floods)
	o.requireAnswers(what+", the flood", floods)
	o.require(what+": others refused beside a flood", len(beside.done()) == len(beside.all), "none", "%d of %d", len(beside.all)-len(beside.done()), len(beside.all))
	o.requireTimed(fmt.Sprintf("%s: p99 of the others beside a flood of %d times their rate", what, floodTimes), beside.p99() <= 2*alone.p99(), "≤ twice the quiet one",
		"%s, quiet %s; the flood's own %s", beside.p99().Round(100*time.Microsecond), alone.p99().Round(100*time.Microsecond), floods.p99().Round(100*time.Microsecond))
}

func (o *overload) ingestFairness(ctx context.Context) error {
	// They have machines of their own where there are floods, and would be measured
	// here for what they take of the processors.
	others := append([]*process{o.stack.engine}, o.stack.rollups...)
	for _, p := range others {
		p.signal(syscall.SIGSTOP)
	}
	o.fairness(ctx, "ingest", o.send(o.quiet...), o.send(o.flood))
	for _, p := range others {
		p.signal(syscall.SIGCONT)
	}
	return o.judge.waitCounted(ctx)
}

func (o *overload) queryFairness(ctx context.Context) error {
	o.fairness(ctx, "query", inTurn(o.quiet, o.ask), inTurn([]schemas.WorkspaceID{o.flood}, o.ask))
	return nil
}

// account holds what is counted to what was answered.
func (o *overload) account(ctx context.Context) error {
	if err := o.judge.waitCounted(ctx); err != nil {
		return err
	}
	c, err := o.compare(ctx)
	if err != nil {
		return err
	}
	o.report.Compared = c
	o.require("accepted requests are counted, each event once and with its credits", c.Lost+c.Doubled+c.Wrong == 0, "all",
		"%d requests, %d events: lost %d, doubled %d, requests with wrong sums %d", c.Accepted, c.Events, c.Lost, c.Doubled, c.Wrong)
	o.require("refused requests are not counted", c.Leaked == 0, "none", "%d requests: %d events", c.Refused, c.Leaked)
	o.note("requests of unknown fate", "%d", c.Unknown)
	var v Verdict
	if err := o.judge.audit(ctx, &v); err != nil {
		return err
	}
	c.Notes = append(c.Notes, v.Notes...)
	o.require("agentmeter audit", v.AuditFindings == 0, "exact", "%d findings", v.AuditFindings)
	return nil
}
