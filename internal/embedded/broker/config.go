package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says where the broker keeps its records and where it listens.
type Config struct {
	// Dir is the data directory; it is made when it is missing. One process holds it.
	Dir string
	// Listen is a loopback host:port; port 0 takes a free one. It is also the
	// address that clients are told, so localhost becomes the address it means.
	Listen string
	// Logger gets state changes and surprises; nil discards them.
	Logger *slog.Logger
	// Registerer gets the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// RetentionInterval is how often topics' retention.ms is applied; default a minute.
	RetentionInterval time.Duration
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("broker: no data directory"))
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil {
		faults = append(faults, fmt.Errorf("--kafka-listen: %w; write it as HOST:PORT", err))
	} else if !isLoopback(host) {
		faults = append(faults, fmt.Errorf("--kafka-listen: the embedded broker has no authentication and listens on loopback addresses only, not on %q", c.Listen))
	}
	if c.RetentionInterval < 0 {
		faults = append(faults, fmt.Errorf("broker: negative retention interval %s", c.RetentionInterval))
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	if c.RetentionInterval == 0 {
		c.RetentionInterval = time.Minute
	}
	return c
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
