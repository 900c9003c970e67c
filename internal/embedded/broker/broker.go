package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"agentmeter/internal/embedded/dirlock"
	"agentmeter/internal/fault"
)

// ErrInUse is returned by Open when another process holds the data directory.
var ErrInUse = dirlock.ErrInUse

const (
	timestampType = "message.timestamp.type"
	appendTime    = "LogAppendTime"
	// never is kfake's own cleaner's interval: a century.
	never = "3155760000000"
)

// Broker is a running broker. Close it.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	log     *slog.Logger
	metrics *metrics
	lock    *flock.Flock
	stamper *stamper

	admin    *kadm.Client
	trimming atomic.Bool // our own DeleteRecords is under way
	stop     context.CancelCauseFunc
	done     sync.WaitGroup
	closed   sync.Once
	closeErr error
}

// Open starts a broker on the data directory. When it returns, clients can
// connect to Addr.
func Open(cfg Config) (_ *Broker, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	lock, err := dirlock.Take("broker", cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Unlock())
		}
	}()

	b := &Broker{log: cfg.Logger, metrics: newMetrics(cfg.Registerer), lock: lock, stamper: &stamper{}}
	listen := func(string, string) (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", cfg.Listen)
		if err != nil {
			return nil, err
		}
		b.addr = l.Addr().String()
		return newGuardListener(l, func(from net.Addr) {
			b.metrics.frames.Inc()
			b.log.Warn("connection does not speak the Kafka protocol", "from", from)
		}), nil
	}
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ListenFn(listen),
		kfake.DataDir(cfg.Dir),
		kfake.ClusterID(uuid.NewString()), // of a new directory; an old one has its own
		kfake.BrokerConfigs(map[string]string{
			"log.message.timestamp.type": appendTime,
			"log.cleaner.backoff.ms":     never,
		}),
		kfake.WithLogger(logger{b.log}),
	)
	if err != nil {
		return nil, fmt.Errorf("start broker on %s: %w", cfg.Dir, err)
	}
	// After a kill it has read the whole log at once, which is garbage now.
	debug.FreeOSMemory()
	b.cluster.ControlKey(int16(kmsg.Produce), b.onProduce)
	b.cluster.ControlKey(int16(kmsg.CreateTopics), b.onCreateTopics)
	b.cluster.ControlKey(int16(kmsg.DeleteRecords), b.onDeleteRecords)

	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ClientID("agentmeter-broker"), kgo.DisableClientMetrics(),
		kgo.MetadataMinAge(10*time.Millisecond)) // topics come and go between two runs
	if err != nil {
		b.cluster.Close()
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.admin = kadm.NewClient(client)
	ctx, stop := context.WithCancelCause(context.Background())
	b.stop = stop
	b.done.Go(func() { b.applyRetention(ctx, cfg.RetentionInterval) })
	b.log.Info("broker started", "dir", cfg.Dir, "addr", b.addr)
	return b, nil
}

// Addr is the host:port that clients connect to and are told.
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker and saves what a kill would lose: idempotence windows
// and group members. It is safe to call twice.
func (b *Broker) Close() error {
	b.closed.Do(func() {
		b.stop(errors.New("broker is closing"))
		b.done.Wait()
		b.admin.Close()
		b.cluster.Close()
		b.closeErr = b.lock.Unlock()
		b.log.Info("broker stopped", "addr", b.addr)
	})
	return b.closeErr
}

// onProduce stamps the batches of a request, which the broker then handles as
// if they had come that way.
func (b *Broker) onProduce(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's signature
	b.cluster.KeepControl()
	produce, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return nil, nil, false
	}
	fault.Point(fault.BrokerBefore)
	now := time.Now().UnixMilli()
	for i := range produce.Topics {
		partitions := produce.Topics[i].Partitions
		for j := range partitions {
			var result stampResult
			partitions[j].Records, result = b.stamper.stamp(partitions[j].Records, now)
			b.metrics.batches.WithLabelValues(string(result)).Inc()
		}
	}
	return nil, nil, false
}

// onCreateTopics makes new topics report what they all do, whatever their
// creator asked for.
func (b *Broker) onCreateTopics(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's signature
	b.cluster.KeepControl()
	creation, ok := req.(*kmsg.CreateTopicsRequest)
	if !ok {
		return nil, nil, false
	}
	for i := range creation.Topics {
		topic := &creation.Topics[i]
		topic.Configs = slices.DeleteFunc(topic.Configs, func(c kmsg.CreateTopicsRequestTopicConfig) bool {
			return c.Name == timestampType
		})
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = timestampType, new(string)
		*config.Value = appendTime
		topic.Configs = append(topic.Configs, config)
	}
	return nil, nil, false
}

// onDeleteRecords refuses to delete a partition's last record: one emptied to
// its end starts again at offset 0 after a kill.
func (b *Broker) onDeleteRecords(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's signature
	b.cluster.KeepControl()
	deletion, ok := req.(*kmsg.DeleteRecordsRequest)
	if !ok || b.trimming.Load() {
		return nil, nil, false
	}
	var tooFar bool
	b.cluster.SleepControl(func() { tooFar = b.deletesLast(deletion) })
	if !tooFar {
		return nil, nil, false
	}
	res := deletion.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range deletion.Topics {
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewDeleteRecordsResponseTopicPartition()
			partition.Partition = p.Partition
			partition.LowWatermark = -1
			partition.ErrorCode = kerr.PolicyViolation.Code
			topic.Partitions = append(topic.Partitions, partition)
		}
		res.Topics = append(res.Topics, topic)
	}
	return res, nil, true
}

// deletesLast reports whether a deletion reaches the end of a partition, or
// whether it cannot be told.
func (b *Broker) deletesLast(deletion *kmsg.DeleteRecordsRequest) bool {
	for _, t := range deletion.Topics {
		ends, err := b.admin.ListEndOffsets(context.Background(), t.Topic)
		if err != nil {
			return true
		}
		for _, p := range t.Partitions {
			end, known := ends.Lookup(t.Topic, p.Partition)
			if !known || end.Err != nil || p.Offset < 0 || p.Offset >= end.Offset {
				return true
			}
		}
	}
	return false
}

// logger passes kfake's warnings on.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("kfake", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("kfake", "message", fmt.Sprintf(format, args...))
	default: // each request: too much
	}
}
