package ingest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"agentmeter/internal/fault"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/tracing"
)

// recordOverhead is what a record costs in memory beside its bytes: kgo.Record
// and the producer's own bookkeeping.
const recordOverhead = 256

// producer hands batches to Kafka and waits for their acknowledgement.
type producer struct {
	client  *kgo.Client
	timeout time.Duration
	metrics *metrics
	acked   *acknowledged
}

// send produces the records in their order and returns nil once all of them
// are acknowledged. Otherwise it returns a 503 that claims nothing: records
// whose fate is open may still arrive. What they hold of the budget they hold until
// the client has let go of them, so a broker that is gone cannot fill the memory.
//
// A sender that goes away changes nothing: half of a batch is worth less than
// all of it, and the sender will repeat it.
func (p *producer) send(ctx context.Context, held holding, records []kgo.Record) (err error) {
	ctx, end := tracing.Child(ctx, trace.SpanKindProducer, "produce", attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.destination.name", records[0].Topic), attribute.Int("messaging.batch.message_count", len(records)))
	defer func() { end(err) }()
	tracing.Mark(ctx, records)
	fault.Point(fault.IngestBefore)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	began := time.Now()
	acks := newAcknowledgements(len(records), p.acked, held.release)
	for i := range records {
		p.client.Produce(ctx, &records[i], acks.one)
	}
	select {
	case <-acks.done:
	case <-ctx.Done():
		return httpapi.Unavailable("kafka_slow", "Kafka has not acknowledged the events in time. They may still be counted; send them again, none counts twice.", time.Second, ctx.Err())
	}
	if err := acks.err(); err != nil {
		return httpapi.Unavailable("kafka_unavailable", "Kafka did not acknowledge the events. Some may still be counted; send them again, none counts twice.", time.Second, err)
	}
	fault.Point(fault.IngestAfter)
	p.metrics.ackSeconds.Observe(time.Since(began).Seconds())
	return nil
}

// acknowledgements collects the promises of one batch.
type acknowledgements struct {
	release func()
	acked   *acknowledged
	done    chan struct{} // closed with the last promise
	open    atomic.Int64
	failed  atomic.Pointer[error] // the first
}

func newAcknowledgements(records int, acked *acknowledged, release func()) *acknowledgements {
	a := &acknowledgements{release: release, acked: acked, done: make(chan struct{})}
	a.open.Store(int64(records))
	return a
}

func (a *acknowledgements) one(record *kgo.Record, err error) {
	if err == nil {
		a.acked.note(record)
	} else {
		a.failed.CompareAndSwap(nil, &err)
	}
	if a.open.Add(-1) == 0 {
		a.release()
		close(a.done)
	}
}

// err is the first failure of a batch that is done.
func (a *acknowledgements) err() error {
	if failed := a.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}
