package ingest

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"agentmeter/internal/kafka"
)

// Config of the write side.
type Config struct {
	// EventsTopic and DirectoryTopic are where the records go.
	EventsTopic    string
	DirectoryTopic string
	// MaxBodyBytes bounds a request's body, compressed and decompressed.
	MaxBodyBytes int64
	// MaxEventBytes bounds one event as it was sent.
	MaxEventBytes int
	// MaxEvents bounds the events of a request.
	MaxEvents int
	// MaxEventAge is how far back an event may lie without events:import. The
	// rollup keeps the ids of that time at hand.
	MaxEventAge time.Duration
	// MaxEventSkew is how far ahead the sender's clock may be.
	MaxEventSkew time.Duration
	// MaxInFlightBytes bounds what requests hold between a body's arrival and
	// its answer, and what waits for Kafka after it. No sender has more of it than
	// it leaves free (429); more than that is refused with 503.
	MaxInFlightBytes int64
	// RateLimit is how many events a second each key may send (429), twice as many
	// in a burst, and a whole request at any rate. A key is a workspace and subject
	// of tokens. 0: no limit.
	RateLimit int
	// MaxTurnBytes bounds the bodies that are decoded and sent to Kafka at once,
	// and is shared out in the same way; others wait for their turn. 0: by the
	// number of processors.
	MaxTurnBytes int64
	// ConversationKey, where set, is what ids of conversations are hashed with, which
	// are stored nowhere then.
	ConversationKey []byte
	// AckTimeout is how long a request waits for Kafka before it answers 503.
	AckTimeout time.Duration
}

// DefaultConfig holds the contract's limits.
func DefaultConfig() Config {
	return Config{
		EventsTopic:      kafka.TopicEvents,
		DirectoryTopic:   kafka.TopicDirectory,
		MaxBodyBytes:     16 << 20,
		MaxEventBytes:    1 << 20,
		MaxEvents:        10_000,
		MaxEventAge:      35 * 24 * time.Hour,
		MaxEventSkew:     5 * time.Minute,
		MaxInFlightBytes: 192 << 20,
		AckTimeout:       20 * time.Second,
	}
}

// turnBytesPerProcessor keeps a processor busy while Kafka's acknowledgements are
// waited for, and what lies before a newcomer short.
const turnBytesPerProcessor = 4 << 20

func (c Config) withDefaults() Config {
	if c.MaxTurnBytes == 0 {
		c.MaxTurnBytes = turnBytesPerProcessor * int64(runtime.GOMAXPROCS(0))
	}
	return c
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.EventsTopic == "" || c.DirectoryTopic == "" {
		fault("ingest: events topic %q and directory topic %q: both are required", c.EventsTopic, c.DirectoryTopic)
	}
	switch {
	case c.MaxBodyBytes < 1<<10 || c.MaxBodyBytes > 1<<30:
		fault("--max-body-bytes: %d is not between 1024 (1 KiB) and 1073741824 (1 GiB)", c.MaxBodyBytes)
	case c.MaxEventBytes < 1<<10 || int64(c.MaxEventBytes) > c.MaxBodyBytes:
		fault("ingest: max event bytes %d: 1 KiB to the max body bytes", c.MaxEventBytes)
	}
	if c.MaxEvents < 1 {
		fault("--max-events: %d is not positive", c.MaxEvents)
	}
	if c.MaxEventAge <= 0 {
		fault("--max-event-age: %v is not positive", c.MaxEventAge)
	}
	if c.MaxEventSkew < 0 {
		fault("--max-event-skew: %v is negative", c.MaxEventSkew)
	}
	if c.MaxInFlightBytes < 4*c.MaxBodyBytes {
		fault("--max-in-flight-bytes: %d is less than four times --max-body-bytes, and the largest request would never fit; give at least %d", c.MaxInFlightBytes, 4*c.MaxBodyBytes)
	}
	if c.RateLimit < 0 {
		fault("--ingest-rate: %d is negative; 0 is no limit", c.RateLimit)
	}
	if c.MaxTurnBytes != 0 && c.MaxTurnBytes < 8*minTurnBytes {
		fault("--max-turn-bytes: %d is less than %d; give more, or 0", c.MaxTurnBytes, 8*minTurnBytes)
	}
	if n := len(c.ConversationKey); n > 0 && n < minConversationKey {
		fault("--conversation-key-file: the key has %d bytes, at least %d are needed for one that cannot be guessed", n, minConversationKey)
	}
	if c.AckTimeout <= 0 {
		fault("ingest: ack timeout %v: must be positive", c.AckTimeout)
	}
	return errors.Join(faults...)
}
