package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// EachRecord gives yield every record of a topic that was there when it began,
// below the given offsets of its partitions where there are any, until yield
// returns an error: from the beginning, in order within each partition, control
// records left out. options are those of the client.
func EachRecord(ctx context.Context, options []kgo.Opt, topic string, below map[int32]int64, yield func(*kgo.Record) error) error {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return fmt.Errorf("read %s: connect: %w", topic, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	begins, err := LogStarts(ctx, admin, topic)
	if err != nil {
		return err
	}
	if below == nil {
		if below, err = LogEnds(ctx, admin, topic); err != nil {
			return err
		}
	}
	below = maps.Clone(below)
	from := make(map[int32]kgo.Offset)
	for partition, end := range below {
		if begins[partition] < end {
			from[partition] = kgo.NewOffset().At(begins[partition])
		}
	}
	if len(from) == 0 {
		return nil
	}
	consumer, err := kgo.NewClient(append(slices.Clone(options),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// The last offset may be a control record, which is waited for, too.
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return fmt.Errorf("read %s: connect: %w", topic, err)
	}
	defer consumer.Close()
	for left := len(from); left > 0; {
		fetches := consumer.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if faults := fetches.Errors(); len(faults) > 0 {
			return fmt.Errorf("read %s: %w", topic, faults[0].Err)
		}
		for _, record := range fetches.Records() {
			end := below[record.Partition]
			if record.Offset >= end {
				continue
			}
			if record.Offset == end-1 {
				left--
			}
			if record.Attrs.IsControl() {
				continue
			}
			if err := yield(record); err != nil {
				return err
			}
		}
	}
	return nil
}
