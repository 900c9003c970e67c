package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"agentmeter/internal/pause"
)

// The topics.
const (
	TopicEvents     = "usage.events.v1"
	TopicDirectory  = "usage.directory.v1"
	TopicDeadLetter = "usage.deadletter.v1"
)

// Plan says what the topics must be like where they are created.
type Plan struct {
	// EventPartitions is how many partitions the events topic has. It is part
	// of the stream's meaning: it changes by a cut-over to a new topic.
	EventPartitions int32
	// Replication is the replication factor; -1 leaves it to the broker.
	Replication int16
	// MinInsyncReplicas; 0 leaves it to the broker.
	MinInsyncReplicas int
	// EventRetention bounds how long the rollup may lag before it loses
	// events; DeadLetterRetention how long what could not be counted is kept.
	EventRetention      time.Duration
	DeadLetterRetention time.Duration
}

// DefaultPlan suits the embedded broker and a first installation.
func DefaultPlan() Plan {
	return Plan{
		EventPartitions:     4,
		Replication:         -1,
		EventRetention:      7 * 24 * time.Hour,
		DeadLetterRetention: 30 * 24 * time.Hour,
	}
}

// Validate reports everything that is wrong with the plan.
func (p Plan) Validate() error {
	var faults []error
	if p.EventPartitions < 1 {
		faults = append(faults, fmt.Errorf("--event-partitions: %d is not positive; give 1 or more, such as 4", p.EventPartitions))
	}
	if p.EventRetention < time.Hour {
		faults = append(faults, fmt.Errorf("--event-retention: %s is less than an hour, and events would be deleted before a short outage ends; give more, such as 168h", p.EventRetention))
	}
	switch {
	case p.Replication != -1 && p.Replication < 1:
		faults = append(faults, fmt.Errorf("--replication: %d is neither positive nor -1, which leaves it to the brokers", p.Replication))
	case p.MinInsyncReplicas < 0:
		faults = append(faults, fmt.Errorf("--min-insync-replicas: %d is negative; 0 leaves it to the brokers", p.MinInsyncReplicas))
	case p.Replication > 0 && p.MinInsyncReplicas > int(p.Replication):
		faults = append(faults, fmt.Errorf("--min-insync-replicas: %d are more than --replication %d makes, and nothing could be acknowledged", p.MinInsyncReplicas, p.Replication))
	}
	if p.DeadLetterRetention < time.Hour {
		faults = append(faults, fmt.Errorf("kafka: dead-letter retention: %s is less than an hour", p.DeadLetterRetention))
	}
	return errors.Join(faults...)
}

const (
	timestampType   = "message.timestamp.type"
	cleanupPolicy   = "cleanup.policy"
	logAppendTime   = "LogAppendTime"
	retentionMillis = "retention.ms"
)

func (p Plan) topics() map[string]topicSpec {
	millis := func(d time.Duration) *string { s := strconv.FormatInt(d.Milliseconds(), 10); return &s }
	text := func(s string) *string { return &s }
	spec := func(partitions int32, retention *string) topicSpec {
		configs := map[string]*string{
			timestampType:   text(logAppendTime),
			cleanupPolicy:   text("delete"),
			retentionMillis: retention,
			// Bytes never delete what time has not.
			"retention.bytes": text("-1"),
		}
		if p.MinInsyncReplicas > 0 {
			configs["min.insync.replicas"] = text(strconv.Itoa(p.MinInsyncReplicas))
		}
		return topicSpec{partitions: partitions, configs: configs}
	}
	return map[string]topicSpec{
		TopicEvents: spec(p.EventPartitions, millis(p.EventRetention)),
		// The directory's history answers "as of" questions and is small.
		TopicDirectory:  spec(1, text("-1")),
		TopicDeadLetter: spec(1, millis(p.DeadLetterRetention)),
	}
}

type topicSpec struct {
	partitions int32
	configs    map[string]*string
}

// EnsureTopics creates the topics that are missing and then checks all of
// them. It is safe to run twice and by two at once. It returns the topics that
// it created.
func EnsureTopics(ctx context.Context, admin *kadm.Client, plan Plan) (created []string, err error) {
	for name, spec := range plan.topics() {
		answer, err := admin.CreateTopic(ctx, spec.partitions, plan.Replication, spec.configs, name)
		switch {
		case err == nil && answer.Err == nil:
			created = append(created, name)
		case errors.Is(err, kerr.TopicAlreadyExists) || errors.Is(answer.Err, kerr.TopicAlreadyExists):
		default:
			return created, fmt.Errorf("create topic %s: %w", name, errors.Join(err, answer.Err))
		}
	}
	// A broker answers for a new topic once it has heard of it from the
	// controller, which may be after the controller has said that it is made, by
	// us or by another one a moment ago.
	ctx, cancel := context.WithTimeout(ctx, newTopicPatience)
	defer cancel()
	for {
		err := CheckTopics(ctx, admin)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return created, err
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return created, err
		}
	}
}

