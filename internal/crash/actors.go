package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"agentmeter/internal/fault"
	"agentmeter/internal/pause"
)

// actor torments one process: again and again it starts it, with a plan or
// without, and sees to its end.
type actor struct {
	run     *run
	process *process
	role    string
	random  *rand.Rand
	// wait is how long a life without a plan lasts about.
	wait time.Duration
	// selfEnded is how many lives in a row ended without anybody's doing.
	selfEnded int
	serial    int
	// patience is how long a plan may take to strike.
	patience time.Duration
}

func (r *run) actors() []*actor {
	s := r.stack
	list := []*actor{
		{process: s.engine, role: "engine", wait: time.Second, patience: 6 * time.Second},
		{process: s.ingest, role: "ingest", wait: 10 * time.Second, patience: 10 * time.Second},
		{process: s.broker, role: "broker", wait: 20 * time.Second, patience: 30 * time.Second},
		{process: s.query, role: "query", wait: 15 * time.Second},
	}
	for _, p := range s.rollups {
		list = append(list, &actor{process: p, role: "rollup", wait: time.Second, patience: 10 * time.Second})
	}
	for i, a := range list {
		a.run, a.random = r, r.rand(uint64(10+i))
	}
	return list
}

// torment goes on until ctx ends. It leaves the process as it is.
func (a *actor) torment(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := a.life(ctx); err != nil {
			return err
		}
		if a.selfEnded > 20 {
			return fmt.Errorf("crash: %s does not stay up; see its log", a.process.name)
		}
	}
	return nil
}

// life is one life of the process: the plan is made first, from the seed alone.
func (a *actor) life(ctx context.Context) error {
	plan := a.plan()
	a.run.note(a.process)
	if l := a.process.current(); l != nil && !l.over() {
		// The life before ended the round; a plan needs a new one.
		a.kill("to begin anew")
	}
	if plan.alone {
		a.process.next = []string{fmt.Sprintf("AGENTMETER_ROLLUP_GROUP=crash-%s-%d", a.process.name, a.serial)}
		a.serial++
		a.run.report.alone()
	}
	l, err := a.process.start(plan.strikes...)
	if err != nil {
		return err
	}
	defer a.run.note(a.process)
	switch {
	case len(plan.strikes) > 0:
		a.struck(ctx, l, plan)
	case plan.child:
		a.children(ctx, l, plan)
	default:
		a.untold(ctx, l, plan)
	}
	if !plan.alone {
		a.aftermath(ctx)
	}
	return nil
}

// lifePlan is how a life is to end.
type lifePlan struct {
	strikes []fault.Strike
	after   time.Duration // until what happens without a strike
	stop    time.Duration // how long the process stands still, if it does
	term    bool
	child   bool // the engine's own process alone, a few times
	alone   bool // in a consumer group of its own: it believes that it owns every partition
}

func (a *actor) plan() lifePlan {
	random := a.random
	exp := func(mean time.Duration) time.Duration {
		return min(time.Duration(random.ExpFloat64()*float64(mean)), 4*mean)
	}
	plan := lifePlan{after: exp(a.wait), alone: a.role == "rollup" && random.IntN(100) < 45}
	point := ""
	if a.patience > 0 && random.IntN(100) < 60 {
		point = a.run.strikes.deal(a.role)
	}
	still := func() time.Duration { // long enough for another consumer to take over, now and then
		if a.role == "rollup" && random.IntN(4) == 0 {
			return 11*time.Second + exp(time.Second)
		}
		return 100*time.Millisecond + exp(time.Second)
	}
	chance := random.IntN(100)
	if point == "" {
		switch {
		case a.role == "engine" && chance < 60:
			plan.child = true
		case chance < 12 && a.role != "engine":
			plan.term = true
		case chance < 20 && a.role != "query":
			plan.stop = still()
		}
		return plan
	}
	strike := fault.Strike{Point: point, Visit: 1 + random.IntN(4), Action: fault.ActionKill}
	if strings.HasPrefix(point, "rollup.take_over") || point == fault.IDsLoaded {
		strike.Visit = 1 + random.IntN(2)
	} else {
		switch a.role {
		case "engine":
			strike.Visit = 1 + random.IntN(12)
		case "ingest":
			strike.Visit = 1 + random.IntN(60)
		case "broker":
			strike.Visit = 1 + random.IntN(300)
		}
	}
	if random.IntN(2) == 0 {
		strike.Delay = time.Duration(1+random.IntN(25)) * time.Millisecond
	}
	switch {
	case chance < 12:
		plan.stop = still()
		strike.Action = fault.ActionStop
	case chance < 18 && a.role == "engine":
		// Slower than the clients' patience, and killed in the end.
		plan.strikes = append(plan.strikes, fault.Strike{
			Point: point, Visit: strike.Visit, Action: fault.ActionWait, Delay: statementLimit/2 + exp(statementLimit/2),
		})
		strike.Visit += random.IntN(3)
	}
	plan.strikes = append(plan.strikes, strike)
	return plan
}

