package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"agentmeter/internal/pause"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// idMove moves the ids of earlier releases' look-up into today's: what migrations
// cannot do, since it takes as long as there are ids, has to be done at each shard,
// and must not be done beside counting. A database that has no earlier look-up is
// left alone.
//
// It can be cut off anywhere and run again, goes on from where the tables say that it
// is, and beside another one at most fails: what rows are moved is a condition of each
// statement, of which one runs at a time, and what is published is complete.
type idMove struct {
	tables.IDMove
	config Config
	db     *sql.DB
	say    func(string)
}

func moveIDs(ctx context.Context, config Config, db *sql.DB, say func(string)) error {
	m := &idMove{config: config, db: db, say: say}
	var cluster *tables.Cluster
	if config.Cluster != "" {
		cluster = &tables.Cluster{Name: config.Cluster, Database: config.Database}
	}
	var err error
	if m.IDMove, err = tables.MoveOfIDs(cluster); err != nil {
		return fmt.Errorf("move ids: %w", err)
	}
	if err := m.run(ctx); err != nil {
		return fmt.Errorf("move ids to %s: %w", tables.IDs, err)
	}
	return nil
}

func (m *idMove) run(ctx context.Context) (err error) {
	there, err := m.settled(ctx)
	if err != nil {
		return err
	}
	earlier, before, published := there.any(tables.EarlierIDs), there.any(tables.EarlierBefore), there.any(tables.IDs)
	switch {
	case !earlier && !before && there.any(tables.NextIDs):
		if !published {
			return fmt.Errorf("there is %s, and nothing that it was to be filled from: restore %s, or drop it and make %s by agentmeter migrate and agentmeter rebuild --tier ids before anything is counted",
				tables.NextIDs, tables.EarlierIDs, tables.IDs)
		}
		return m.exec(ctx, m.Unfinished)
	case !earlier && !before:
		return nil
	case earlier && published, there.both(tables.EarlierIDs, tables.EarlierBefore):
		return fmt.Errorf("there is %s beside what took its place: a release that knows only that one has migrated this database since. Drop it and its view, and make %s complete by agentmeter rebuild --tier ids before anything is counted", tables.EarlierIDs, tables.IDs)
	}
	servers, end, err := m.servers(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := m.exec(ctx, m.Aside); err != nil {
		return err
	}
	if there.both(tables.IDs, tables.NextIDs) {
		if err := m.exec(ctx, m.Unfinished); err != nil {
			return err
		}
	}
	if !published {
		m.say("counting stands still while ids are moved to " + tables.IDs)
		if err := m.exec(ctx, m.Next); err != nil {
			return err
		}
		for _, server := range servers {
			if err := m.fill(ctx, server); err != nil {
				return err
			}
		}
	}
	if err := m.exec(ctx, m.Publish, m.Table, m.View); err != nil {
		return err
	}
	for _, server := range servers {
		if err := addAppended(ctx, server, tables.IDs); err != nil {
			return err
		}
	}
	if err := m.ready(ctx); err != nil {
		return err
	}
	return m.exec(ctx, append([]string{m.RetireView}, m.Retire...)...)
}

// ready makes sure that every server that has a ledger looks ids up as of today, before
// the earlier view stops refusing appends.
func (m *idMove) ready(ctx context.Context) error {
	there, err := m.there(ctx)
	if err != nil {
		return err
	}
	for host, names := range there {
		if names[tables.Ledger] && (!names[tables.IDs] || !names[tables.IDsView]) {
			return fmt.Errorf("%s has not %s and its view yet: run it again once it can be reached", host, tables.IDs)
		}
	}
	return nil
}

// servers are those that are written to, one of each shard, whose mutexes hold.
func (m *idMove) servers(ctx context.Context) (servers []*Client, end func() error, err error) {
	if m.config.Cluster != "" && len(m.config.Shards) == 0 {
		return nil, nil, errors.New("on a cluster --clickhouse-shards has to name the servers that the rollups write to")
	}
	client, err := Open(m.config)
	if err != nil {
		return nil, nil, err
	}
	if client.shards == nil {
		return []*Client{client}, client.Close, nil
	}
	if err := client.shards.check(ctx); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client.shards.servers, client.Close, nil
}

// present are the tables that each server has.
type present map[string]map[string]bool

func (p present) any(table string) bool {
	for _, names := range p {
		if names[table] {
			return true
		}
	}
	return false
}

// both is whether one server has both.
func (p present) both(one, other string) bool {
	for _, names := range p {
		if names[one] && names[other] {
			return true
		}
	}
	return false
}

// renameWait lies between two looks at tables of which one is being renamed, and
// maxRenameWaits is how often it is waited for.
const (
	renameWait     = 100 * time.Millisecond
	maxRenameWaits = 100
)

// settled says which tables there are. While a table is renamed ClickHouse may list it
// by neither name. That the earlier one is nowhere is believed where its view is not
// there any more, either: it goes when the ids are moved.
func (m *idMove) settled(ctx context.Context) (present, error) {
	for range maxRenameWaits {
		there, err := m.there(ctx)
		if err != nil || there.any(tables.EarlierIDs) || there.any(tables.EarlierBefore) || !there.any(tables.EarlierView) {
			return there, err
		}
		if !pause.For(ctx, renameWait) {
			return nil, context.Cause(ctx)
		}
	}
	return nil, fmt.Errorf("there is %s, and neither %s nor %s, in one of which the ids of before have to be: restore it, or drop the view and make %s by agentmeter migrate and agentmeter rebuild --tier ids before anything is counted",
		tables.EarlierView, tables.EarlierIDs, tables.EarlierBefore, tables.IDs)
}

// there says which tables there are.
func (m *idMove) there(ctx context.Context) (present, error) {
	from := "system.tables"
	if m.config.Cluster != "" {
		from = "clusterAllReplicas({cluster:String}, system.tables)"
	}
	rows, err := m.db.QueryContext(WithParams(ctx, map[string]string{"cluster": m.config.Cluster, "database": m.config.Database}),
		"SELECT concat(hostName(), ':', toString(tcpPort())) AS host, name FROM "+from+" WHERE database = {database:String}")
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	defer rows.Close()
	there := make(present)
	for rows.Next() {
		var host, name string
		if err := rows.Scan(&host, &name); err != nil {
			return nil, fmt.Errorf("read the schema: %w", err)
		}
		if there[host] == nil {
			there[host] = make(map[string]bool)
		}
		there[host][name] = true
	}
	return there, rows.Err()
}

// exec runs statements of the schema. They may drop tables of whatever size.
func (m *idMove) exec(ctx context.Context, statements ...string) error {
	ctx = clickhousego.Context(ctx, clickhousego.WithSettings(clickhousego.Settings{waitForEnd: "1", "max_table_size_to_drop": "0"}))
	for _, statement := range statements {
		if _, err := m.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", firstLine(statement), err)
		}
	}
	return nil
}

