package rollup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
)

// adopted is a stream that the ledger knows: a topic by its id, with the
// offset at which each partition's run in the ledger begins.
type adopted struct {
	id         uuid.UUID
	partitions int32
	starts     []int64
	at         time.Time // when it was adopted
}

// ledger is that of one of the stream's partitions. One beyond those that were
// adopted has no start; it is not taken over (takeOver).
func (s adopted) ledger(client *clickhouse.Client, partition int32, timeout time.Duration) *ledger {
	l := &ledger{client: client, stream: s.id, partition: partition, timeout: timeout}
	if int(partition) < len(s.starts) {
		l.start = s.starts[partition]
	}
	return l
}

// ErrForeignTopic means that the events topic is not the one that the ledger
// was built from. Nothing is counted until somebody decides.
var ErrForeignTopic = errors.New("the topic is not the one that the ledger was built from")

// errNotAnswered is of a partition of which a broker said nothing.
var errNotAnswered = errors.New("no broker answered for it")

var (
	streamsSQL         = parseSQL("streams.sql")
	selectStream       = renderSQL(streamsSQL, "latest", nil)
	selectLastAdoption = renderSQL(streamsSQL, "last_adoption", nil)
	selectAdoptions    = renderSQL(streamsSQL, "adoptions", nil)
	insertStream       = renderSQL(streamsSQL, "insert", nil)
)

// adoptStream returns the stream that the topic is, introducing it to the
// ledger when that knows none. It refuses, with ErrForeignTopic, a topic that
// was recreated or whose partition count changed: both end the unbroken run of
// offsets that counting rests on.
func adoptStream(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, topic string) (adopted, error) {
	live, err := kafka.DescribeStream(ctx, admin, topic)
	if err != nil {
		return adopted{}, err
	}
	known, found, err := readStream(ctx, client, topic)
	if err != nil {
		return adopted{}, err
	}
	if !found {
		starts, err := everyPartition(ctx, admin, live, kafka.LogStarts)
		if err != nil {
			return adopted{}, err
		}
		if err := insertAdopted(ctx, client, topic, adopted{id: live.ID, partitions: live.Partitions, starts: starts}); err != nil {
			return adopted{}, err
		}
		// Two that adopt at once read the same winner.
		if known, found, err = readStream(ctx, client, topic); err != nil || !found {
			return adopted{}, fmt.Errorf("read adopted stream back: found %v: %w", found, err)
		}
	}
	if known.id != live.ID || known.partitions != live.Partitions {
		return adopted{}, fmt.Errorf("%w: %w", ErrForeignTopic, foreignTopic(live, known.id, known.partitions))
	}
	return known, nil
}

// everyPartition lists an offset of each partition of a stream, and insists on
// an answer for every one.
func everyPartition(ctx context.Context, admin *kadm.Client, stream kafka.Stream, list func(context.Context, *kadm.Client, string) (map[int32]int64, error)) ([]int64, error) {
	listed, err := list(ctx, admin, stream.Topic)
	offsets := make([]int64, stream.Partitions)
	for p := range stream.Partitions {
		offset, ok := listed[p]
		if !ok {
			return nil, fmt.Errorf("the log of %s/%d is not known: %w", stream.Topic, p, errors.Join(err, errNotAnswered))
		}
		offsets[p] = offset
	}
	return offsets, nil
}

func readStream(ctx context.Context, client *clickhouse.Client, topic string) (adopted, bool, error) {
	rows, err := client.Conn().Query(clickhouse.WithParams(ctx, map[string]string{"topic": topic}), selectStream)
	if err != nil {
		return adopted{}, false, fmt.Errorf("read stream of %s: %w", topic, err)
	}
	defer rows.Close()
	if !rows.Next() {
		return adopted{}, false, rows.Err()
	}
	var known adopted
	if err := rows.Scan(&known.id, &known.partitions, &known.starts, &known.at); err != nil {
		return adopted{}, false, fmt.Errorf("read stream of %s: %w", topic, err)
	}
	return known, true, rows.Err()
}

// insertAdopted makes the stream the topic's latest one, whatever the clocks of
// those that adopted before said.
func insertAdopted(ctx context.Context, client *clickhouse.Client, topic string, stream adopted) error {
	var last time.Time
	err := client.Conn().QueryRow(clickhouse.WithParams(ctx, map[string]string{"topic": topic}), selectLastAdoption).Scan(&last)
	if err != nil {
		return fmt.Errorf("adopt %s: %w", topic, err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	if !at.After(last) {
		at = last.Add(time.Millisecond)
	}
	batch, err := client.Conn().PrepareBatch(client.DurableContext(ctx), insertStream)
	if err != nil {
		return fmt.Errorf("adopt %s: %w", topic, err)
	}
	if err := batch.Append(stream.id, topic, stream.partitions, slices.Clone(stream.starts), at); err != nil {
		return fmt.Errorf("adopt %s: %w", topic, err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("adopt %s: %w", topic, err)
	}
	return nil
}
