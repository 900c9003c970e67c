package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Config says where Kafka is.
type Config struct {
	// Brokers are the seed brokers, host:port each.
	Brokers []string
	// ClientID names this process in the broker's logs and quotas.
	ClientID string
	// TLS, where set, encrypts the connections.
	TLS *tls.Config
	// SASL, where its mechanism is set, signs in.
	SASL SASL
	// Metrics, where set, get what the clients do.
	Metrics *Metrics
	// Dial, where set, makes the connections, instead of TCP.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
}

// SASL is how a client signs in.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty is none.
	Mechanism string
	User      string
	Password  string
}

// String names the user, and keeps the password to itself.
func (s SASL) String() string { return s.Mechanism + " as " + s.User }

// mechanism is nil where the name is no mechanism that we know.
func (s SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "PLAIN":
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()
	}
	return nil
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if len(c.Brokers) == 0 {
		faults = append(faults, errors.New("--kafka: at least one broker is required, HOST:PORT"))
	}
	for _, broker := range c.Brokers {
		if _, _, err := net.SplitHostPort(broker); err != nil {
			faults = append(faults, fmt.Errorf("--kafka: %q is not of the form HOST:PORT: %w", broker, err))
		}
	}
	if c.SASL.Mechanism != "" {
		switch {
		case c.SASL.mechanism() == nil:
			faults = append(faults, fmt.Errorf("--kafka-sasl: %q is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", c.SASL.Mechanism))
		case c.SASL.User == "" || c.SASL.Password == "":
			faults = append(faults, errors.New("--kafka-sasl: signing in needs --kafka-user and a password in --kafka-password-file"))
		case c.SASL.Mechanism == "PLAIN" && c.TLS == nil:
			faults = append(faults, errors.New("--kafka-sasl: PLAIN without TLS would send the password to whoever listens; encrypt the connections by --kafka-tls, or use SCRAM"))
		}
	}
	return errors.Join(faults...)
}

// MaxBatchBytes is how large a batch that is read may be once it is decompressed.
// What a few bytes in Kafka would grow to is never held: a batch beyond it is an
// error of its reader's. Our own producers send a sixtieth of it at a time.
const MaxBatchBytes = 64 << 20

// Options are the options that every client shares.
func (c Config) Options(log *slog.Logger) []kgo.Opt {
	dial := kgo.DialTimeout(5 * time.Second)
	if c.Dial != nil {
		dial = kgo.Dialer(c.Dial)
	}
	said := newClientLog(log)
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.WithLogger(said),
		kgo.WithHooks(said),
		kgo.RetryBackoffFn(backoff),
		kgo.MaxDecompressBatchBytes(MaxBatchBytes),
		dial,
	}
	if c.TLS != nil {
		options = append(options, kgo.DialTLSConfig(c.TLS))
	}
	if c.SASL.Mechanism != "" {
		options = append(options, kgo.SASL(c.SASL.mechanism()))
	}
	if c.Metrics != nil {
		options = append(options, c.Metrics.option())
	}
	return options
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
