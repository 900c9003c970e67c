package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
	"agentmeter/schemas"
)

// sending tunes the producers.
type sending struct {
	// batches per second, of each producer, and events per batch at most.
	rate  float64
	batch int
	// honest producers send nothing but new events.
	honest bool
	// giveUp is how often, in a thousand, a batch of unknown fate is dropped
	// instead of sent again.
	giveUp int
}

func usualSending() sending { return sending{rate: 7, batch: 30, giveUp: 100} }

// httpProducer posts batches to ingest. What a 202 came back for is
// acknowledged; everything else it sends again, with the same ids.
type httpProducer struct {
	sending
	book   *book
	gen    *generator
	client *http.Client
	base   string
	token  string
	recent []*entry // for re-sends a second later
}

func newHTTPProducer(b *book, s sending, random *rand.Rand, base, token string) *httpProducer {
	return &httpProducer{
		sending: s, book: b, gen: &generator{random: random, prefix: fmt.Sprintf("h%x", random.Uint32())},
		client: &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
		base:   base, token: token,
	}
}

// run sends until stop ends; the batch under way is brought to an end first,
// unless ctx ends.
func (p *httpProducer) run(ctx, stop context.Context) {
	defer p.client.CloseIdleConnections()
	for stop.Err() == nil && ctx.Err() == nil {
		if p.gen.random.IntN(20) == 0 && !p.honest {
			p.deliver(ctx, "/v1/adjustments", []*entry{p.book.add(p.gen.adjustment(p.book.pick(p.gen.random, 0)), false)})
		} else {
			p.deliver(ctx, "/v1/events", p.batchOf())
		}
		pause.For(stop, time.Duration(p.gen.random.ExpFloat64()*float64(time.Second)/p.rate))
	}
}

func (p *httpProducer) batchOf() []*entry {
	entries := make([]*entry, 0, p.batch+4)
	for range 1 + p.gen.random.IntN(p.batch) {
		entries = append(entries, p.book.add(p.gen.event(), false))
	}
	if p.honest {
		return entries
	}
	random := p.gen.random
	if random.IntN(3) == 0 { // from anywhere in the run
		entries = append(entries, live(p.book.pick(random, 0))...)
	}
	if random.IntN(3) == 0 { // from the block just before, perhaps
		entries = append(live(p.book.pick(random, 40)), entries...)
	}
	if random.IntN(5) == 0 { // twice in one batch
		entries = append(entries, entries[random.IntN(len(entries))])
	}
	if random.IntN(10) == 0 { // the whole last batch
		entries = append(entries, p.recent...)
	}
	p.recent = entries[:min(len(entries), p.batch)]
	return entries
}

// live leaves out adjustments, which have a request of their own.
func live(e *entry) []*entry {
	if e == nil || e.event.Adjustment != nil {
		return nil
	}
	return []*entry{e}
}

// deliver sends entries until they are acknowledged, given up, or ctx ends.
func (p *httpProducer) deliver(ctx context.Context, path string, entries []*entry) {
	for ctx.Err() == nil {
		err := p.post(ctx, path, entries)
		p.book.settle(err == nil, entries...)
		if err == nil {
			return
		}
		if p.gen.random.IntN(1000) < p.giveUp {
			return
		}
		pause.For(ctx, time.Duration(50+p.gen.random.IntN(200))*time.Millisecond)
	}
}

func (p *httpProducer) post(ctx context.Context, path string, entries []*entry) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, e := range entries {
		if err := encoder.Encode(wireOf(&e.event)); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, &body)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	request.Header.Set("Content-Type", "application/x-ndjson")
	if path == "/v1/adjustments" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("status %d: %.300s", response.StatusCode, content)
	}
	if err != nil {
		return err // the status came, but whoever is careful waits for the whole answer
	}
	var answer struct {
		Accepted int               `json:"accepted"`
		Rejected []json.RawMessage `json:"rejected"`
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		return err
	}
	if answer.Accepted != len(entries) || len(answer.Rejected) > 0 {
		// The harness sends nothing that may be rejected.
		panic(fmt.Sprintf("crash: ingest accepted %d of %d events: %s", answer.Accepted, len(entries), content))
	}
	return nil
}

// wireOf is an event as the HTTP contract has it.
func wireOf(e *schemas.Event) map[string]any {
	fields := map[string]any{
		"id": e.ID, "workspace_id": e.Workspace, "agent_id": e.Agent,
		"occurred_at": e.OccurredAt.Format("2006-01-02T15:04:05.000000Z07:00"),
		"credits":     e.Credits.String(), "messages": e.Messages,
	}
	if e.Adjustment != nil {
		fields["reason"] = e.Adjustment.Reason
		if e.Adjustment.EventID != "" {
			fields["event_id"] = e.Adjustment.EventID
		}
		return fields
	}
	fields["channel"] = e.Channel
	if e.Conversation != "" {
		fields["conversation_id"] = e.Conversation
	}
	if e.Model != "" {
		fields["model"] = e.Model
	}
	return fields
}

// kafkaProducer writes records itself, as the platform's own services do.
type kafkaProducer struct {
	sending
	book       *book
	gen        *generator
	brokers    []string
	partitions int32
	cuts       atomic.Int64 // connections cut after a request went out
	cutting    atomic.Bool
}

func newKafkaProducer(b *book, s sending, random *rand.Rand, brokers []string, partitions int32) *kafkaProducer {
	return &kafkaProducer{
		sending: s, book: b, gen: &generator{random: random, prefix: fmt.Sprintf("k%x", random.Uint32())},
		brokers: brokers, partitions: partitions,
	}
}

