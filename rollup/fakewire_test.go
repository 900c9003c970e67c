package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// wire is a broker and a fake engine on a network in memory, within a bubble
// whose clock passes only while everybody waits: minutes of timeouts take
// milliseconds, and every run takes the same ones.
type wire struct {
	t         *testing.T
	network   *kfake.VirtualNetwork
	broker    *kfake.Cluster
	engine    *fakeEngine
	kafka     kafka.Config
	log       *slog.Logger
	producer  *kgo.Client
	admin     *kadm.Client
	stream    uuid.UUID
	reference *reference
	said      map[*eventPartition]progressRow // last
	damaged   bool                            // on purpose: what is counted cannot be exact

	mu      sync.Mutex // guards what follows
	members []*member
}

const (
	enginePort = 8123
	brokerPort = 9092
)

// severalMembers is for tests in which a group is rebalanced. In an ordinary
// build, franz-go holds a mutex while it waits for the group, for which no
// bubble's clock passes; with the tag it waits on a channel.
func severalMembers(t *testing.T) {
	t.Helper()
	if !synctestsTag {
		t.Skip("SKIPPED: needs go test -tags synctests, as make test does")
	}
}

// onWire runs a test in a bubble of its own, on a topic of so many partitions.
// When it returns, every rollup that it started is stopped, and whatever
// happened, ledger and views must be what the log asks for.
func onWire(t *testing.T, partitions int32, test func(t *testing.T, w *wire)) {
	t.Helper()
	if raceDetector {
		// Whoever receives from a timer that is due already fires it, in the name of the
		// whole bubble; two who do so at once crash the race detector (golang/go#78156).
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, func(t *testing.T) {
		w := &wire{
			t: t, network: &kfake.VirtualNetwork{}, log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			reference: newReference(partitions), said: make(map[*eventPartition]progressRow),
		}
		w.engine = newFakeEngine(t)
		w.engine.published = w.checkPublished
		listener, err := w.network.Listen("tcp", fmt.Sprintf("localhost:%d", enginePort))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: w.engine, ReadHeaderTimeout: time.Hour}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() {
			_ = server.Close()
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
			w.engine.inside.Wait()
		})
		w.broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(brokerPort), kfake.ListenFn(w.network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.broker.Close)
		w.kafka = kafka.Config{Brokers: w.broker.ListenAddrs(), ClientID: "test", Dial: w.network.DialContext}
		w.producer = w.newProducer()
		w.admin = kadm.NewClient(w.producer)
		plan := kafka.DefaultPlan()
		plan.EventPartitions = partitions
		if _, err := kafka.EnsureTopics(t.Context(), w.admin, plan); err != nil {
			t.Fatal(err)
		}
		live, err := kafka.DescribeStream(t.Context(), w.admin, kafka.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		w.stream = live.ID
		test(t, w)
		for _, m := range slices.Backward(w.members) {
			m.stop()
		}
		if !w.damaged {
			w.exact()
		}
	})
}

