package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"agentmeter/internal/fault"
	"agentmeter/internal/pause"
)

// Config says what a run does.
type Config struct {
	Setup
	// Kills is how many kills of a process there are at least.
	Kills int
	// KillsEach is how many there are at least of the engine, and of rollups.
	KillsEach int
	// Rollups is how many rollup processes run.
	Rollups int
	// VerdictEvery is after how many kills everything is compared.
	VerdictEvery int
	// Variant names a weakened protocol that the rollups use.
	Variant string
	// Out gets progress lines.
	Out io.Writer
}

// DefaultConfig is a run of some minutes.
func DefaultConfig() Config {
	return Config{Kills: 500, Rollups: 2, VerdictEvery: 60, Out: os.Stderr}
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	faults := []error{c.validate()}
	if c.Kills < 0 || c.KillsEach < 0 {
		faults = append(faults, errors.New("crash: kills: a number is required"))
	}
	if c.Rollups < 1 || c.Rollups > 8 {
		faults = append(faults, fmt.Errorf("crash: rollups: %d is not between 1 and 8", c.Rollups))
	}
	if c.VerdictEvery < 1 {
		faults = append(faults, fmt.Errorf("crash: verdict every %d kills: give a positive number", c.VerdictEvery))
	}
	return errors.Join(faults...)
}

// statementLimit is the rollups' statement timeout in a run: short, so that
// outcomes become unknown often.
const statementLimit = 2 * time.Second

// Run starts everything, sends events and faults until there were enough
// kills, and compares. An error means that the run could not be carried out;
// whether counting was right is in the report.
func Run(ctx context.Context, config Config) (*Report, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	r, err := startRun(ctx, config)
	if err != nil {
		return nil, err
	}
	defer r.stack.close()
	err = r.rounds(ctx)
	r.report.finish(r)
	return r.report, err
}

// startRun starts everything that a run needs; the caller closes the stack.
func startRun(ctx context.Context, config Config) (*run, error) {
	report := newReport(config)
	random := rand.New(rand.NewPCG(config.Seed, 0)) //nolint:gosec // reproducible on purpose
	s, err := startStack(ctx, stackConfig{
		binary: config.Binary, dir: config.Dir, rollups: config.Rollups, partitions: 2,
		blockRows: 500, linger: 25 * time.Millisecond, limit: statementLimit, drain: 3 * time.Second, hotIDs: 300,
		variant: config.Variant, random: random,
	})
	if err != nil {
		return nil, err
	}
	r := &run{config: config, stack: s, book: newBook(), report: report, random: random, strikes: newDeck(random)}
	r.operator = r.rand(3)
	r.judge = newJudge(s, r.book)
	r.producers = &producers{
		http:  newHTTPProducer(r.book, usualSending(), r.rand(1), "http://"+s.addresses["ingest"], s.token),
		kafka: newKafkaProducer(r.book, usualSending(), r.rand(2), s.seeds(), s.partitions),
	}
	return r, nil
}

// run is a run under way.
type run struct {
	config    Config
	stack     *stack
	book      *book
	judge     *judge
	report    *Report
	random    *rand.Rand
	strikes   *deck
	operator  *rand.Rand
	producers *producers
	grown     atomic.Int64 // rows of the ledger, as last seen
}

// watchGrowth keeps an eye on how long the ledger is.
func (r *run) watchGrowth(ctx context.Context) {
	for pause.For(ctx, 100*time.Millisecond) {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		text, err := r.stack.sql(asking, growthSQL)
		cancel()
		if err == nil {
			r.grown.Store(integer(strings.TrimSpace(text)))
		}
	}
}

// awaitGrowth waits until somebody has counted something since now: what has
// no time to get anywhere is hit at its beginnings only.
func (r *run) awaitGrowth(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for before := r.grown.Load(); r.grown.Load() == before; {
		if !pause.For(ctx, 50*time.Millisecond) {
			return
		}
	}
}

// rand is a source of its own for one actor, so that its choices depend on the
// seed alone and not on what others do meanwhile.
func (r *run) rand(actor uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.config.Seed, actor)) //nolint:gosec // reproducible on purpose
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.config.Out, "crash: %s "+format+"\n", append([]any{time.Since(r.report.Started).Round(time.Second)}, args...)...)
}

// producers send until they are told to stop.
type producers struct {
	http  *httpProducer
	kafka *kafkaProducer
}

// start sends in the background. stop ends it, and waits until what is under
// way has been acknowledged or given up; then everything must be reachable.
func (p *producers) start(ctx context.Context) (stop func() error) {
	stopping, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	var err error
	wait.Go(func() { p.http.run(ctx, stopping) })
	wait.Go(func() { err = p.kafka.run(ctx, stopping) })
	return func() error {
		cancel()
		wait.Wait()
		return err
	}
}

// rounds torments and judges in turns.
func (r *run) rounds(ctx context.Context) error {
	actors := r.actors()
	for round := 1; ; round++ {
		goal := r.report.kills() + r.config.VerdictEvery
		if err := r.round(ctx, actors, goal); err != nil {
			return err
		}
		began := time.Now()
		v, err := r.settle(ctx)
		if err != nil {
			return err
		}
		r.report.judged(v)
		r.say("verdict %d after %d kills (%s), in %s: %s", round, r.report.kills(), r.report.killsLine(), time.Since(began).Round(100*time.Millisecond), v)
		if !v.Right() || r.enough() {
			return nil
		}
	}
}

