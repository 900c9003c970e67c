package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says where Kafka is.
type Config struct {
	// Brokers are the seed brokers, host:port each.
	Brokers []string
	// ClientID names this process in the broker's logs and quotas.
	ClientID string
	// Dial, where set, makes the connections, instead of TCP.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if len(c.Brokers) == 0 {
		faults = append(faults, errors.New("kafka: at least one broker is required, host:port"))
	}
	for _, broker := range c.Brokers {
		if _, _, err := net.SplitHostPort(broker); err != nil {
			faults = append(faults, fmt.Errorf("kafka: broker %q is not of the form host:port: %w", broker, err))
		}
	}
	return errors.Join(faults...)
}

// Options are the options that every client shares.
func (c Config) Options(log *slog.Logger) []kgo.Opt {
	dial := kgo.DialTimeout(5 * time.Second)
	if c.Dial != nil {
		dial = kgo.Dialer(c.Dial)
	}
	return []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.WithLogger(slogAdapter{log}),
		kgo.RetryBackoffFn(backoff),
		dial,
	}
}

// ProducerOptions suit a producer of many small records whose callers wait for
// the acknowledgement of all in-sync replicas.
func (c Config) ProducerOptions(log *slog.Logger) []kgo.Opt {
	return append(c.Options(log),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2 of the key: schemas.PartitionOf
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(100_000),
		kgo.MaxBufferedBytes(64<<20),
		kgo.RecordDeliveryTimeout(30*time.Second),
	)
}

// backoff is jitter-free on purpose where one broker serves few clients: it
// starts small, so that a restarted broker is found at once, and grows to a
// second.
func backoff(tries int) time.Duration {
	return min(50*time.Millisecond<<min(max(tries-1, 0), 5), time.Second)
}