// placesAt are the partitions of which a server may have anything.
func placesAt(ctx context.Context, server *Client) (places []Place, err error) {
	err = server.SelectText(ctx, Statement{SQL: `
SELECT stream, toInt32(arrayJoin(range(toUInt32(partitions)))) AS partition FROM usage_streams
UNION DISTINCT SELECT stream, partition FROM usage_ledger GROUP BY stream, partition`}, func(fields []string) error {
		place, err := placeOf(fields)
		places = append(places, place)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	return places, nil
}

// placeOf reads a stream and a partition.
func placeOf(fields []string) (Place, error) {
	stream, err := uuid.Parse(fields[0])
	if err != nil {
		return Place{}, fmt.Errorf("stream %q: %w", fields[0], err)
	}
	partition, err := strconv.ParseInt(fields[1], 10, 32)
	if err != nil {
		return Place{}, fmt.Errorf("partition %q: %w", fields[1], err)
	}
	return Place{stream, int32(partition)}, nil
}

// waitForCounting returns once every statement has ended that held a partition's mutex
// when it was called.
func waitForCounting(ctx context.Context, server *Client) error {
	places, err := placesAt(ctx, server)
	if err != nil {
		return err
	}
	for _, place := range places {
		if err := server.Exec(ctx, Statement{SQL: "SELECT 1", Mutex: place.Mutex(server.Database())}); err != nil {
			return fmt.Errorf("wait for %s: %w", place, err)
		}
	}
	return nil
}

// idsAMove is about how many ids a statement moves. Tests make it small.
var idsAMove int64 = 1 << 20

// moveTimeout is when a statement's outcome counts as unknown.
const moveTimeout = 15 * time.Minute

// The earlier table is in the order of whole hashes, so a range of keys is a stretch
// of both.
const (
	inEarlier = `id_hash >= toFixedString(unhex({from_hash:String}), 16) AND id_hash <= toFixedString(unhex({through_hash:String}), 16)`
	inNext    = `id_key >= {from:UInt64} AND id_key <= {through:UInt64}`
	keyOfHash = `reinterpretAsUInt64(reverse(substring(id_hash, 1, 6)))`

	moveSQL = `
INSERT INTO ` + tables.NextIDs + ` (id_key, stream, partition, offset)
SELECT ` + keyOfHash + ` AS key, stream, partition, offset
FROM ` + tables.EarlierBefore + `
WHERE ` + inEarlier + `
    AND (key, stream, partition, offset) NOT IN (SELECT id_key, stream, partition, offset FROM ` + tables.NextIDs + ` WHERE ` + inNext + `)`

	// Passing over what is moved is quicker than to find that nothing is missing.
	movedSQL = `
SELECT
    (SELECT (count(), sum(sipHash64(` + keyOfHash + `, stream, partition, offset))) FROM ` + tables.EarlierBefore + ` WHERE ` + inEarlier + `)
    = (SELECT (count(), sum(sipHash64(id_key, stream, partition, offset))) FROM ` + tables.NextIDs + ` WHERE ` + inNext + `)`
)

var moveSettings = map[string]string{"insert_deduplicate": "0", "max_partitions_per_insert_block": "0", "max_insert_threads": "1"}

// fill moves what a server has, once nothing is under way there that began before
// the earlier table was put aside.
func (m *idMove) fill(ctx context.Context, server *Client) error {
	if err := waitForCounting(ctx, server); err != nil {
		return err
	}
	ids, err := server.integer(ctx, Statement{SQL: "SELECT count() FROM " + tables.EarlierBefore})
	if err != nil {
		return fmt.Errorf("count ids: %w", err)
	}
	said := time.Now()
	for from, through := range schemas.KeyRanges(ids, idsAMove) {
		if err := moveRange(ctx, server, from, through); err != nil {
			return err
		}
		done := through + 1
		if time.Since(said) > 10*time.Second || done == 1<<schemas.IDKeyBits {
			m.say(fmt.Sprintf("moved %d %% of %d ids", done*100>>schemas.IDKeyBits, ids))
			said = time.Now()
		}
	}
	return addAppended(ctx, server, tables.NextIDs)
}

func moveRange(ctx context.Context, server *Client, from, through int64) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	statement := Statement{SQL: movedSQL, Mutex: "agentmeter-" + server.Database() + "-ids", Params: map[string]string{
		"from": strconv.FormatInt(from, 10), "through": strconv.FormatInt(through, 10),
		"from_hash": fmt.Sprintf("%012x%020d", from, 0), "through_hash": fmt.Sprintf("%012x%s", through, "ffffffffffffffffffff"),
	}}
	if moved, err := server.integer(ctx, statement); err != nil || moved == 1 {
		return err
	}
	statement.SQL, statement.Settings = moveSQL, moveSettings
	return server.Exec(ctx, statement)
}

// integer runs a statement that answers with one.
func (c *Client) integer(ctx context.Context, statement Statement) (n int64, err error) {
	err = c.SelectText(ctx, statement, func(fields []string) (err error) {
		n, err = strconv.ParseInt(fields[0], 10, 64)
		return err
	})
	return n, err
}

const (
	marksSQL    = `SELECT stream, partition, max(offset) FROM ` + tables.EarlierBefore + ` GROUP BY stream, partition`
	sinceAside  = `stream = {stream:UUID} AND partition = {partition:Int32} AND offset > {after:Int64}`
	appendedSQL = `FROM ` + tables.Ledger + ` WHERE ` + sinceAside + ` AND ` + tables.Recorded
	addSQL      = `
INSERT INTO %[1]s (id_key, stream, partition, offset)
SELECT ` + tables.IDKey + ` AS key, stream, partition, offset ` + appendedSQL + `
    AND (key, offset) NOT IN (SELECT id_key, offset FROM %[1]s WHERE ` + sinceAside + `)`
)

// addAppended adds the ids of blocks that were appended since the earlier table was put
// aside. None is, but where a server's settings say that a view without a table is to be
// passed over (ignore_materialized_views_with_dropped_target_table), which the appends
// of earlier releases did not forbid. It is done before the table is published, so that
// whoever looks there finds all, and once more when its view is there, after which
// nothing can be missed.
//
// Where the earlier view is gone, all that was done, and counting has resumed.
func addAppended(ctx context.Context, server *Client, table string) error {
	there, err := server.integer(ctx, Statement{SQL: "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = '" + tables.EarlierView + "'"})
	if err != nil || there == 0 {
		return err
	}
	marks := make(map[Place]int64)
	if err := server.SelectText(ctx, Statement{SQL: marksSQL}, func(fields []string) error {
		place, err := placeOf(fields)
		if err != nil {
			return err
		}
		marks[place], err = strconv.ParseInt(fields[2], 10, 64)
		return err
	}); err != nil {
		return fmt.Errorf("look for what was appended meanwhile: %w", err)
	}
	places, err := placesAt(ctx, server)
	if err != nil {
		return err
	}
	for _, place := range places {
		after, ok := marks[place]
		if !ok {
			after = -1
		}
		statement := Statement{SQL: "SELECT count() " + appendedSQL, Mutex: place.Mutex(server.Database()), Params: map[string]string{
			"stream": place.Stream.String(), "partition": strconv.Itoa(int(place.Partition)), "after": strconv.FormatInt(after, 10),
		}}
		appended, err := server.integer(ctx, statement)
		if err != nil {
			return fmt.Errorf("look for what was appended to %s: %w", place, err)
		}
		if appended == 0 {
			continue
		}
		statement.SQL, statement.Settings = fmt.Sprintf(addSQL, table), moveSettings
		if err := server.Exec(ctx, statement); err != nil {
			return fmt.Errorf("add what was appended to %s: %w", place, err)
		}
	}
	return nil
}