func (r *run) enough() bool {
	return r.report.kills() >= r.config.Kills &&
		r.report.killsOf("engine") >= r.config.KillsEach && r.report.killsOf("rollup") >= r.config.KillsEach
}

// round lets the actors loose until there were as many kills as the goal says.
func (r *run) round(ctx context.Context, actors []*actor, goal int) error {
	return r.underLoad(ctx, r.stack.processes(), func(ctx context.Context) error {
		return r.disturb(ctx, 25, actors, r.operate, func(ctx context.Context) error {
			r.awaitKills(ctx, goal)
			return errRoundOver
		})
	})
}

// awaitKills waits until there were as many kills as the goal says.
func (r *run) awaitKills(ctx context.Context, goal int) {
	lastSaid := time.Now()
	for r.report.kills() < goal && pause.For(ctx, 100*time.Millisecond) {
		if time.Since(lastSaid) > 10*time.Second {
			lastSaid = time.Now()
			c := r.book.counts()
			r.say("%d kills (%s), %d ids, %d acknowledged", r.report.kills(), r.report.killsLine(), c.IDs, c.Acknowledged)
		}
	}
}

// underLoad does something while events come in, and then brings the dying back to
// health; see heal.
func (r *run) underLoad(ctx context.Context, dying []*process, do func(ctx context.Context) error) error {
	ctx, stopAll := context.WithCancel(ctx)
	defer stopAll()
	stopSending := r.producers.start(ctx)
	if err := do(ctx); err != nil {
		return err
	}
	if err := r.heal(ctx, dying); err != nil {
		return err
	}
	return stopSending()
}

// disturb lets actors and others loose until one of them fails, or ends it with
// errRoundOver, which is no error of disturb's. The chance is that of a fault between
// rollups and engine, in a thousand.
func (r *run) disturb(ctx context.Context, chance int, actors []*actor, others ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, px := range r.stack.proxies {
		px.setChance(chance)
	}
	for _, a := range actors {
		others = append(others, a.torment)
	}
	var wait sync.WaitGroup
	for _, do := range others {
		wait.Go(func() {
			if err := do(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wait.Go(func() { r.scrape(ctx) })
	wait.Go(func() { r.watchGrowth(ctx) })
	wait.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errRoundOver) {
		return err
	}
	return nil
}

var errRoundOver = errors.New("the round is over")

// heal brings the dying back to health: each of them runs without a plan, and
// nothing is in the way. It begins with the death of all of them at once. Broker and
// engine are among them.
func (r *run) heal(ctx context.Context, dying []*process) error {
	for _, px := range r.stack.proxies {
		px.setChance(0)
	}
	for _, p := range dying {
		p.signal(syscall.SIGCONT)
		if l := p.current(); l != nil && !l.over() {
			r.report.killed(p.name, "all at once")
		}
		r.note(p)
		p.kill()
	}
	for _, p := range []*process{r.stack.broker, r.stack.engine} {
		if _, err := p.start(); err != nil {
			return err
		}
	}
	if err := errors.Join(r.stack.waitEngine(ctx), r.stack.waitBroker(ctx)); err != nil {
		return err
	}
	for _, px := range r.stack.proxies {
		px.letGo() // what was held back arrives now, after a restart
	}
	everyone := len(dying) == len(r.stack.processes()) // no member is a living one
	if _, err := r.stack.evict(ctx, everyone); err != nil {
		r.report.remark("evict: %v", err)
	}
	for _, p := range append([]*process{r.stack.ingest, r.stack.query}, r.stack.rollups...) {
		if !slices.Contains(dying, p) {
			continue
		}
		if _, err := p.start(); err != nil {
			return err
		}
	}
	return r.stack.waitReady(ctx)
}

// settle waits until everything is counted, and compares.
func (r *run) settle(ctx context.Context) (*Verdict, error) {
	if err := r.judge.waitCounted(ctx); err != nil {
		var halted haltedError
		if errors.As(err, &halted) {
			v := &Verdict{AuditFindings: 1}
			v.note("%v", halted)
			return v, nil
		}
		return nil, err
	}
	r.scrapeOnce(ctx)
	return r.judge.verdict(ctx)
}

// note collects what a life that has ended, or is about to, reached.
func (r *run) note(p *process) {
	if l := p.current(); l != nil {
		r.report.marked(p.name, l)
	}
}

// deck deals the points of each role again and again, each time in another
// order, so that every point has its turn.
type deck struct {
	mu    sync.Mutex // guards what follows
	cards map[string][]string
	rand  *rand.Rand
}

func newDeck(random *rand.Rand) *deck {
	return &deck{cards: make(map[string][]string), rand: rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))} //nolint:gosec // reproducible on purpose
}

// pointsOf lists the points of a role that a run without operators reaches.
func pointsOf(role string) []string {
	var points []string
	if role == "rebuild" {
		return []string{fault.RebuildBefore, fault.RebuildAfter}
	}
	for _, point := range fault.Points {
		switch point {
		case fault.RebuildBefore, fault.RebuildAfter, fault.RepairSetBack:
			continue // no rollup process passes them
		}
		if len(point) > len(role) && point[:len(role)+1] == role+"." {
			points = append(points, point)
		}
	}
	return points
}

func (d *deck) deal(role string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.cards[role]) == 0 {
		d.cards[role] = pointsOf(role)
		cards := d.cards[role]
		d.rand.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
	}
	cards := d.cards[role]
	d.cards[role] = cards[1:]
	return cards[0]
}

// giveBack puts a point that was not struck at the end of the deck.
func (d *deck) giveBack(role, point string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cards[role] = append(d.cards[role], point)
}
