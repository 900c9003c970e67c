package clickhouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	tables "agentmeter/schemas/clickhouse"
)

// Config says where ClickHouse is and how to speak to it.
type Config struct {
	// URL is the HTTP address, such as http://127.0.0.1:8123.
	URL string
	// Database is where Agentmeter's tables are.
	Database string
	User     string
	Password string
	// Cluster is the name of the ClickHouse cluster that the tables are on; empty:
	// they are on one server.
	Cluster string
	// Shards are the HTTP addresses of the servers that a cluster is written to,
	// one of each shard; none: the cluster has one shard, which URL is of.
	Shards []string
	// DialTimeout bounds one connection attempt.
	DialTimeout time.Duration
	// TLS is used where URL is an https one; nil trusts the system's authorities.
	TLS *tls.Config
	// Dial, where set, makes the connections, instead of TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Defaults for the fields of Config that are left zero.
const (
	DefaultDatabase    = "agentmeter"
	defaultDialTimeout = 5 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Database == "" {
		c.Database = DefaultDatabase
	}
	if c.User == "" {
		c.User = "default"
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: c.DialTimeout}).DialContext
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	faults := []error{validAddress("--clickhouse", c.URL)}
	for i, address := range c.Shards {
		faults = append(faults, validAddress("--clickhouse-shards", address))
		if slices.Contains(c.Shards[:i], address) {
			faults = append(faults, fmt.Errorf("--clickhouse-shards: two have the address %s", address))
		}
	}
	if c.Cluster != "" {
		faults = append(faults, tables.Cluster{Name: c.Cluster, Database: c.Database}.Validate())
	} else if len(c.Shards) > 0 {
		faults = append(faults, errors.New("--clickhouse-shards are of a cluster; give its name by --clickhouse-cluster, too"))
	}
	if strings.ContainsAny(c.Database, "`\\'\" ") {
		faults = append(faults, fmt.Errorf("--clickhouse-database: %q has characters that are not allowed", c.Database))
	}
	return errors.Join(faults...)
}

func validAddress(flag, address string) error {
	parsed, err := url.Parse(address)
	switch {
	case address == "":
		return fmt.Errorf("%s: an address is required, such as http://127.0.0.1:8123", flag)
	case err != nil:
		// Not err itself: it repeats the text, which may hold a password.
		return fmt.Errorf("%s: the address is not a URL, such as http://127.0.0.1:8123", flag)
	case (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "":
		return fmt.Errorf("%s: %q is not of the form http://HOST:PORT or https://HOST:PORT", flag, parsed.Redacted())
	case parsed.User != nil:
		return fmt.Errorf("%s: the address carries credentials; give user and password by their own settings, so that they are never printed", flag)
	}
	return nil
}
