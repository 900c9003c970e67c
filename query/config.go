package query

import (
	"errors"
	"fmt"
	"time"

	"agentmeter/query/page"
)

// Config holds what may be tuned about answering. The zero value of a field
// stands for its default.
type Config struct {
	// EventsTopic is the topic whose stream the freshness is of.
	EventsTopic string
	// MaxConcurrent bounds the questions that are put to ClickHouse at once.
	MaxConcurrent int
	// MaxWaiting bounds the requests that wait for their turn, and WaitTimeout
	// for how long. Beyond either a request is told to come again (503).
	MaxWaiting  int
	WaitTimeout time.Duration
	// QueryTimeout bounds one answer (504), and ExportTimeout one CSV.
	QueryTimeout  time.Duration
	ExportTimeout time.Duration
	// QueryThreads is how many threads of ClickHouse one statement may use.
	QueryThreads int
	// ProgressMaxAge is for how long what is known of the partitions' progress
	// is used again, and WorkspaceMaxAge what is known of a workspace's settings,
	// agents and members. The first makes figures look that much older than they
	// are; by the second a change is seen that much later.
	ProgressMaxAge  time.Duration
	WorkspaceMaxAge time.Duration
	// MaxHeld bounds the figures that are held in memory (what one agent used in
	// one bar; some 100 bytes each), and HeldMaxAge for how long one is used. They
	// are checked at every use; see heldFigures.
	MaxHeld    int
	HeldMaxAge time.Duration
	// TotalsMaxAge is for how long what a workspace used in all is taken to be as
	// it was, at most: while no partition of its is known to have been counted any
	// further. It bounds how late a rebuild is seen by the next answer.
	TotalsMaxAge time.Duration
	// RateLimit is how many questions a second each workspace may ask (429),
	// twice as many in a burst.
	RateLimit int
	// LiveInterval is how often the live stream looks for new figures, and
	// MaxLive how many streams there may be.
	LiveInterval time.Duration
	MaxLive      int
	// Page says how the Usage page may be used.
	Page page.Options
}

// DefaultConfig suits one process on a small machine.
func DefaultConfig() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	if c.EventsTopic == "" {
		c.EventsTopic = "usage.events.v1"
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 16
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 256
	}
	if c.WaitTimeout == 0 {
		c.WaitTimeout = 2 * time.Second
	}
	if c.QueryTimeout == 0 {
		c.QueryTimeout = 15 * time.Second
	}
	if c.ExportTimeout == 0 {
		c.ExportTimeout = 10 * time.Minute
	}
	if c.QueryThreads == 0 {
		c.QueryThreads = 2
	}
	if c.ProgressMaxAge == 0 {
		c.ProgressMaxAge = 100 * time.Millisecond
	}
	if c.WorkspaceMaxAge == 0 {
		c.WorkspaceMaxAge = 500 * time.Millisecond
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 1_000_000
	}
	if c.HeldMaxAge == 0 {
		c.HeldMaxAge = 5 * time.Minute
	}
	if c.TotalsMaxAge == 0 {
		c.TotalsMaxAge = 5 * time.Second
	}
	if c.RateLimit == 0 {
		c.RateLimit = 1000
	}
	if c.LiveInterval == 0 {
		c.LiveInterval = time.Second
	}
	if c.MaxLive == 0 {
		c.MaxLive = 1024
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"concurrent questions", int64(c.MaxConcurrent)},
		{"waiting requests", int64(c.MaxWaiting)},
		{"wait timeout", int64(c.WaitTimeout)},
		{"query timeout", int64(c.QueryTimeout)},
		{"export timeout", int64(c.ExportTimeout)},
		{"query threads", int64(c.QueryThreads)},
		{"progress age", int64(c.ProgressMaxAge)},
		{"workspace age", int64(c.WorkspaceMaxAge)},
		{"held figures", int64(c.MaxHeld)},
		{"held figures' age", int64(c.HeldMaxAge)},
		{"totals' age", int64(c.TotalsMaxAge)},
		{"rate limit", int64(c.RateLimit)},
		{"live interval", int64(c.LiveInterval)},
		{"live streams", int64(c.MaxLive)},
	} {
		if field.value < 0 {
			faults = append(faults, fmt.Errorf("query: %s: %d is negative", field.name, field.value))
		}
	}
	if err := c.Page.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("query: page: %w", err))
	}
	return errors.Join(faults...)
}