// newProducer makes a client that sends records to the partitions that they name.
func (w *wire) newProducer() *kgo.Client {
	w.t.Helper()
	producer, err := kgo.NewClient(append(w.kafka.Options(w.log), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(producer.Close)
	return producer
}

// member is a running rollup with a network of its own that can be cut off
// from the rest.
type member struct {
	*Rollup
	w        *wire
	name     string
	registry *prometheus.Registry
	gate     *gate
	kill     context.CancelFunc
	done     chan error
}

// start runs a rollup under a name, which is also the user under which the
// engine knows it.
func (w *wire) start(name string, change ...func(*Config)) *member {
	w.t.Helper()
	config := DefaultConfig()
	for _, f := range change {
		f(&config)
	}
	m := &member{w: w, name: name, registry: prometheus.NewRegistry(), gate: newGate(), done: make(chan error, 1)}
	kafkaConfig := w.kafka
	kafkaConfig.ClientID, kafkaConfig.Dial = name, m.gate.dial(w.network)
	client, err := clickhouse.Open(clickhouse.Config{URL: fmt.Sprintf("http://localhost:%d", enginePort), User: name, Dial: m.gate.dial(w.network)})
	if err != nil {
		w.t.Fatal(err)
	}
	m.Rollup, err = New(config, kafkaConfig, client, w.log.With("rollup", name), m.registry)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, kill := context.WithCancel(w.t.Context())
	m.kill = kill
	go func() {
		err := m.Run(ctx)
		m.done <- errors.Join(err, client.Close())
	}()
	w.mu.Lock()
	w.members = append(w.members, m)
	w.mu.Unlock()
	w.t.Cleanup(func() { m.stop() }) // where the test has failed
	return m
}

// stop ends the rollup and returns how long that took.
func (m *member) stop() time.Duration {
	m.w.t.Helper()
	began := time.Now()
	m.gate.open()
	m.kill()
	if err, ok := <-m.done; ok {
		close(m.done)
		if err != nil {
			m.w.t.Errorf("rollup %s: %v", m.name, err)
		}
	}
	return time.Since(began)
}

// counter reads one of the rollup's metrics, summed over its labels.
func (m *member) counter(name string) float64 {
	m.w.t.Helper()
	return sumOf(m.w.t, m.registry, name)
}

// sumOf is what a rollup's metric is in a registry, summed over its labels.
func sumOf(t testing.TB, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() != "agentmeter_rollup_"+name {
			continue
		}
		for _, metric := range family.GetMetric() {
			total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return total
}

// gate holds up a process's traffic, as SIGSTOP or a cut cable would.
type gate struct {
	mu     sync.Mutex
	passes chan struct{} // closed while traffic passes
}

func newGate() *gate {
	g := &gate{passes: make(chan struct{})}
	close(g.passes)
	return g
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passes = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.passes:
	default:
		close(g.passes)
	}
}

func (g *gate) wait() {
	g.mu.Lock()
	passes := g.passes
	g.mu.Unlock()
	<-passes
}

func (g *gate) dial(network *kfake.VirtualNetwork) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, kind, address string) (net.Conn, error) {
		g.wait()
		conn, err := network.DialContext(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		return &gatedConn{conn, g}, nil
	}
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.wait()
	return n, err
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.gate.wait()
	return c.Conn.Write(p)
}

// produce sends events to the partitions that their ids ask for.
func (w *wire) produce(events ...schemas.Event) {
	w.t.Helper()
	for i := range events {
		event := events[i]
		key := schemas.RecordKey(event.Workspace, event.ID)
		w.send(&kgo.Record{Partition: schemas.PartitionOf(key, w.reference.partitions), Key: key, Value: schemas.EncodeEvent(nil, &event)}, &event, true)
	}
}

// send sends a record as it is; event and home are what the reference makes of
// it.
func (w *wire) send(record *kgo.Record, event *schemas.Event, home bool) {
	w.t.Helper()
	record.Topic = kafka.TopicEvents
	if err := w.producer.ProduceSync(w.t.Context(), record).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	w.reference.add(record.Partition, logged{offset: record.Offset, event: event, home: home, at: time.Now()})
}

// eventsIn makes events whose ids belong to a partition.
func (w *wire) eventsIn(partition int32, label string, n int) []schemas.Event {
	var events []schemas.Event
	for i := 0; len(events) < n; i++ {
		e := testEvent(i)
		e.ID = fmt.Sprintf("%s-%d", label, i)
		if schemas.PartitionOf(schemas.RecordKey(e.Workspace, e.ID), w.reference.partitions) == partition {
			events = append(events, e)
		}
	}
	return events
}

// pass lets the bubble's clock pass.
func pass(d time.Duration) { <-time.After(d) }

// patience is how long, on the bubble's clock, something may take to happen.
const patience = 8 * time.Minute

// until lets the clock pass until the condition holds.
func (w *wire) until(what string, condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); pass(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("after %s still not so: %s", patience, what)
		}
	}
}

// reached lets the clock pass until the mishap strikes.
func (w *wire) reached(f *mishap) {
	w.t.Helper()
	select {
	case <-f.reached:
	case <-time.After(patience):
		w.t.Fatalf("after %s no statement has met the mishap", patience)
	}
}

// strikes is how many statements have met the mishap.
func (e *fakeEngine) strikes(f *mishap) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.struck
}

// ledger is the ledger of a partition.
func (e *fakeEngine) ledger(stream uuid.UUID, partition int32) []fakeRow {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ledgers[ledgerKey{stream.String(), partition}])
}

// counted says whether every record that was sent is in the ledger and in every
// view, and was published so.
func (w *wire) counted() bool {
	for partition, log := range w.reference.logs {
		if len(log) == 0 {
			continue
		}
		last := log[len(log)-1]
		rows := w.engine.ledger(w.stream, partition)
		if len(rows) == 0 || rows[len(rows)-1].offset < last.offset {
			return false
		}
	}
	return len(w.differences()) == 0
}

// waitCounted lets the clock pass until everything is counted exactly.
func (w *wire) waitCounted() {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !w.counted() {
		if time.Now().After(deadline) {
			w.t.Fatalf("after %s still not exact: %v", patience, w.differences())
		}
		pass(50 * time.Millisecond)
	}
}

// waitPublished lets the clock pass until everything sent so far is said to be
// counted.
func (w *wire) waitPublished() {
	w.t.Helper()
	now := time.Now()
	w.until("published through "+now.String(), func() bool {
		w.engine.mu.Lock()
		defer w.engine.mu.Unlock()
		for partition := range w.reference.partitions {
			said := slices.ContainsFunc(w.engine.progress, func(row progressRow) bool {
				return row.partition == partition && row.countedThrough.After(now)
			})
			if !said {
				return false
			}
		}
		return true
	})
}

