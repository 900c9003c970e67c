package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Client speaks to one ClickHouse, be it a server or a cluster. It is safe for
// concurrent use.
type Client struct {
	config   Config
	conn     driver.Conn
	http     *http.Client
	base     *url.URL
	settings map[string]string // of every statement but those of Conn

	// Of a cluster:
	shards *shards
	reads  *Client // nil but for the client that Open returned
	// turn is held by what holds the mutex, or is the one of this process that
	// waits for it: with all partitions of a shard behind one, each has its turn.
	turn chan struct{}
}

// Open prepares a client. It does not connect: the first statement does.
func Open(config Config) (*Client, error) {
	config = config.withDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Cluster != "" {
		return openCluster(config)
	}
	return open(config, nil, nil)
}

// open prepares a client of one server. Some settings are of all its statements,
// others of those that count.
func open(config Config, all, counting map[string]string) (*Client, error) {
	base, err := url.Parse(config.URL)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: address: %w", err)
	}
	options := config.options(base)
	settings := make(map[string]string)
	for name, value := range all {
		settings[name], options.Settings[name] = value, value
	}
	maps.Copy(settings, counting)
	conn, err := clickhousego.Open(options)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: open: %w", err)
	}
	// There is no bound of its connections: whoever puts statements bounds how many
	// there are at once, and one that counts must not wait for one that asks.
	transport := &http.Transport{
		DialContext:         config.Dial,
		TLSClientConfig:     config.TLS,
		MaxIdleConnsPerHost: 64,
		DisableCompression:  true,
		WriteBufferSize:     256 << 10,
		ReadBufferSize:      64 << 10,
	}
	return &Client{config: config, conn: conn, base: base, settings: settings, http: &http.Client{
		Transport: transport,
		// ClickHouse never redirects; whoever does is not it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c Config) options(base *url.URL) *clickhousego.Options {
	options := &clickhousego.Options{
		Protocol:     clickhousego.HTTP,
		Addr:         []string{base.Host},
		Auth:         clickhousego.Auth{Database: c.Database, Username: c.User, Password: c.Password},
		DialTimeout:  c.DialTimeout,
		DialContext:  func(ctx context.Context, address string) (net.Conn, error) { return c.Dial(ctx, "tcp", address) },
		MaxOpenConns: pooledConns,
		MaxIdleConns: pooledConns,
		Settings:     clickhousego.Settings{"async_insert": 0},
	}
	if base.Scheme == "https" {
		options.TLS = c.TLS
	}
	return options
}

// pooledConns bounds the connections of Conn. A statement that finds none free
// waits until its context ends.
const pooledConns = 16

// Conn is the connection pool for what stands around counting: streams, the
// directory, progress, DDL.
func (c *Client) Conn() driver.Conn { return c.conn }

// Database is the name of the database that holds Agentmeter's tables.
func (c *Client) Database() string { return c.config.Database }

// Ping reports whether ClickHouse answers.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.conn.Ping(ctx); err != nil {
		return fmt.Errorf("clickhouse: ping: %w", err)
	}
	return nil
}

// Close releases the connections, those of Reads included.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	faults := []error{c.conn.Close()}
	if c.reads != nil {
		faults = append(faults, c.reads.Close(), c.shards.close())
	}
	return errors.Join(faults...)
}

// WithParams binds values to the {name:Type} places of the query that ctx goes
// to.
func WithParams(ctx context.Context, params map[string]string) context.Context {
	return clickhousego.Context(ctx, clickhousego.WithParameters(clickhousego.Parameters(params)))
}

// Column is a column that rows are inserted into through Conn: its name, and its
// type as ClickHouse writes it.
type Column = clickhousego.ColumnNameAndType

// WithColumns says which columns the insert that ctx goes to is of. Otherwise Conn
// asks ClickHouse for them, each time.
func WithColumns(ctx context.Context, columns []Column) context.Context {
	return clickhousego.Context(ctx, clickhousego.WithColumnNamesAndTypes(columns))
}
