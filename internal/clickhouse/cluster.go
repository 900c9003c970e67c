package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	tables "agentmeter/schemas/clickhouse"
)

// Place is a partition of a stream. All its rows are on one shard, and one
// server of that shard writes them: there, the partition's mutex holds.
type Place struct {
	Stream    uuid.UUID
	Partition int32
}

func (p Place) String() string {
	return fmt.Sprintf("partition %d of stream %s", p.Partition, p.Stream)
}

// Mutex is the query id under which everything runs that writes for the partition, or
// that needs its ledger to stand still.
func (p Place) Mutex(database string) string {
	return fmt.Sprintf("agentmeter-%s-%s-%d", database, p.Stream, p.Partition)
}

// Settings on a cluster. A table's quorum inserts follow one another, each on a
// majority of replicas, and what is read is all of those and nothing of one that
// may still be taken back: ClickHouse calls it sequential consistency, and has it
// only where quorum inserts are not parallel. A table's inserts must all be of
// this kind, or none: others would hide behind the last that was.
var (
	consistentReads = map[string]string{"select_sequential_consistency": "1"}
	quorumInserts   = map[string]string{
		"insert_quorum":          "auto", // the majority
		"insert_quorum_parallel": "0",
		"insert_quorum_timeout":  "30000", // milliseconds; then the outcome is unknown
	}
	// readsOverShards send a question to the server that is asked, for its own
	// shard, and to the replica of each other that the cluster's definition names
	// first; count an answer without a shard for none; and make a list that a
	// condition needs once for all shards (ClickHouse refuses a condition on a second
	// Distributed table where nothing says how it is meant). A replica that lacks what
	// a majority has refuses.
	readsOverShards = map[string]string{
		"select_sequential_consistency": "1",
		"load_balancing":                "in_order",
		"prefer_localhost_replica":      "1",
		"skip_unavailable_shards":       "0",
		"distributed_product_mode":      "global",
	}
)

// shards are the servers that are written to, one of each shard.
type shards struct {
	cluster string
	servers []*Client

	mu      sync.Mutex // guards what follows
	checked bool       // they are one of each shard
	places  map[Place]*Client
}

// openCluster makes the clients of a cluster's servers: home, one for each
// shard, and one that reads over all shards.
func openCluster(config Config) (home *Client, err error) {
	s := &shards{cluster: config.Cluster, places: make(map[Place]*Client)}
	if home, err = open(config, consistentReads, quorumInserts); err != nil {
		return nil, err
	}
	home.shards, home.turn = s, make(chan struct{}, 1)
	addresses := config.Shards
	if len(addresses) == 0 {
		addresses = []string{config.URL}
	}
	for _, address := range addresses {
		own := config
		own.URL = address
		server, err := open(own, consistentReads, quorumInserts)
		if err != nil {
			return nil, errors.Join(err, home.Close())
		}
		server.turn = make(chan struct{}, 1)
		s.servers = append(s.servers, server)
	}
	own := config
	own.Database = tables.ReadsDatabase(config.Database)
	if home.reads, err = open(own, readsOverShards, nil); err != nil {
		return nil, errors.Join(err, home.Close())
	}
	home.reads.shards, home.reads.turn = s, make(chan struct{}, 1)
	return home, nil
}

func (s *shards) close() error {
	var faults []error
	for _, server := range s.servers {
		faults = append(faults, server.Close())
	}
	return errors.Join(faults...)
}

// Sharded is whether the tables are on a cluster.
func (c *Client) Sharded() bool { return c.shards != nil }

// Reads is the client for questions about all partitions: on a cluster its
// tables span the shards.
func (c *Client) Reads() *Client {
	if c.reads == nil {
		return c
	}
	return c.reads
}

// DurableContext lets inserts through Conn wait until a majority of the replicas
// has them, where there are replicas.
func (c *Client) DurableContext(ctx context.Context) context.Context {
	if c.shards == nil {
		return ctx
	}
	settings := make(clickhousego.Settings)
	for name, value := range quorumInserts {
		settings[name] = value
	}
	return clickhousego.Context(ctx, clickhousego.WithSettings(settings))
}

// ScatteredError is a partition whose ledger is on more than one shard.
// Whichever of them is gone on with, the other's rows would be counted twice.
type ScatteredError struct {
	Place   Place
	Servers []string
}

func (e *ScatteredError) Error() string {
	return fmt.Sprintf("%s has rows on the shards of %s: a partition is of one shard; see docs/operations/cluster.md", e.Place, strings.Join(e.Servers, " and "))
}

// At returns the client of the server that writes a place's rows: the one that
// has some, so that no change of the list of shards moves a partition; and where
// nobody has, the partition's number decides.
func (c *Client) At(ctx context.Context, place Place) (*Client, error) {
	if c.shards == nil {
		return c, nil
	}
	s := c.shards
	s.mu.Lock()
	server, checked := s.places[place], s.checked
	s.mu.Unlock()
	if server != nil {
		return server, nil
	}
	if !checked {
		if err := s.check(ctx); err != nil {
			return nil, err
		}
	}
	server, err := s.find(ctx, place)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked, s.places[place] = true, server
	return server, nil
}

func (s *shards) find(ctx context.Context, place Place) (*Client, error) {
	holding := make(map[*Client]bool)
	var names []string
	for _, server := range s.servers {
		err := server.SelectText(ctx, Statement{
			SQL:    "SELECT 1 FROM " + tables.Ledger + " WHERE stream = {stream:UUID} AND partition = {partition:Int32} LIMIT 1",
			Params: map[string]string{"stream": place.Stream.String(), "partition": strconv.Itoa(int(place.Partition))},
		}, func([]string) error {
			holding[server] = true
			names = append(names, server.base.Host)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("find the shard of %s at %s: %w", place, server.base.Host, err)
		}
	}
	if len(holding) > 1 {
		return nil, &ScatteredError{place, names}
	}
	for server := range holding {
		return server, nil
	}
	return s.servers[int(place.Partition)%len(s.servers)], nil
}

// check makes sure that the servers are one of each shard.
func (s *shards) check(ctx context.Context) error {
	found := make(map[string]string) // by the shard's name, the server
	for _, server := range s.servers {
		defined := 0
		err := server.SelectText(ctx, Statement{
			SQL:    "SELECT getMacro('shard'), (SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {cluster:String})",
			Params: map[string]string{"cluster": s.cluster},
		}, func(fields []string) (err error) {
			if other, ok := found[fields[0]]; ok {
				return fmt.Errorf("both %s and %s are of shard %s: --clickhouse-shards wants one server of each shard", other, server.base.Host, fields[0])
			}
			found[fields[0]] = server.base.Host
			defined, err = strconv.Atoi(fields[1])
			return err
		})
		if err != nil {
			return fmt.Errorf("ask %s which shard it is of: %w", server.base.Host, err)
		}
		if defined != len(s.servers) {
			return fmt.Errorf("%s knows %d shards of cluster %s and --clickhouse-shards names %d: it wants one server of each", server.base.Host, defined, s.cluster, len(s.servers))
		}
	}
	return nil
}

// targets are the servers that a question goes to.
func (c *Client) targets(ctx context.Context, statement Statement) ([]*Client, error) {
	switch {
	case c.shards == nil:
		return []*Client{c}, nil
	case statement.Place != nil:
		server, err := c.At(ctx, *statement.Place)
		return []*Client{server}, err
	case statement.EachShard:
		return slices.Clone(c.shards.servers), nil
	}
	return []*Client{c}, nil
}
