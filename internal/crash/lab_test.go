package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/fault"
	"agentmeter/internal/kafka/kafkatest"
	"agentmeter/internal/pause"
)

// asked says whether the tests with real processes were asked for.
var asked = os.Getenv("AGENTMETER_CRASH") != ""

func requireAsked(t *testing.T) {
	t.Helper()
	if !asked {
		t.Skip("SKIPPED: it kills real processes for some seconds; set AGENTMETER_CRASH=1 (make crash does)")
	}
}

var (
	binary string
	shared *lab // of the named cases
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if !asked {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "agentmeter-crash-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = os.Getenv("AGENTMETER_CRASH_BINARY")
		if binary == "" {
			if binary, err = Build(context.Background(), dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		code := m.Run()
		if shared != nil {
			shared.close()
			_ = os.RemoveAll(shared.dir)
		}
		return code
	}())
}

// seedOf is the seed of a test: printed, and taken from AGENTMETER_CRASH_SEED
// where that is set.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("AGENTMETER_CRASH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("AGENTMETER_CRASH_SEED=%d", seed)
	return seed
}

// lab is a stack with a producer that does as it is told.
type lab struct {
	*stack
	t        *testing.T
	book     *book
	judge    *judge
	producer *kafkaProducer
	client   *kgo.Client
	broken   bool // a verdict found something, so that others would find it again
}

type labOptions struct {
	rollups    int
	partitions int32
	blockRows  int
	linger     time.Duration
	limit      time.Duration
	variant    string
	dir        string
	sleeping   bool // rollups are not started
	nodes      int  // of a real Kafka
}

func newLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	dir := o.dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "agentmeter-crash-lab-"); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(seedOf(t), 1))
	if o.limit == 0 {
		o.limit = 2 * time.Second
	}
	s, err := startStack(t.Context(), stackConfig{
		binary: binary, dir: dir, rollups: o.rollups, partitions: o.partitions, blockRows: o.blockRows, linger: o.linger,
		limit: o.limit, drain: 3 * time.Second, hotIDs: 300, variant: o.variant, random: random, sleeping: o.sleeping,
		jars: os.Getenv(kafkatest.Variable), nodes: o.nodes,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{stack: s, t: t, book: newBook()}
	l.judge = newJudge(s, l.book)
	l.producer = newKafkaProducer(l.book, sending{batch: 30, honest: true}, random, s.seeds(), s.partitions)
	if l.client, err = l.producer.connect(); err != nil {
		s.close()
		t.Fatal(err)
	}
	return l
}

// ownLab is a lab that ends with the test. Its directory stays where the test
// failed.
func ownLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	l := newLab(t, o)
	t.Cleanup(func() {
		l.close()
		if t.Failed() {
			t.Logf("data and logs: %s", l.dir)
		} else {
			_ = os.RemoveAll(l.dir)
		}
	})
	return l
}

// sharedLab is one stack for all cases that leave it as they found it: two
// rollups, of which the first runs.
func sharedLab(t *testing.T) *lab {
	t.Helper()
	requireAsked(t)
	if shared != nil && shared.broken {
		shared.close()
		t.Logf("data and logs of the case before: %s", shared.dir)
		shared = nil
	}
	if shared == nil {
		shared = newLab(t, labOptions{rollups: 2, partitions: 1, blockRows: 400, linger: 30 * time.Millisecond})
	}
	l := shared
	l.t = t
	// Whatever the case before left behind.
	for _, px := range l.proxies {
		px.setChance(0)
	}
	for _, p := range l.brokers {
		l.ensure(p)
	}
	l.ensure(l.engine)
	l.must(l.waitBroker(t.Context()))
	l.must(l.waitEngine(t.Context()))
	l.ensure(l.ingest)
	l.ensure(l.query)
	l.grouped(0)
	l.rollups[1].kill()
	l.restart(l.rollups[0])
	return l
}

