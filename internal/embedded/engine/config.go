package engine

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says how to run an engine. Only Dir is needed.
type Config struct {
	// Dir is the data directory; it is made when it is missing. One process holds it.
	Dir string
	// Library is the path of libchdb; empty looks in the usual places (see package chdb).
	Library string
	// ConfigFile is a ClickHouse configuration of the operator's, with users if it
	// names any: the engine is then used as its user "default". Empty: none.
	ConfigFile string
	// Logger gets state changes and surprises; nil discards them.
	Logger *slog.Logger
	// Registerer gets the metrics; nil keeps them to the front's /metrics.
	Registerer prometheus.Registerer

	// MemoryBytes bounds what the engine allocates (error 241 beyond); default 1 GiB.
	MemoryBytes int64
	// MaxStatements bounds how many statements run at once; default 16.
	MaxStatements int
	// MaxWaiting bounds how many more wait for their turn; default 256.
	MaxWaiting int
	// MaxBodyBytes bounds a request's body, decompressed; default 4 GiB. Bodies
	// beyond 64 MiB wait on disk instead of in memory.
	MaxBodyBytes int64
	// MaxResultBytes bounds a result that can't be streamed; default 256 MiB.
	MaxResultBytes int64
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = 1 << 30
	}
	if c.MaxStatements == 0 {
		c.MaxStatements = 16
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 256
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 4 << 30
	}
	if c.MaxResultBytes == 0 {
		c.MaxResultBytes = 256 << 20
	}
	return c
}

// Validate reports every fault at once. Zero values stand for the defaults.
func (c Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("engine: no data directory"))
	}
	if c.MemoryBytes != 0 && c.MemoryBytes < 256<<20 {
		faults = append(faults, fmt.Errorf("--engine-memory: %d bytes are less than the 256 MiB (268435456) that the engine needs", c.MemoryBytes))
	}
	for _, bound := range []struct {
		on string
		n  int64
	}{
		{"statements", int64(c.MaxStatements)},
		{"waiting statements", int64(c.MaxWaiting)},
		{"body bytes", c.MaxBodyBytes},
		{"result bytes", c.MaxResultBytes},
	} {
		if bound.n < 0 {
			faults = append(faults, fmt.Errorf("engine: the bound on %s is negative: %d", bound.on, bound.n))
		}
	}
	return errors.Join(faults...)
}