// struck waits for the plan to be carried out.
func (a *actor) struck(ctx context.Context, l *life, plan lifePlan) {
	waiting, cancel := context.WithTimeout(ctx, a.patience+plan.strikes[0].Delay)
	defer cancel()
	last := plan.strikes[len(plan.strikes)-1]
	if !l.waitStruck(waiting, len(plan.strikes)) {
		if ctx.Err() == nil {
			a.run.strikes.giveBack(a.role, last.Point)
			a.kill("at random")
		}
		return
	}
	if last.Action == fault.ActionStop {
		pause.For(ctx, plan.stop)
		a.process.signal(syscall.SIGCONT)
		a.run.report.stopped(a.process.name, plan.stop)
		pause.For(ctx, plan.after) // a zombie shows what it believes
		a.kill("at random")
		return
	}
	a.run.report.killed(a.process.name, last.Point)
	a.process.expect()
	if a.role == "engine" {
		// The supervisor starts it again, under the same plan. That is struck
		// once more, or not, before the supervisor dies, too.
		if a.random.IntN(2) == 0 && l.waitStruck(waiting, len(plan.strikes)+1) {
			a.run.report.killed(a.process.name, last.Point)
		}
		a.process.kill()
	}
	<-l.ended
}

// children kills the engine behind its supervisor, which brings it back.
func (a *actor) children(ctx context.Context, _ *life, plan lifePlan) {
	for range 1 + a.random.IntN(4) {
		a.run.awaitGrowth(ctx, 4*time.Second)
		if !pause.For(ctx, plan.after/2) {
			return
		}
		if a.process.killChild() {
			a.run.report.killed(a.process.name, "at random, the engine alone")
		}
	}
	a.run.awaitGrowth(ctx, 4*time.Second)
	pause.For(ctx, plan.after)
}

// untold ends a life without a plan.
func (a *actor) untold(ctx context.Context, l *life, plan lifePlan) {
	a.run.awaitGrowth(ctx, 4*time.Second)
	select {
	case <-ctx.Done():
		return
	case <-l.ended:
	case <-time.After(plan.after):
	}
	switch {
	case plan.stop > 0:
		a.process.signal(syscall.SIGSTOP)
		pause.For(ctx, plan.stop)
		a.process.signal(syscall.SIGCONT)
		a.run.report.stopped(a.process.name, plan.stop)
		if pause.For(ctx, plan.after) {
			a.kill("at random")
		}
	case plan.term:
		draining, cancel := context.WithTimeout(ctx, 12*time.Second)
		defer cancel()
		err := a.process.term(draining)
		a.run.report.left(a.process.name)
		if err != nil && ctx.Err() == nil {
			a.run.report.remark("%v", err)
		}
	default:
		a.kill("at random")
	}
}

func (a *actor) kill(how string) {
	l := a.process.current()
	if l == nil {
		return
	}
	if l.over() {
		if !a.process.wasExpected(l) {
			a.selfEnded++
			a.run.report.remark("%s ended by itself: %v; see its log, life %d", a.process.name, l.err, l.number)
		}
		return
	}
	a.selfEnded = 0
	a.process.kill()
	a.run.report.killed(a.process.name, how)
}

// aftermath lets the group notice a dead rollup at once, mostly: waiting for
// its session to end each time would leave little to count in between.
func (a *actor) aftermath(ctx context.Context) {
	if a.role != "rollup" || ctx.Err() != nil {
		return
	}
	chance := a.random.IntN(100)
	if chance < 10 {
		return // the session ends by itself, after ten seconds
	}
	evicted, err := a.run.stack.evict(ctx, chance >= 90)
	if err == nil && evicted > 0 {
		a.run.report.evicted(evicted, chance >= 90)
	}
}

// operate rebuilds the rollups now and then, as operators do, under load and
// with the command itself being killed.
func (r *run) operate(ctx context.Context) error {
	p := r.stack.rebuild
	for pause.For(ctx, 3*time.Second+min(time.Duration(r.operator.ExpFloat64()*float64(8*time.Second)), 30*time.Second)) {
		var plan []fault.Strike
		if r.operator.IntN(3) > 0 {
			plan = []fault.Strike{{Point: r.strikes.deal("rebuild"), Action: fault.ActionKill, Visit: 1 + r.operator.IntN(3)}}
		}
		l, err := p.start(plan...)
		if err != nil {
			return err
		}
		select {
		case <-l.ended:
		case <-ctx.Done():
			return nil // it dies with everything else, while it works
		case <-time.After(30 * time.Second):
			r.report.killed(p.name, "at random")
			p.kill()
		}
		switch {
		case l.strikes() > 0:
			r.report.killed(p.name, plan[0].Point)
		case l.err == nil:
			r.report.rebuilt()
		}
		r.note(p)
	}
	return nil
}