func (l *lab) close() {
	l.client.Close()
	l.stack.close()
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// ensure starts a process that does not run, or runs with a plan.
func (l *lab) ensure(p *process) {
	l.t.Helper()
	if life := p.current(); life == nil || life.over() || len(life.plan) > 0 {
		l.restart(p)
	}
}

// restart kills the process, if it runs, and starts it with a plan.
func (l *lab) restart(p *process, plan ...fault.Strike) *life {
	l.t.Helper()
	p.kill()
	if len(l.rollups) > 0 && p != l.engine && !slices.Contains(l.brokers, p) && p != l.ingest && p != l.query && p != l.rebuild {
		_, _ = l.evict(l.t.Context(), false) // where the broker is down there is no group
	}
	started, err := p.start(plan...)
	l.must(err)
	return started
}

// mustEvict evicts as soon as the group's coordinator answers: a new Kafka says
// for its first seconds, as after the death of a node, that there is none.
func (l *lab) mustEvict(everyone bool) {
	l.t.Helper()
	l.must(poll(l.t.Context(), "members to be evicted", patience, func(ctx context.Context) error {
		_, err := l.evict(ctx, everyone)
		return err
	}))
}

// grouped waits until the rollups' consumer group has so many members at least and
// is between two rebalances. Where its leader dies within one, the embedded broker
// leaves the other members without an answer until they give up after a minute,
// which is not what these cases are about.
func (l *lab) grouped(members int) {
	l.t.Helper()
	l.must(poll(l.t.Context(), fmt.Sprintf("a consumer group of %d", members), patience, func(ctx context.Context) error {
		// A client of its own: one that knew a coordinator goes on asking it when it is dead.
		client, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...), kgo.RetryTimeout(2*time.Second))
		if err != nil {
			return err
		}
		defer client.Close()
		described, err := kadm.NewClient(client).DescribeGroups(ctx, group)
		if err != nil {
			return err
		}
		is := described[group]
		if len(is.Members) < members || strings.HasSuffix(is.State, "Rebalance") {
			return fmt.Errorf("it is %s, of %d", is.State, len(is.Members))
		}
		return nil
	}))
}

// at is a plan of one strike.
func at(point, action string, visit int, delay time.Duration) fault.Strike {
	return fault.Strike{Point: point, Action: action, Visit: visit, Delay: delay}
}

// struck waits until the life has struck.
func (l *lab) struck(of *life) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	if !of.waitStruck(ctx, 1) {
		l.t.Fatalf("the plan %v was not carried out; marks: %v", of.plan, of.marks())
	}
}

// engineOrItsEnd waits for an engine that is to be struck: what has been waiting
// for it may strike it before it has answered us.
func (l *lab) engineOrItsEnd(of *life) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	go func() {
		select {
		case <-of.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := l.waitEngine(ctx); err != nil && ctx.Err() == nil {
		l.t.Fatal(err)
	}
}

// until waits for something to happen.
func (l *lab) until(what string, done <-chan struct{}) {
	l.t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		l.t.Fatalf("waited in vain for %s", what)
	}
}

// pause lets d pass in other processes, whose steps nobody can wait for.
func (l *lab) pause(d time.Duration) { pause.For(l.t.Context(), d) }

// send sends n new events and waits until all are acknowledged.
func (l *lab) send(n int) []*entry {
	l.t.Helper()
	entries := make([]*entry, n)
	for i := range entries {
		entries[i] = l.book.add(l.producer.gen.event(), false)
	}
	l.sendAgain(entries...)
	return entries
}

// sendAgain sends known events.
func (l *lab) sendAgain(entries ...*entry) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	l.producer.deliver(ctx, l.client, entries)
	l.must(ctx.Err())
}

// settled waits until everything is counted and requires that all of it is
// right.
func (l *lab) settled() *Verdict {
	l.t.Helper()
	l.broken = true
	l.must(l.judge.waitCounted(l.t.Context()))
	v, err := l.judge.verdict(l.t.Context())
	l.must(err)
	if !v.Right() {
		for _, note := range v.Notes {
			l.t.Log(note)
		}
		l.t.Fatalf("wrong: %s (data and logs in %s)", v, filepath.Join(l.dir))
	}
	l.t.Logf("right: %s", v)
	l.broken = false
	return v
}

// counted waits until everything is counted.
func (l *lab) counted() {
	l.t.Helper()
	l.must(l.judge.waitCounted(l.t.Context()))
}

// rows runs a statement on the engine.
func (l *lab) rows(statement string) string {
	l.t.Helper()
	text, err := l.sql(l.t.Context(), statement)
	l.must(err)
	return text
}

// wantRows compares a statement's answer.
func (l *lab) wantRows(ctx context.Context, statement, want string) error {
	got, err := l.sql(ctx, statement)
	if err != nil {
		return err
	}
	if got != want+"\n" {
		return fmt.Errorf("%s: %q, want %q", statement, got, want)
	}
	return nil
}