func (p *kafkaProducer) connect() (*kgo.Client, error) {
	return kgo.NewClient(
		kgo.SeedBrokers(p.brokers...),
		kgo.ClientID("crash-producer"),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond),
		kgo.RecordDeliveryTimeout(4*time.Second),
		kgo.RetryTimeout(4*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.MetadataMinAge(50*time.Millisecond),
		kgo.DialTimeout(time.Second),
		kgo.Dialer(p.dial),
	)
}

// dial makes connections that are cut now and then, after a request went out
// and before its answer came.
func (p *kafkaProducer) dial(ctx context.Context, network, host string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return &fragileConn{Conn: conn, producer: p}, nil
}

type fragileConn struct {
	net.Conn
	producer *kafkaProducer
	writes   int
}

func (c *fragileConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.writes++
	if c.producer.cutting.Load() && c.writes%40 == 0 {
		c.producer.cuts.Add(1)
		_ = c.Close() // that is the point
	}
	return n, err
}

func (p *kafkaProducer) run(ctx, stop context.Context) error {
	client, err := p.connect()
	if err != nil {
		return fmt.Errorf("crash: connect producer: %w", err)
	}
	defer client.Close()
	p.cutting.Store(!p.honest)
	defer p.cutting.Store(false)
	for stop.Err() == nil && ctx.Err() == nil {
		p.deliver(ctx, client, p.batchOf())
		if random := p.gen.random; !p.honest && random.IntN(4) == 0 {
			p.misbehave(ctx, client)
		}
		pause.For(stop, time.Duration(p.gen.random.ExpFloat64()*float64(time.Second)/p.rate))
	}
	return nil
}

func (p *kafkaProducer) batchOf() []*entry {
	random := p.gen.random
	var entries []*entry
	for range 1 + random.IntN(p.batch) {
		if random.IntN(25) == 0 && !p.honest {
			entries = append(entries, p.book.add(p.gen.adjustment(p.book.pick(random, 0)), false))
		} else {
			entries = append(entries, p.book.add(p.gen.event(), false))
		}
	}
	if p.honest {
		return entries
	}
	switch random.IntN(8) {
	case 0: // all of it twice
		entries = append(entries, entries...)
	case 1, 2:
		if e := p.book.pick(random, 0); e != nil {
			entries = append(entries, e)
		}
	case 3: // nothing but copies: an all-duplicate block, perhaps
		entries = entries[:0]
		for range p.batch {
			if e := p.book.pickAcked(random); e != nil {
				entries = append(entries, e)
			}
		}
	}
	return entries
}

// deliver sends entries until they are acknowledged, given up, or ctx ends.
func (p *kafkaProducer) deliver(ctx context.Context, client *kgo.Client, entries []*entry) {
	for len(entries) > 0 && ctx.Err() == nil {
		records := make([]*kgo.Record, len(entries))
		for i, e := range entries {
			records[i] = p.record(&e.event)
		}
		var failed []*entry
		for i, result := range client.ProduceSync(ctx, records...) {
			// ProduceSync answers in the order of the acknowledgements.
			_ = i
			e := entryOf(entries, records, result.Record)
			p.book.settle(result.Err == nil, e)
			if result.Err != nil {
				failed = append(failed, e)
			}
		}
		if len(failed) > 0 && p.gen.random.IntN(1000) < p.giveUp {
			return
		}
		entries = failed
		if len(failed) > 0 {
			pause.For(ctx, 50*time.Millisecond)
		}
	}
}

func entryOf(entries []*entry, records []*kgo.Record, record *kgo.Record) *entry {
	for i := range records {
		if records[i] == record {
			return entries[i]
		}
	}
	panic("crash: a result for a record that was not sent")
}

func (p *kafkaProducer) record(e *schemas.Event) *kgo.Record {
	key := schemas.RecordKey(e.Workspace, e.ID)
	return &kgo.Record{Topic: kafka.TopicEvents, Partition: schemas.PartitionOf(key, p.partitions), Key: key, Value: schemas.EncodeEvent(nil, e)}
}

// misbehave sends one of the records that must not be counted.
func (p *kafkaProducer) misbehave(ctx context.Context, client *kgo.Client) {
	random := p.gen.random
	send := func(record *kgo.Record) bool {
		return errors.Join(client.ProduceSync(ctx, record).FirstErr()) == nil
	}
	switch random.IntN(3) {
	case 0: // no event at all
		value := fmt.Appendf([]byte{0xff, 0xff}, "%s poison %d", p.gen.prefix, p.gen.serial)
		p.gen.serial++
		listed := p.book.addPoison(value)
		p.book.settlePoison(listed, send(&kgo.Record{
			Topic: kafka.TopicEvents, Partition: int32(random.IntN(int(p.partitions))), Key: []byte("poison"), Value: value,
		}))
	case 1: // an event where its copies would not meet
		e := p.gen.event()
		listed := p.book.add(e, true)
		record := p.record(&e)
		record.Partition = (record.Partition + 1 + int32(random.IntN(int(p.partitions)-1))) % p.partitions
		p.book.settle(send(record), listed)
	case 2: // the id of another event
		if first := p.book.pickAcked(random); first != nil {
			other := p.gen.other(first.event)
			p.book.addOther(first, other)
			send(p.record(&other))
		}
	}
}
