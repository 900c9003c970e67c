package rollup

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// lossyProxy stands between one rollup and the engine. What it has passed on
// runs in the engine to its end, whatever becomes of the client: cut off, it is
// what a killed process looks like from there.
type lossyProxy struct {
	server *httptest.Server
	target string
	client *http.Client
	inside sync.WaitGroup

	mu     sync.Mutex
	cut    bool
	passed int
	// fate decides over a statement: whether it reaches the engine, and whether
	// its answer comes back.
	fate func(sql string, n int) (forward, answer bool)
}

func newLossyProxy(target string) *lossyProxy {
	p := &lossyProxy{
		target: target, client: &http.Client{Transport: &http.Transport{}},
		fate: func(string, int) (bool, bool) { return true, true },
	}
	p.server = httptest.NewServer(p)
	return p
}

func (p *lossyProxy) close() {
	p.server.CloseClientConnections()
	p.server.Close()
	p.inside.Wait()
	p.client.CloseIdleConnections()
}

func (p *lossyProxy) kill() {
	p.mu.Lock()
	p.cut = true
	p.mu.Unlock()
	p.server.CloseClientConnections()
}

func (p *lossyProxy) decide(fate func(sql string, n int) (forward, answer bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed, p.fate = 0, fate
}

func (p *lossyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.inside.Add(1)
	defer p.inside.Done()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	sql := r.URL.Query().Get("query")
	if sql == "" {
		sql = string(body)
	}
	p.mu.Lock()
	p.passed++
	forward, answer := p.fate(sql, p.passed)
	forward = forward && !p.cut
	p.mu.Unlock()
	if !forward {
		panic(http.ErrAbortHandler)
	}
	request, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, p.target+r.URL.RequestURI(), strings.NewReader(string(body)))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request.Header = r.Header.Clone()
	response, err := p.client.Do(request)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	result, err := io.ReadAll(response.Body)
	p.mu.Lock()
	answer = answer && !p.cut && err == nil
	p.mu.Unlock()
	if !answer {
		panic(http.ErrAbortHandler)
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.Header().Del("Transfer-Encoding")
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(result)
}

// sequence is a random run against the real engine: what it has sent, and who
// counts it.
type sequence struct {
	*stack
	random    *rand.Rand
	seed      string
	reference *reference
	manual    *kgo.Client
	engineURL string
	sent      []schemas.Event
	counters  []*counter
	ids       int
	did       map[string]int
}

// counter is a rollup behind a lossy proxy.
type counter struct {
	proxy  *lossyProxy
	client *clickhouse.Client
	cancel context.CancelFunc
	done   chan error
}

func newSequence(t *testing.T, random *rand.Rand) *sequence {
	s := &sequence{stack: newStack(t), random: random, reference: newReference(kafka.DefaultPlan().EventPartitions), did: make(map[string]int)}
	var err error
	s.manual, err = kgo.NewClient(append(s.kafka.Options(s.log), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.manual.Close)
	s.engineURL = s.url
	t.Cleanup(func() {
		for len(s.counters) > 0 {
			s.leave(true)
		}
	})
	return s
}

func (s *sequence) join() {
	s.t.Helper()
	c := &counter{proxy: newLossyProxy(s.engineURL), done: make(chan error, 1)}
	var err error
	c.client, err = clickhouse.Open(clickhouse.Config{URL: c.proxy.server.URL, Database: s.client.Database()})
	if err != nil {
		s.t.Fatal(err)
	}
	config := DefaultConfig()
	config.BlockLinger, config.ProgressInterval = time.Millisecond, 20*time.Millisecond
	config.DrainTimeout = 300 * time.Millisecond // a killed one cannot finish
	config.MaxBlockRows = 1 + s.random.IntN(60)
	config.HotIDs = []int{0, 20, 1_000_000}[s.random.IntN(3)]
	if s.random.IntN(4) == 0 {
		config.Group = fmt.Sprintf("alone-%d", s.did["join"]) // and so another owner of every partition
	}
	r, err := New(config, s.kafka, c.client, s.log, prometheus.NewRegistry())
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	c.cancel = cancel
	go func() { c.done <- r.Run(ctx) }()
	s.counters = append(s.counters, c)
}

// leave ends one rollup, by a kill or as it should end.
func (s *sequence) leave(killed bool) {
	s.t.Helper()
	i := s.random.IntN(len(s.counters))
	c := s.counters[i]
	s.counters = slices.Delete(s.counters, i, i+1)
	if killed {
		c.proxy.kill()
	}
	c.cancel()
	if err := <-c.done; err != nil {
		s.t.Error(err)
	}
	if err := c.client.Close(); err != nil {
		s.t.Error(err)
	}
	c.proxy.close()
}

func (s *sequence) produceAll(events ...schemas.Event) {
	s.t.Helper()
	records, homes := make([]*kgo.Record, len(events)), make([]bool, len(events))
	for i := range events {
		if faults := events[i].Validate(); faults != nil {
			s.t.Fatal(faults)
		}
		key := schemas.RecordKey(events[i].Workspace, events[i].ID)
		records[i] = &kgo.Record{Topic: kafka.TopicEvents, Partition: schemas.PartitionOf(key, s.reference.partitions), Key: key, Value: schemas.EncodeEvent(nil, &events[i])}
		homes[i] = true
	}
	s.sent = append(s.sent, events...)
	s.sendAll(records, events, homes)
}

func (s *sequence) sendAll(records []*kgo.Record, events []schemas.Event, homes []bool) {
	s.t.Helper()
	if err := s.manual.ProduceSync(s.t.Context(), records...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
	for i, record := range records {
		entry := logged{offset: record.Offset, home: homes[i], at: time.Now()}
		if i < len(events) {
			entry.event = &events[i]
		}
		s.reference.add(record.Partition, entry)
	}
}

// newEvent draws an event that was not there before: mostly of today, now and
// then of months ago, or from both sides of a year's turn.
func (s *sequence) newEvent() schemas.Event {
	s.ids++
	at := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Duration(s.random.Int64N(int64(20 * time.Minute))))
	switch s.random.IntN(8) {
	case 0:
		at = at.Add(-time.Duration(s.random.Int64N(int64(25 * 24 * time.Hour))))
	case 1:
		at = at.AddDate(0, -s.random.IntN(18), -s.random.IntN(28))
	case 2:
		turn := time.Date(2026-s.random.IntN(3), 1, 1, 0, 0, 0, 0, time.UTC)
		at = turn.Add([]time.Duration{-time.Microsecond, 0, time.Microsecond, -time.Hour, 59 * time.Minute}[s.random.IntN(5)])
	}
	e := schemas.Event{
		ID:         fmt.Sprintf("event-%d", s.ids),
		Workspace:  schemas.WorkspaceID(fmt.Sprintf("ws_%d", s.random.IntN(4))),
		Agent:      schemas.AgentID(fmt.Sprintf("agt_%d", s.random.IntN(5))),
		OccurredAt: at,
		Channel:    []string{"embed", "api", "whatsapp"}[s.random.IntN(3)],
		Credits:    schemas.Credits(s.random.Int64N(5_000_000)),
		Messages:   s.random.Int64N(3),
	}
	switch s.random.IntN(10) {
	case 0:
		e.Channel = schemas.ChannelPlayground
	case 1:
		e.Channel, e.Credits, e.Messages = "", -e.Credits, -e.Messages
		e.Adjustment = &schemas.Adjustment{Reason: "refund", EventID: "event-1"}
	}
	return e
}

// step does one random thing.
func (s *sequence) step() {
	s.t.Helper()
	type action struct {
		name   string
		weight int
		do     func()
	}
	again := func() schemas.Event { return s.sent[s.random.IntN(len(s.sent))] }
	actions := []action{
		{"produce", 10, func() {
			var batch []schemas.Event
			for range 1 + s.random.IntN(80) {
				batch = append(batch, s.newEvent())
			}
			s.produceAll(batch...)
		}},
		{"resend", 4, func() {
			var batch []schemas.Event
			for range 1 + s.random.IntN(30) {
				batch = append(batch, again())
			}
			s.produceAll(batch...)
		}},
		{"conflict", 2, func() {
			e := again()
			switch s.random.IntN(4) {
			case 0:
				e.Messages++
			case 1:
				e.Agent += "x"
			case 2:
				e.OccurredAt = e.OccurredAt.Add(time.Microsecond)
			default:
				e.Conversation = "another" // which is no part of what must agree
			}
			s.produceAll(e, again(), s.newEvent())
		}},
		{"poison", 1, func() {
			partition := s.random.Int32N(s.reference.partitions)
			s.sendAll([]*kgo.Record{{Topic: kafka.TopicEvents, Partition: partition, Value: []byte("not an event")}}, nil, []bool{false})
		}},
		{"wrong partition", 1, func() {
			e := s.newEvent()
			key := schemas.RecordKey(e.Workspace, e.ID)
			partition := (schemas.PartitionOf(key, s.reference.partitions) + 1) % s.reference.partitions
			s.sendAll([]*kgo.Record{{Topic: kafka.TopicEvents, Partition: partition, Key: key, Value: schemas.EncodeEvent(nil, &e)}}, []schemas.Event{e}, []bool{false})
			s.produceAll(e) // and then where it belongs: it has not been counted
		}},
		{"join", 3, func() {
			if len(s.counters) < 3 {
				s.join()
			}
		}},
		{"leave", 1, func() {
			if len(s.counters) > 0 {
				s.leave(false)
			}
		}},
		{"kill in the middle", 3, func() {
			if len(s.counters) == 0 {
				return
			}
			// At a statement of the block that comes next: before or after it
			// has reached the engine.
			c, at, reaches := s.counters[s.random.IntN(len(s.counters))], 1+s.random.IntN(12), s.random.IntN(2) == 0
			struck := make(chan struct{})
			strike := sync.OnceFunc(func() { close(struck) })
			c.proxy.decide(func(_ string, n int) (forward, answer bool) {
				if n < at {
					return true, true
				}
				strike()
				return reaches && n == at, false
			})
			s.produceAll(s.newEvent(), s.newEvent(), s.newEvent(), s.newEvent())
			<-struck // progress is published all the time, so it comes
			i := slices.Index(s.counters, c)
			s.counters[0], s.counters[i] = s.counters[i], s.counters[0]
			last := s.counters[1:]
			s.counters = s.counters[:1]
			s.leave(true)
			s.counters = append(s.counters, last...)
		}},
		{"answers lost", 3, func() {
			for _, c := range s.counters {
				lost := 1 + s.random.IntN(6)
				c.proxy.decide(func(sql string, n int) (forward, answer bool) {
					return true, n > 20 || !strings.HasPrefix(sql, heading("append_block.sql")) || n%lost != 0
				})
			}
		}},
		{"engine out of reach", 2, func() {
			for _, c := range s.counters {
				until := 1 + s.random.IntN(10)
				c.proxy.decide(func(_ string, n int) (forward, answer bool) { return n > until, true })
			}
		}},
		{"rebuild", 1, func() {
			if _, err := Rebuild(s.t.Context(), s.client, RebuildOptions{}); err != nil {
				s.t.Fatalf("%s: rebuild: %v", s.seed, err)
			}
		}},
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := s.random.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			s.did[a.name]++
			began := time.Now()
			a.do()
			if s.random.IntN(3) > 0 {
				s.waitGrown()
			}
			s.t.Logf("%s took %s", a.name, time.Since(began).Round(time.Millisecond))
			return
		}
	}
}

// waitGrown waits until something more has been counted, so that steps meet a
// pipeline at work, but not for long: there may be nothing to count, and nobody
// who does.
func (s *sequence) waitGrown() {
	s.t.Helper()
	rows := func() (n uint64) {
		if err := s.client.Conn().QueryRow(s.t.Context(), `SELECT count() FROM usage_ledger`).Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		return n
	}
	before := rows()
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline) && rows() == before; {
		continue
	}
}

