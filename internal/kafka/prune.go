package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// originHeader is of a record that was written again: offset and milliseconds,
// as it had them first.
const originHeader = "agentmeter-origin"

// Origin is the offset and the broker's time that a record had when it was
// written first, which are its own unless Prune has written it again.
func Origin(record *kgo.Record) (offset int64, at time.Time) {
	for _, header := range record.Headers {
		if header.Key != originHeader {
			continue
		}
		first, millis, _ := strings.Cut(string(header.Value), "/")
		offset, errOffset := strconv.ParseInt(first, 10, 64)
		ms, errTime := strconv.ParseInt(millis, 10, 64)
		if errOffset == nil && errTime == nil {
			return offset, time.UnixMilli(ms).UTC()
		}
	}
	return record.Offset, record.Timestamp.UTC()
}

// again is a record to be written that says the same as one that goes.
func again(record *kgo.Record) *kgo.Record {
	headers := slices.Clone(record.Headers)
	if !slices.ContainsFunc(headers, func(h kgo.RecordHeader) bool { return h.Key == originHeader }) {
		origin := fmt.Sprintf("%d/%d", record.Offset, record.Timestamp.UnixMilli())
		headers = append(headers, kgo.RecordHeader{Key: originHeader, Value: []byte(origin)})
	}
	return &kgo.Record{Topic: record.Topic, Partition: record.Partition, Key: record.Key, Value: record.Value, Headers: headers}
}

// Drop says of a record whether it is to go.
type Drop func(*kgo.Record) bool

// Pruned counts the records of a topic of which those that drop says are to go.
type Pruned struct {
	Dropped, Kept int
}

// Find counts the records of a topic that drop is true of, and those among
// which they lie.
func Find(ctx context.Context, options []kgo.Opt, topic string, drop Drop) (Pruned, error) {
	p, _, err := find(ctx, options, topic, drop)
	return p, err
}

// find also returns, for each partition, the offset after the last record that
// is to go.
func find(ctx context.Context, options []kgo.Opt, topic string, drop Drop) (total Pruned, below map[int32]int64, err error) {
	below = make(map[int32]int64)
	since := make(map[int32]int) // kept since the last one that goes
	err = EachRecord(ctx, options, topic, nil, func(record *kgo.Record) error {
		if drop(record) {
			total.Dropped++
			total.Kept += since[record.Partition]
			below[record.Partition], since[record.Partition] = record.Offset+1, 0
		} else {
			since[record.Partition]++
		}
		return nil
	})
	return total, below, err
}

// Prune takes the records that drop is true of out of a topic. A log cannot lose
// a record from its middle; so what is kept of the part that goes is written
// again at the log's end, in order, and once that is acknowledged the log is cut
// off below it. Whoever reads meanwhile, or after a prune that was cut off,
// reads records twice, which has to be harmless: Origin tells that they are the
// same. A partition of which nothing is left gets an empty record, since a log
// must not end where it begins.
//
// Brokers delete files, not records: the bytes go once the file that they lie
// in is full or old enough to be closed (segment.bytes, segment.ms).
func Prune(ctx context.Context, options []kgo.Opt, topic string, drop Drop) (Pruned, error) {
	pruned, below, err := find(ctx, options, topic, drop)
	if err != nil || pruned.Dropped == 0 {
		return pruned, err
	}
	client, err := kgo.NewClient(append(slices.Clone(options), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return pruned, fmt.Errorf("prune %s: connect: %w", topic, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	written := make(map[int32]bool)
	acknowledged := kgo.AbortingFirstErrPromise(client)
	err = EachRecord(ctx, options, topic, below, func(record *kgo.Record) error {
		if drop(record) || len(record.Value) == 0 {
			return nil
		}
		written[record.Partition] = true
		client.Produce(ctx, again(record), acknowledged.Promise())
		return nil
	})
	if err = errors.Join(err, acknowledged.Err()); err != nil {
		return pruned, fmt.Errorf("prune %s: %w", topic, err)
	}
	ends, err := LogEnds(ctx, admin, topic)
	if err != nil {
		return pruned, err
	}
	cut := make(kadm.Offsets)
	for partition, offset := range below {
		if !written[partition] && ends[partition] == offset {
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition}).FirstErr(); err != nil {
				return pruned, fmt.Errorf("prune %s: %w", topic, err)
			}
		}
		cut.AddOffset(topic, partition, offset, -1)
	}
	deleted, err := admin.DeleteRecords(ctx, cut)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return pruned, fmt.Errorf("prune %s: delete records: %w", topic, err)
	}
	return pruned, nil
}
