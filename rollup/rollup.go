package rollup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
)

// Rollup counts the partitions that its consumer group gives it.
type Rollup struct {
	config     Config
	kafka      kafka.Config
	clickhouse *clickhouse.Client
	log        *slog.Logger
	metrics    *metrics
	idLoads    chan struct{} // one partition at a time loads its id filter
	moved      chan struct{} // a position is known or has changed, and nobody has published it yet
	turns      turns

	client *kgo.Client // produces dead letters, asks the broker
	// refreshGroup makes the group look at once how many partitions there are.
	refreshGroup func()
	admin        *kadm.Client

	mu       sync.Mutex // guards what follows
	stream   adopted
	assigned map[topicPartition]bool // by the group; a superset of workers' keys
	foreign  bool                    // the topic is not the stream; every partition of it stands still
	leaving  bool                    // no more workers are started
	workers  map[topicPartition]*worker
	ready    error
}

type topicPartition struct {
	topic     string
	partition int32
}

// worker is a running partition: stop ends it, done closes when it has ended.
type worker struct {
	events *eventPartition // nil for a directory partition
	stop   context.CancelCauseFunc
	done   chan struct{}
}

var (
	errRevoked  = errors.New("the partition was given to another consumer")
	errStopping = errors.New("the rollup is stopping")
	errStarting = errors.New("the rollup is starting")
)

// New prepares a rollup; Run runs it. The client stays the caller's to close.
func New(config Config, kafkaConfig kafka.Config, client *clickhouse.Client, log *slog.Logger, registerer prometheus.Registerer) (*Rollup, error) {
	if err := errors.Join(config.Validate(), kafkaConfig.Validate()); err != nil {
		return nil, err
	}
	r := &Rollup{
		config:     config,
		kafka:      kafkaConfig,
		clickhouse: client,
		log:        log,
		metrics:    newMetrics(registerer),
		idLoads:    make(chan struct{}, 1),
		moved:      make(chan struct{}, 1),
		turns:      newTurns(),
		assigned:   make(map[topicPartition]bool),
		workers:    make(map[topicPartition]*worker),
		ready:      errStarting,
	}
	registerer.MustRegister(newLag(r))
	return r, nil
}

// Ready returns nil while the rollup is a running member of its group.
func (r *Rollup) Ready(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready
}

func (r *Rollup) setReady(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = err
}

// Run counts until ctx ends, then finishes the blocks under way, leaves the
// group and returns nil. It returns an error only where it could not start
// and waiting would not help, such as a foreign topic. It may be called once.
func (r *Rollup) Run(ctx context.Context) error {
	defer r.setReady(errStopping)
	// Workers outlive ctx, so that releaseAll stops them in order.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(errStopping)

	client, err := kgo.NewClient(r.kafka.ProducerOptions(r.log)...)
	if err != nil {
		return fmt.Errorf("rollup: connect: %w", err)
	}
	defer client.Close()
	r.client, r.admin = client, kadm.NewClient(client)
	if err := r.start(ctx); err != nil || ctx.Err() != nil {
		return err
	}

	// The group decides who owns what; the workers fetch for themselves.
	group, err := kgo.NewClient(append(r.kafka.Options(r.log),
		kgo.ConsumerGroup(r.config.Group),
		kgo.ConsumeTopics(kafka.TopicEvents, kafka.TopicDirectory),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, assigned map[string][]int32) { r.assign(work, assigned) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, revoked map[string][]int32) { r.unassign(revoked) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { r.unassign(lost) }),
	)...)
	if err != nil {
		return fmt.Errorf("rollup: join group: %w", err)
	}
	defer group.Close()
	r.refreshGroup = group.ForceMetadataRefresh
	group.PauseFetchTopics(kafka.TopicEvents, kafka.TopicDirectory)
	r.setReady(nil)

	var background sync.WaitGroup
	background.Go(func() { r.publishProgress(ctx, work) })
	background.Go(func() { r.commitHints(ctx, group) })
	background.Go(func() { r.reportGroupErrors(ctx, group) })
	<-ctx.Done()
	r.setReady(errStopping)
	background.Wait()
	r.releaseAll(errStopping)
	return nil
}

// reportGroupErrors polls the group client, which returns no records, since
// every topic is paused, but what goes wrong with the membership.
func (r *Rollup) reportGroupErrors(ctx context.Context, group *kgo.Client) {
	for ctx.Err() == nil {
		for _, e := range group.PollFetches(ctx).Errors() {
			if ctx.Err() == nil {
				r.log.WarnContext(ctx, "consumer group", "error", e.Err)
				pause.For(ctx, time.Second) // whatever it is, it need not be said more often
			}
		}
	}
}

