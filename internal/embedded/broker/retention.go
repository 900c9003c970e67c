package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// applyRetention applies the topics' retention.ms until ctx ends.
func (b *Broker) applyRetention(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := b.trim(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			b.metrics.retention.WithLabelValues("error").Inc()
			b.log.WarnContext(ctx, "retention not applied", "error", err)
		default:
			b.metrics.retention.WithLabelValues("ok").Inc()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// trim drops what is older than its topic's retention.ms, up to but not
// including the batch with the partition's last record.
func (b *Broker) trim(ctx context.Context, now time.Time) error {
	topics, err := b.admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	if len(topics) == 0 {
		return nil
	}
	configs, err := b.admin.DescribeTopicConfigs(ctx, topics.Names()...)
	if err != nil {
		return fmt.Errorf("describe topics: %w", err)
	}
	var faults []error
	for _, config := range configs {
		keep, limited, err := retention(config)
		if err == nil && limited {
			err = b.trimTopic(ctx, config.Name, now.Add(-keep))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("topic %s: %w", config.Name, err))
		}
	}
	return errors.Join(faults...)
}

// retention is the topic's retention.ms; a negative one keeps everything.
func retention(config kadm.ResourceConfig) (keep time.Duration, limited bool, err error) {
	if config.Err != nil {
		return 0, false, config.Err
	}
	for _, c := range config.Configs {
		if c.Key != "retention.ms" || c.Value == nil {
			continue
		}
		ms, err := strconv.ParseInt(*c.Value, 10, 64)
		const longest = int64(1<<63-1) / int64(time.Millisecond)
		if err != nil || ms < 0 || ms > longest {
			return 0, false, err
		}
		return time.Duration(ms) * time.Millisecond, true, nil
	}
	return 0, false, nil
}

func (b *Broker) trimTopic(ctx context.Context, topic string, before time.Time) error {
	starts, err := b.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	ends, err := b.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	young, err := b.admin.ListOffsetsAfterMilli(ctx, before.UnixMilli(), topic)
	if err != nil {
		return err
	}
	var deletions kadm.Offsets
	young.Each(func(o kadm.ListedOffset) {
		start, okStart := starts.Lookup(topic, o.Partition)
		end, okEnd := ends.Lookup(topic, o.Partition)
		if o.Err != nil || !okStart || !okEnd || start.Err != nil || end.Err != nil {
			return // next time
		}
		to := min(o.Offset, end.Offset-1)
		if to > start.Offset {
			deletions.Add(kadm.Offset{Topic: topic, Partition: o.Partition, At: to})
		}
	})
	if len(deletions) == 0 {
		return nil
	}
	b.trimming.Store(true)
	defer b.trimming.Store(false)
	deleted, err := b.admin.DeleteRecords(ctx, deletions)
	if err != nil {
		return err
	}
	return deleted.Error()
}
