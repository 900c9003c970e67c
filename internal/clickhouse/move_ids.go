package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

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

func (m *idMove) run(ctx context.Context) error {
	there, err := m.settled(ctx)
	if err != nil {
		return err
	}
	earlier, before, published := there[tables.EarlierIDs], there[tables.EarlierBefore], there[tables.IDs]
	switch {
	case !earlier && !before:
		if there[tables.NextIDs] && published {
			return m.exec(ctx, m.Unfinished)
		}
		return nil
	case earlier && (before || published):
		return fmt.Errorf("there are %s and %s: a release that knows only the first has migrated this database since. Drop %s and its view, and make the other complete by agentmeter rebuild --tier ids before anything is counted", tables.EarlierIDs, tables.IDs, tables.EarlierIDs)
	case earlier:
		if err := m.exec(ctx, m.Aside); err != nil {
			return err
		}
	}
	if !published {
		m.say("counting stands still while ids are moved to " + tables.IDs)
		if err := m.exec(ctx, m.Next); err != nil {
			return err
		}
		if err := m.fill(ctx); err != nil {
			return err
		}
		if err := m.exec(ctx, m.Publish); err != nil {
			return err
		}
	}
	return m.exec(ctx, slices.Concat([]string{m.View, m.RetireView, m.Unfinished}, m.Retire)...)
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
func (m *idMove) settled(ctx context.Context) (map[string]bool, error) {
	for range maxRenameWaits {
		there, err := m.there(ctx)
		if err != nil || there[tables.EarlierIDs] || there[tables.EarlierBefore] || !there[tables.EarlierView] {
			return there, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(renameWait):
		}
	}
	return nil, fmt.Errorf("there is %s, and neither %s nor %s, in one of which the ids of before have to be: restore it, or drop the view and make %s by agentmeter migrate and agentmeter rebuild --tier ids before anything is counted",
		tables.EarlierView, tables.EarlierIDs, tables.EarlierBefore, tables.IDs)
}

// there says which tables there are.
func (m *idMove) there(ctx context.Context) (map[string]bool, error) {
	rows, err := m.db.QueryContext(ctx, "SELECT name FROM system.tables WHERE database = currentDatabase()")
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	defer rows.Close()
	there := make(map[string]bool)
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("read the schema: %w", err)
		}
		there[name] = true
	}
	return there, rows.Err()
}

func (m *idMove) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := m.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", firstLine(statement), err)
		}
	}
	return nil
}

// fill moves what each shard has, once nothing is under way there that began before
// the earlier table was put aside.
func (m *idMove) fill(ctx context.Context) (err error) {
	client, err := Open(m.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	servers := []*Client{client}
	if client.shards != nil {
		if err := client.shards.check(ctx); err != nil {
			return err
		}
		servers = client.shards.servers
	}
	for _, server := range servers {
		if err := waitForCounting(ctx, server); err != nil {
			return err
		}
		if err := m.fillAt(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

// waitForCounting returns once every statement has ended that held a partition's mutex
// when it was called.
func waitForCounting(ctx context.Context, server *Client) error {
	var places []Place
	err := server.SelectText(ctx, Statement{SQL: `
SELECT stream, toInt32(arrayJoin(range(toUInt32(partitions)))) AS partition FROM usage_streams
UNION DISTINCT SELECT stream, partition FROM usage_ledger GROUP BY stream, partition`}, func(fields []string) error {
		stream, err := uuid.Parse(fields[0])
		if err != nil {
			return fmt.Errorf("stream %q: %w", fields[0], err)
		}
		partition, err := strconv.ParseInt(fields[1], 10, 32)
		if err != nil {
			return fmt.Errorf("partition %q: %w", fields[1], err)
		}
		places = append(places, Place{stream, int32(partition)})
		return nil
	})
	if err != nil {
		return fmt.Errorf("list partitions: %w", err)
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
const moveSQL = `
INSERT INTO ` + tables.NextIDs + ` (id_key, stream, partition, offset)
SELECT reinterpretAsUInt64(reverse(substring(id_hash, 1, 6))) AS key, stream, partition, offset
FROM ` + tables.EarlierBefore + `
WHERE id_hash >= toFixedString(unhex({from_hash:String}), 16) AND id_hash <= toFixedString(unhex({through_hash:String}), 16)
    AND (key, stream, partition, offset) NOT IN
    (
        SELECT id_key, stream, partition, offset FROM ` + tables.NextIDs + ` WHERE id_key >= {from:UInt64} AND id_key <= {through:UInt64}
    )`

var moveSettings = map[string]string{"insert_deduplicate": "0", "max_partitions_per_insert_block": "0"}

func (m *idMove) fillAt(ctx context.Context, server *Client) error {
	var ids int64
	err := server.SelectText(ctx, Statement{SQL: "SELECT count() FROM " + tables.EarlierBefore}, func(fields []string) (err error) {
		ids, err = strconv.ParseInt(fields[0], 10, 64)
		return err
	})
	if err != nil {
		return fmt.Errorf("count ids: %w", err)
	}
	ranges := int64(1)
	for ranges*idsAMove < ids && ranges < 1<<32 {
		ranges *= 2
	}
	width := int64(1<<schemas.IDKeyBits) / ranges
	said := time.Now()
	for n := range ranges {
		if err := moveRange(ctx, server, n*width, (n+1)*width-1); err != nil {
			return err
		}
		if time.Since(said) > 10*time.Second || n == ranges-1 {
			m.say(fmt.Sprintf("moved %d %% of %d ids", (n+1)*100/ranges, ids))
			said = time.Now()
		}
	}
	return nil
}

func moveRange(ctx context.Context, server *Client, from, through int64) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	return server.Exec(ctx, Statement{SQL: moveSQL, Settings: moveSettings, Mutex: "agentmeter-" + server.Database() + "-ids", Params: map[string]string{
		"from": strconv.FormatInt(from, 10), "through": strconv.FormatInt(through, 10),
		"from_hash": fmt.Sprintf("%012x%020d", from, 0), "through_hash": fmt.Sprintf("%012x%s", through, "ffffffffffffffffffff"),
	}})
}
