package rollup

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Config tunes the rollup.
type Config struct {
	// Group is the consumer group that shares out the partitions.
	Group string
	// MaxBlockRows is how many records a block has at most. Each is one part in
	// ClickHouse, which large ones cost less. A backlog's blocks are made a few at
	// a time, one more than there are cores, so that what they take of memory does
	// not grow with the partitions.
	MaxBlockRows int
	// BlockLinger is how long a block waits for more records after its first:
	// freshness against the number of parts that ClickHouse has to merge.
	BlockLinger time.Duration
	// HotIDs is for how many recorded ids each partition keeps a filter of full
	// precision in memory (3 to 6 MB a million; it grows with the ids), so that
	// new ids need no look-up. Past it the filter stays as large and loses
	// precision: more and more new ids are looked up, and every one of them from
	// about ten times as many on. 0: there is no filter, and every id is looked
	// up.
	HotIDs int
	// ProgressInterval is how often each partition's progress is published where no
	// block comes; after one it is published at once, five times a second at most.
	ProgressInterval time.Duration
	// StatementTimeout is how long a statement may take before its outcome
	// counts as unknown.
	StatementTimeout time.Duration
	// Tracer makes spans of blocks whose records were sent by spans. Nil: of none.
	Tracer trace.TracerProvider
	// DrainTimeout is how long a block under way may take to finish when the
	// process stops or a partition is taken away.
	DrainTimeout time.Duration
}

// DefaultConfig is right for one machine and a good start elsewhere.
func DefaultConfig() Config {
	return Config{
		Group:            "agentmeter-rollup",
		MaxBlockRows:     50_000,
		BlockLinger:      200 * time.Millisecond,
		HotIDs:           20_000_000,
		ProgressInterval: 2 * time.Second,
		StatementTimeout: time.Minute,
		DrainTimeout:     10 * time.Second,
	}
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Group == "" {
		faults = append(faults, errors.New("--rollup-group: a name is required"))
	}
	if c.MaxBlockRows < 1 || c.MaxBlockRows > 1_000_000 {
		faults = append(faults, fmt.Errorf("--block-rows: %d is not between 1 and 1000000", c.MaxBlockRows))
	}
	if c.HotIDs < 0 {
		faults = append(faults, fmt.Errorf("--hot-ids: %d is negative; 0 looks up every id", c.HotIDs))
	}
	for _, d := range []struct {
		name string
		time.Duration
	}{
		{"--block-linger", c.BlockLinger},
		{"rollup: progress interval", c.ProgressInterval},
		{"--statement-timeout", c.StatementTimeout},
		{"--drain-timeout", c.DrainTimeout},
	} {
		if d.Duration <= 0 {
			faults = append(faults, fmt.Errorf("%s: %s is not positive", d.name, d.Duration))
		}
	}
	return errors.Join(faults...)
}