// differences compares ledger and views with the reference.
func (w *wire) differences() []string {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	var list []string
	got := make(map[logPlace]schemas.Outcome)
	wantIDs, gotIDs := make(map[logPlace]int), make(map[logPlace]int)
	for partition := range w.reference.partitions {
		next := int64(0)
		for _, row := range w.engine.ledgers[ledgerKey{w.stream.String(), partition}] {
			if row.offset != next {
				list = append(list, fmt.Sprintf("partition %d: offset %d stands where %d should", partition, row.offset, next))
			}
			next = row.offset + 1
			got[logPlace{partition, row.offset}] = row.outcome
			if recorded(row.outcome) {
				wantIDs[logPlace{partition, row.offset}]++
			}
		}
	}
	list = append(list, differences(got, w.reference.outcomes())...)
	for _, rollup := range tables.Rollups {
		for _, difference := range differences(w.engine.views[rollup.Table], w.reference.rollup(rollup)) {
			list = append(list, rollup.Table+": "+difference)
		}
	}
	for _, places := range w.engine.ids {
		for _, at := range places {
			gotIDs[at]++
		}
	}
	return append(list, differences(gotIDs, wantIDs)...)
}

// exact fails the test where the ledger or a view is not what the log asks for.
func (w *wire) exact() {
	w.t.Helper()
	for _, difference := range w.differences() {
		w.t.Error(difference)
	}
}

// checkPublished holds every progress row to what it claims, at the moment when
// it is written: all that was acknowledged before counted_through is in the
// ledger and in every view; and nobody takes anything back.
func (w *wire) checkPublished(row progressRow) {
	if row.stream != w.stream {
		w.t.Errorf("progress of stream %s was published, and the topic is %s", row.stream, w.stream)
	}
	rows := w.engine.ledgers[ledgerKey{row.stream.String(), row.partition}]
	for _, record := range w.reference.logs[row.partition] {
		if !record.at.Before(row.countedThrough) {
			continue
		}
		at := slices.IndexFunc(rows, func(r fakeRow) bool { return r.offset == record.offset })
		if at < 0 {
			w.t.Errorf("%s says that partition %d is counted through %s (halted: %q), but offset %d, acknowledged at %s, is not in the ledger",
				row.by, row.partition, row.countedThrough, row.halted, record.offset, record.at)
			continue
		}
		for _, view := range viewNames() {
			if !rows[at].inViews[view] {
				w.t.Errorf("%s says that partition %d is counted through %s (halted: %q), but offset %d, acknowledged at %s, is not in %s",
					row.by, row.partition, row.countedThrough, row.halted, record.offset, record.at, view)
			}
		}
	}
	if row.halted == "" {
		ends := int64(0)
		for _, r := range rows {
			ends = max(ends, r.offset+1)
		}
		if row.position > ends {
			w.t.Errorf("%s says that partition %d is confirmed to %d, but the ledger ends at %d", row.by, row.partition, row.position, ends)
		}
	}
	// A new owner knows less than the one before, but nobody takes back what it
	// has said itself.
	worker := w.worker(row.by, row.partition)
	if worker == nil || time.Since(row.updatedAt) > time.Millisecond {
		return // given up meanwhile, or under way for so long that it may be another's by now
	}
	before, ok := w.said[worker]
	if ok && row.countedThrough.Before(before.countedThrough) && row.halted == "" {
		w.t.Errorf("%s took back that partition %d is counted through %s and says %s, at position %d", row.by, row.partition, before.countedThrough, row.countedThrough, row.position)
	}
	w.said[worker] = row
}

// worker is what counts a partition for the rollup of that name, or nil.
func (w *wire) worker(name string, partition int32) *eventPartition {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if m.name == name {
			return m.ownedPartitions()[partition]
		}
	}
	return nil
}

// halted returns why a partition stands still, as was published last.
func (w *wire) halted(partition int32) string {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	for _, row := range slices.Backward(w.engine.progress) {
		if row.partition == partition {
			return row.halted
		}
	}
	return ""
}

func (w *wire) appends(result string) []statement {
	return w.engine.statements(func(s *statement) bool { return s.kind == kindAppend && s.result == result })
}

func fast(c *Config) { c.BlockLinger = time.Millisecond }

func TestOneRollupCountsOnTheWire(t *testing.T) {
	onWire(t, 2, func(t *testing.T, w *wire) {
		w.start("a")
		w.produce(testEvents(30)...)
		w.waitCounted()
		w.produce(testEvents(40)...)
		playground := testEvent(50)
		playground.Channel = schemas.ChannelPlayground
		w.produce(playground)
		changed := testEvent(3)
		changed.Credits++
		w.produce(changed)
		w.waitCounted()
		w.waitPublished()
		w.exact()
		got := make(map[schemas.Outcome]int)
		for _, outcome := range w.reference.outcomes() {
			got[outcome]++
		}
		want := map[schemas.Outcome]int{schemas.OutcomeCounted: 40, schemas.OutcomeDuplicate: 30, schemas.OutcomePlayground: 1, schemas.OutcomeInvalid: 1}
		if !maps.Equal(got, want) {
			t.Errorf("the log asks for %v, want %v", got, want)
		}
	})
}
