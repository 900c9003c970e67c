package query

import (
	"errors"
	"fmt"
	"time"

	"agentmeter/query/page"
)

// Config holds what may be tuned about answering.
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
	// one bar; some 100 bytes each; 0: none are), and HeldMaxAge for how long one is
	// used. They are checked at every use; see heldFigures.
	MaxHeld    int
	HeldMaxAge time.Duration
	// TotalsMaxAge is for how long what a workspace used in all is taken to be as
	// it was, at most: while no partition of its is known to have been counted any
	// further. It bounds how late a rebuild is seen by the next answer.
	TotalsMaxAge time.Duration
	// RateLimit is how many questions a second each workspace may ask (429),
	// twice as many in a burst. 0: no limit.
	RateLimit int
	// LiveInterval is how often the live stream looks for new figures, and
	// MaxLive how many streams there may be.
	LiveInterval time.Duration
	MaxLive      int
	// Page says how the Usage page may be used.
	Page page.Options
}

// DefaultConfig suits one process on a small machine.
func DefaultConfig() Config {
	return Config{
		EventsTopic:     "usage.events.v1",
		MaxConcurrent:   8,
		MaxWaiting:      256,
		WaitTimeout:     2 * time.Second,
		QueryTimeout:    30 * time.Second,
		ExportTimeout:   10 * time.Minute,
		QueryThreads:    2,
		ProgressMaxAge:  100 * time.Millisecond,
		WorkspaceMaxAge: 500 * time.Millisecond,
		MaxHeld:         1_000_000,
		HeldMaxAge:      5 * time.Minute,
		TotalsMaxAge:    5 * time.Second,
		RateLimit:       1000,
		LiveInterval:    time.Second,
		MaxLive:         1024,
	}
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.EventsTopic == "" {
		faults = append(faults, errors.New("query: events topic: a name is required"))
	}
	return errors.Join(append(faults,
		least("--query-concurrency", c.MaxConcurrent, 1),
		least("query: waiting requests", c.MaxWaiting, 0),
		least("query: wait timeout", c.WaitTimeout, 0),
		least("--query-timeout", c.QueryTimeout, 1),
		least("query: export timeout", c.ExportTimeout, 1),
		least("query: query threads", c.QueryThreads, 1),
		least("query: progress age", c.ProgressMaxAge, 0),
		least("query: workspace age", c.WorkspaceMaxAge, 0),
		least("--query-held-figures", c.MaxHeld, 0),
		least("query: held figures' age", c.HeldMaxAge, 0),
		least("query: totals' age", c.TotalsMaxAge, 0),
		least("--query-rate", c.RateLimit, 0),
		least("query: live interval", c.LiveInterval, 1),
		least("query: live streams", c.MaxLive, 0),
		c.Page.Validate(),
	)...)
}

func least[T int | time.Duration](name string, value, from T) error {
	switch {
	case value >= from:
		return nil
	case from > 0:
		return fmt.Errorf("%s: %v is not positive", name, value)
	default:
		return fmt.Errorf("%s: %v is negative", name, value)
	}
}