// checkpoint waits until all is counted and compares it, offset by offset and
// bucket by bucket.
func (s *sequence) checkpoint() {
	s.t.Helper()
	if len(s.counters) == 0 {
		s.join()
	}
	began := time.Now()
	s.waitCounted()
	s.t.Logf("waited %s", time.Since(began).Round(time.Millisecond))
	outcomes := make(map[logPlace]schemas.Outcome)
	s.each(`SELECT partition, offset, toInt8(outcome) FROM usage_ledger`, func(scan func(...any)) {
		var at logPlace
		var outcome int8
		scan(&at.partition, &at.offset, &outcome)
		if _, twice := outcomes[at]; twice {
			s.t.Errorf("%s: offset %d of partition %d is in the ledger twice", s.seed, at.offset, at.partition)
		}
		outcomes[at] = schemas.Outcome(outcome)
	})
	for _, difference := range differences(outcomes, s.reference.outcomes()) {
		s.t.Errorf("%s: ledger: %s", s.seed, difference)
	}
	for _, rollup := range tables.Rollups {
		got, want := s.bucketsOf(rollup), s.reference.rollup(rollup)
		if rollup.RetentionDays > 0 {
			oldest := time.Now().AddDate(0, 0, 2-rollup.RetentionDays).Unix()
			for _, side := range []map[bucket]sums{got, want} {
				for key := range side {
					if key.time < oldest {
						delete(side, key)
					}
				}
			}
		}
		maps.DeleteFunc(want, func(_ bucket, sum sums) bool { return sum == sums{} })
		for _, difference := range differences(got, want) {
			s.t.Errorf("%s: %s: %s", s.seed, rollup.Table, difference)
		}
	}
	if report := s.audit(); !report.Exact {
		s.t.Errorf("%s: the audit finds %+v", s.seed, report.Findings)
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// Random sequences of what producers, consumers and faults do, against the real
// engine: ledger and rollups are what the log asks for, at every checkpoint.
// One is short; with AGENTMETER_SLOW there are more and longer ones, for 20 seconds, and
// with AGENTMETER_LONG for ten minutes, or as long as that says.
func TestRandomSequencesAreCountedExactly(t *testing.T) {
	seed := randomSeed(t)
	budget := time.Duration(slowtest.Number(0, 20)) * time.Second
	if text := os.Getenv(longVariable); text != "" {
		budget = 10 * time.Minute
		if d, err := time.ParseDuration(text); err == nil {
			budget = d
		}
	}
	began := time.Now()
	did := make(map[string]int)
	for round := uint64(0); round == 0 || time.Since(began) < budget; round++ {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			s := newSequence(t, rand.New(rand.NewPCG(seed, round)))
			s.seed = fmt.Sprintf("%s=%d, round %d", seedVariable, seed, round)
			s.join()
			s.produceAll(s.newEvent())
			for range slowtest.Number(1, 2) {
				for range slowtest.Number(8, 20) {
					s.step()
				}
				s.checkpoint()
			}
			for name, n := range s.did {
				did[name] += n
			}
		})
		if t.Failed() {
			break
		}
	}
	t.Logf("did %v", did)
}