// LeftAsItIs says in what the events topic is not as the plan would have made it. Only
// what is missing is ever made.
func LeftAsItIs(ctx context.Context, admin *kadm.Client, plan Plan) (differences []string, err error) {
	stream, err := DescribeStream(ctx, admin, TopicEvents)
	if err != nil {
		return nil, err
	}
	if stream.Partitions != plan.EventPartitions {
		differences = append(differences, fmt.Sprintf("%s has %d partitions and keeps them, not %d: they change by a cut-over to a new topic, docs/operations/partitions.md",
			TopicEvents, stream.Partitions, plan.EventPartitions))
	}
	retention, err := EventRetention(ctx, admin)
	if err != nil {
		return nil, err
	}
	if retention != plan.EventRetention {
		kept := retention.String()
		if retention == math.MaxInt64 {
			kept = "ever"
		}
		differences = append(differences, fmt.Sprintf("%s keeps events for %s and goes on to, not for %s: set its %s with kafka-configs", TopicEvents, kept, plan.EventRetention, retentionMillis))
	}
	return differences, nil
}

// newTopicPatience is how long a new topic may be unknown to a broker.
const newTopicPatience = 15 * time.Second

// CheckTopics refuses topics on which counting would be wrong: missing ones,
// and ones whose record timestamps are not the broker's.
func CheckTopics(ctx context.Context, admin *kadm.Client) error {
	configs, err := admin.DescribeTopicConfigs(ctx, TopicEvents, TopicDirectory, TopicDeadLetter)
	if err != nil {
		return fmt.Errorf("describe topics: %w", err)
	}
	var faults []error
	for _, config := range configs {
		if config.Err != nil {
			faults = append(faults, fmt.Errorf("topic %s: %w (agentmeter migrate creates it)", config.Name, config.Err))
			continue
		}
		values := make(map[string]string)
		for _, entry := range config.Configs {
			values[entry.Key] = entry.MaybeValue()
		}
		if got := values[timestampType]; got != logAppendTime {
			faults = append(faults, fmt.Errorf("topic %s: %s is %q and must be %s, or a producer's clock would decide where a block lies; set it with kafka-configs",
				config.Name, timestampType, got, logAppendTime))
		}
		if got := values[cleanupPolicy]; got != "delete" {
			faults = append(faults, fmt.Errorf("topic %s: %s is %q and must be delete, or compaction would remove events before they are counted; set it with kafka-configs",
				config.Name, cleanupPolicy, got))
		}
	}
	return errors.Join(faults...)
}

// EventRetention is for how long Kafka keeps events, as their topic is
// configured now; math.MaxInt64 where it keeps them for ever.
func EventRetention(ctx context.Context, admin *kadm.Client) (time.Duration, error) {
	configs, err := admin.DescribeTopicConfigs(ctx, TopicEvents)
	if err != nil {
		return 0, fmt.Errorf("describe topic %s: %w", TopicEvents, err)
	}
	config, err := configs.On(TopicEvents, nil)
	if err := errors.Join(err, config.Err); err != nil {
		return 0, fmt.Errorf("describe topic %s: %w", TopicEvents, err)
	}
	for _, entry := range config.Configs {
		if entry.Key != retentionMillis {
			continue
		}
		millis, err := strconv.ParseInt(entry.MaybeValue(), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("topic %s: %s is %q: %w", TopicEvents, retentionMillis, entry.MaybeValue(), err)
		}
		if millis < 0 || millis > math.MaxInt64/int64(time.Millisecond) {
			return math.MaxInt64, nil
		}
		return time.Duration(millis) * time.Millisecond, nil
	}
	return 0, fmt.Errorf("topic %s: Kafka does not tell %s", TopicEvents, retentionMillis)
}

// Stream identifies one incarnation of a topic: a recreated topic is another.
type Stream struct {
	ID         uuid.UUID
	Topic      string
	Partitions int32
}

// DescribeStream asks the broker for a topic's id and partition count.
func DescribeStream(ctx context.Context, admin *kadm.Client, topic string) (Stream, error) {
	// A client keeps metadata for some seconds, in which a recreated topic would
	// have its old id. With authorized operations they are asked for anew.
	topics, err := admin.ListTopics(kadm.WithAuthorizedOps(ctx), topic)
	if err != nil {
		return Stream{}, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	detail, ok := topics[topic]
	if !ok || detail.Err != nil {
		return Stream{}, fmt.Errorf("describe topic %s: %w", topic, errors.Join(detail.Err, errIf(!ok, "not found")))
	}
	return Stream{ID: uuid.UUID(detail.ID), Topic: topic, Partitions: int32(len(detail.Partitions))}, nil
}

// LogStarts lists the first offset of each of the topic's partitions. One whose
// leader does not answer is absent, and err says why.
func LogStarts(ctx context.Context, admin *kadm.Client, topic string) (map[int32]int64, error) {
	listed, err := admin.ListStartOffsets(ctx, topic)
	return answered("log starts", topic, listed, err)
}

// LogEnds lists the offset that each of the topic's partitions gives to its
// next record, as LogStarts does.
func LogEnds(ctx context.Context, admin *kadm.Client, topic string) (map[int32]int64, error) {
	listed, err := admin.ListEndOffsets(ctx, topic)
	return answered("log ends", topic, listed, err)
}

func answered(what, topic string, listed kadm.ListedOffsets, err error) (map[int32]int64, error) {
	offsets := make(map[int32]int64)
	faults := []error{err}
	listed.Each(func(offset kadm.ListedOffset) {
		if offset.Err == nil {
			offsets[offset.Partition] = offset.Offset
		} else {
			faults = append(faults, fmt.Errorf("partition %d: %w", offset.Partition, offset.Err))
		}
	})
	if err := errors.Join(faults...); err != nil {
		return offsets, fmt.Errorf("list %s of %s: %w", what, topic, err)
	}
	return offsets, nil
}

func errIf(condition bool, text string) error {
	if condition {
		return errors.New(text)
	}
	return nil
}