// start waits for Kafka and ClickHouse and makes sure that the topic is the
// ledger's own.
func (r *Rollup) start(ctx context.Context) error {
	wait := firstRetry
	for {
		err := kafka.CheckTopics(ctx, r.admin)
		if err == nil {
			var stream adopted
			if stream, err = adoptStream(ctx, r.clickhouse, r.admin, kafka.TopicEvents); err == nil {
				r.mu.Lock()
				r.stream = stream
				r.mu.Unlock()
				return nil
			}
		}
		if errors.Is(err, ErrForeignTopic) {
			return err
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop before it could start
		}
		r.setReady(fmt.Errorf("waiting to start: %w", err))
		r.log.WarnContext(ctx, "rollup cannot start yet", "error", err, "wait", wait)
		pause.For(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

func (r *Rollup) consumerOptions() []kgo.Opt {
	return append(r.kafka.Options(r.log),
		// A jump would lose records silently: an offset that is gone is an error.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// What a producer's transaction aborted never happened. Such offsets,
		// and those of control records, become gaps.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(2*time.Second),
		kgo.FetchMaxPartitionBytes(2<<20),
		kgo.FetchMaxBytes(2<<20),
		kgo.MaxConcurrentFetches(1),
	)
}

func (r *Rollup) assign(ctx context.Context, assigned map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, partitions := range assigned {
		for _, partition := range partitions {
			r.assigned[topicPartition{topic, partition}] = true
		}
	}
	r.startWorkers(ctx)
}

// unassign gives up partitions that are the group's to give to others.
func (r *Rollup) unassign(revoked map[string][]int32) {
	r.mu.Lock()
	for topic, partitions := range revoked {
		for _, partition := range partitions {
			delete(r.assigned, topicPartition{topic, partition})
		}
	}
	r.mu.Unlock()
	r.release(revoked, errRevoked)
}

// startWorkers starts a worker for each assigned partition that has none. r.mu is held.
func (r *Rollup) startWorkers(ctx context.Context) {
	if r.leaving {
		return
	}
	for key := range r.assigned {
		if _, running := r.workers[key]; running {
			continue
		}
		ctx, stop := context.WithCancelCause(ctx)
		w := &worker{stop: stop, done: make(chan struct{})}
		log := r.log.With("topic", key.topic, "partition", key.partition)
		var run func(context.Context)
		if key.topic == kafka.TopicEvents {
			w.events = r.newEventPartition(key.partition, log)
			run = w.events.run
		} else {
			run = (&directoryPartition{
				log: log, metrics: r.metrics, clickhouse: r.clickhouse, admin: r.admin,
				partition: key.partition, consumer: r.consumerOptions(),
			}).run
		}
		r.workers[key] = w
		go func() {
			defer close(w.done)
			run(ctx)
		}()
	}
}

// switchTo makes a stream the one that is counted, one that was newly adopted or
// came back: the workers of the one before end, and others begin.
func (r *Rollup) switchTo(ctx context.Context, stream adopted) {
	r.mu.Lock()
	r.stream, r.foreign = stream, false
	old := make(map[string][]int32)
	for key, w := range r.workers {
		if w.events != nil {
			old[key.topic] = append(old[key.topic], key.partition)
		}
	}
	r.mu.Unlock()
	r.log.InfoContext(ctx, "the topic is known again; counting it", "stream", stream.id)
	r.release(old, errors.New("the topic is known again"))
	r.refreshGroup()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.startWorkers(ctx)
}

func (r *Rollup) adoptedStream() (stream adopted, foreign bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stream, r.foreign
}

// Owned returns the stream that is counted and those of its partitions that
// this process counts at present.
func (r *Rollup) Owned() (stream uuid.UUID, partitions []int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, w := range r.workers {
		if w.events != nil {
			partitions = append(partitions, key.partition)
		}
	}
	slices.Sort(partitions)
	return r.stream.id, partitions
}

func (r *Rollup) newEventPartition(partition int32, log *slog.Logger) *eventPartition {
	return &eventPartition{
		config: r.config, log: log, metrics: r.metrics, partitions: r.stream.partitions,
		ledger:   r.stream.ledger(r.clickhouse, partition, r.config.StatementTimeout),
		consumer: r.consumerOptions(), admin: r.admin, producer: r.client, idLoads: r.idLoads, moved: r.moved, turns: r.turns,
		since: time.Now(), settled: -1, st: partitionState{position: -1},
	}
}

// release stops workers and waits for them, so that a partition is given up
// only when nothing of it is under way here any more, or the drain's time is
// over. What is then still under way is harmless: the next owner waits for it
// at the partition's mutex.
func (r *Rollup) release(partitions map[string][]int32, cause error) {
	r.mu.Lock()
	var stopped []*worker
	for topic, list := range partitions {
		for _, partition := range list {
			key := topicPartition{topic, partition}
			if w := r.workers[key]; w != nil {
				stopped = append(stopped, w)
				delete(r.workers, key)
			}
		}
	}
	r.mu.Unlock()
	for _, w := range stopped {
		w.stop(cause)
	}
	for _, w := range stopped {
		<-w.done
	}
}

func (r *Rollup) releaseAll(cause error) {
	r.mu.Lock()
	r.leaving = true
	all := make(map[string][]int32)
	for key := range r.workers {
		all[key.topic] = append(all[key.topic], key.partition)
	}
	r.mu.Unlock()
	r.release(all, cause)
}

// haltAll stops every owned partition where it is. They stay owned, so that
// what is published of them says that they stand still.
func (r *Rollup) haltAll(ctx context.Context, halt *haltError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.foreign = true
	for _, w := range r.workers {
		if w.events != nil && w.events.state().halted == "" {
			w.stop(halt)
			w.events.halt(ctx, halt)
		}
	}
}

func (r *Rollup) ownedPartitions() map[int32]*eventPartition {
	r.mu.Lock()
	defer r.mu.Unlock()
	owned := make(map[int32]*eventPartition)
	for key, w := range r.workers {
		if w.events != nil {
			owned[key.partition] = w.events
		}
	}
	return owned
}

// commitHints commits the confirmed positions to Kafka, for the tools that
// show consumer lag. Nothing reads them back.
func (r *Rollup) commitHints(ctx context.Context, group *kgo.Client) {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	last := make(map[int32]int64)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		offsets := make(map[int32]kgo.EpochOffset)
		for partition, worker := range r.ownedPartitions() {
			if position := worker.state().position; position > 0 && position != last[partition] {
				offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: position}
			}
		}
		if len(offsets) == 0 {
			continue
		}
		group.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{kafka.TopicEvents: offsets},
			func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
				if err == nil {
					for partition, offset := range offsets {
						last[partition] = offset.Offset
					}
				}
			})
	}
}
