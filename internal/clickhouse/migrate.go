package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	clickhousego "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/pressly/goose/v3"

	tables "agentmeter/schemas/clickhouse"
)

// ErrNewerSchema means that a newer release has migrated the database. What that
// changed is not known here, so nothing is done to it.
var ErrNewerSchema = errors.New("the database's schema is a newer release's; run that one, or restore the backup from before the upgrade")

// ErrOtherForm means that the database holds the schema in the form for one
// server where that for a cluster is asked for, or the other way round.
var ErrOtherForm = errors.New("the tables are there in another form")

// waitForEnd has ClickHouse answer when a statement has ended. What runs ON CLUSTER
// answers as each server has done its part, and else would say 200 before one has failed.
const waitForEnd = "wait_end_of_query"

// Migrate brings the database to the schema of the given migrations, creating
// it where it is missing, and returns the numbers that it applied. Every
// statement of a migration is idempotent, so running it twice, or two at once,
// is safe. On a cluster it does so at every server.
//
// Ids that earlier releases looked up elsewhere are moved first. That takes as long
// as there are ids; say, unless nil, is told how far it is.
func Migrate(ctx context.Context, config Config, migrations fs.FS, say func(string)) (applied []int64, err error) {
	config = config.withDefaults()
	if say == nil {
		say = func(string) {}
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(config.URL)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: address: %w", err)
	}
	outside := config
	outside.Database = "default"
	server, err := clickhousego.Open(outside.options(base))
	if err != nil {
		return nil, fmt.Errorf("clickhouse: open: %w", err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	db := clickhousego.OpenDB(config.options(base))
	defer func() { err = errors.Join(err, db.Close()) }()
	if config.Cluster != "" {
		c := tables.Cluster{Name: config.Cluster, Database: config.Database}
		if err := checkCluster(ctx, c, server); err != nil {
			return nil, err
		}
		if err := refuseSingle(ctx, c, server); err != nil {
			return nil, err
		}
		return migrateCluster(ctx, c, server, db, migrations, func(ctx context.Context) error { return moveIDs(ctx, config, db, say) })
	}
	if err := refuseCluster(ctx, server, config.Database); err != nil {
		return nil, err
	}
	name := "`" + strings.ReplaceAll(config.Database, "`", "") + "`"
	if err := server.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+name); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	return up(ctx, db, migrations, func(ctx context.Context) error { return moveIDs(ctx, config, db, say) })
}

// up applies what is missing, after what has to be done before.
func up(ctx context.Context, db *sql.DB, migrations fs.FS, before func(context.Context) error, options ...goose.ProviderOption) (applied []int64, err error) {
	provider, err := goose.NewProvider(goose.DialectClickHouse, db, migrations, options...)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	is, known, err := provider.GetVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	if is > known {
		return nil, fmt.Errorf("%w: it is at %d, and this release knows %d", ErrNewerSchema, is, known)
	}
	if err := before(ctx); err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	for _, result := range results {
		applied = append(applied, result.Source.Version)
	}
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

// migrateCluster applies the form for a cluster. Nothing of it is in a
// transaction: what was cut off is run again from the migration that it was in.
func migrateCluster(ctx context.Context, c tables.Cluster, server driver.Conn, db *sql.DB, migrations fs.FS, before func(context.Context) error) ([]int64, error) {
	rendered, err := c.Migrations(migrations)
	if err != nil {
		return nil, err
	}
	ctx = clickhousego.Context(ctx, clickhousego.WithSettings(clickhousego.Settings{waitForEnd: "1"}))
	for _, statement := range c.Databases() {
		if err := server.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("create database: %w", err)
		}
	}
	if _, err := db.ExecContext(ctx, c.VersionTable()); err != nil {
		return nil, fmt.Errorf("create %s: %w", tables.Versions, err)
	}
	if err := equip(ctx, c, db); err != nil {
		return nil, err
	}
	steps := make([]*goose.Migration, len(rendered))
	for i, migration := range rendered {
		steps[i] = goose.NewGoMigration(migration.Version, &goose.GoFunc{RunDB: func(ctx context.Context, db *sql.DB) error {
			for _, statement := range migration.Statements {
				if _, err := db.ExecContext(ctx, statement); err != nil {
					return fmt.Errorf("%s: %s: %w", migration.File, firstLine(statement), err)
				}
			}
			return nil
		}}, nil)
	}
	applied, err := up(ctx, db, nil, before, goose.WithGoMigrations(steps...), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return applied, err
	}
	for _, statement := range c.Reads() {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return applied, fmt.Errorf("make the tables for reads: %w", err)
		}
	}
	return applied, nil
}

// firstLine of a statement says which it is.
func firstLine(statement string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(statement), "\n")
	return first
}

// equip gives what this server has to those that were added since: migrations
// that are applied are not applied again, and as they were they would not fit.
//
// What takes part in a move of ids is left to that: while it is under way names stand
// for other tables than they will, here and there.
func equip(ctx context.Context, c tables.Cluster, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `
SELECT name, create_table_query
FROM system.tables
WHERE database = currentDatabase() AND (endsWith(engine, 'MergeTree') OR engine = 'MaterializedView')
ORDER BY engine = 'MaterializedView', name`)
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	defer rows.Close()
	var names, created []string
	for rows.Next() {
		var name, how string
		if err := rows.Scan(&name, &how); err != nil {
			return fmt.Errorf("read the schema: %w", err)
		}
		names, created = append(names, name), append(created, how)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	moving := slices.ContainsFunc(names, tables.OnlyWhileMoving)
	for i, name := range names {
		if moving && (tables.OnlyWhileMoving(name) || name == tables.IDs || name == tables.IDsView) {
			continue
		}
		statement, err := c.Elsewhere(created[i])
		if err != nil {
			return fmt.Errorf("read the schema: %w", err)
		}
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("give the schema to all servers: %w", err)
		}
	}
	return nil
}

// refuseCluster refuses the form for one server where that for a cluster is.
func refuseCluster(ctx context.Context, server driver.Conn, database string) error {
	var found uint64
	err := server.QueryRow(WithParams(ctx, map[string]string{"reads": tables.ReadsDatabase(database)}),
		"SELECT count() FROM system.databases WHERE name = {reads:String}").Scan(&found)
	if err != nil {
		return fmt.Errorf("look for a cluster's tables: %w", err)
	}
	if found > 0 {
		return fmt.Errorf("%w: database %s is of a cluster; say which by --clickhouse-cluster", ErrOtherForm, database)
	}
	return nil
}

// refuseSingle refuses the form for a cluster where tables are that no other
// server has: IF NOT EXISTS would take them for what it is to create.
func refuseSingle(ctx context.Context, c tables.Cluster, server driver.Conn) error {
	rows, err := server.Query(WithParams(ctx, map[string]string{"cluster": c.Name, "database": c.Database}), `
SELECT DISTINCT hostName() AS host, name, engine
FROM clusterAllReplicas({cluster:String}, system.tables)
WHERE database = {database:String} AND endsWith(engine, 'MergeTree') AND NOT startsWith(engine, 'Replicated')
ORDER BY host, name`)
	if err != nil {
		return fmt.Errorf("look for tables of one server: %w", err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var host, name, engine string
		if err := rows.Scan(&host, &name, &engine); err != nil {
			return fmt.Errorf("look for tables of one server: %w", err)
		}
		found = append(found, fmt.Sprintf("%s at %s is a %s", name, host, engine))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for tables of one server: %w", err)
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: database %s holds tables of one server (%s). They are not made replicated in place: take another database, or see docs/operations/cluster.md, Moving to a cluster",
			ErrOtherForm, c.Database, strings.Join(found, "; "))
	}
	return nil
}

// checkCluster refuses a cluster on which counting cannot be promised, before
// anything is created there.
func checkCluster(ctx context.Context, c tables.Cluster, server driver.Conn) error {
	ctx = WithParams(ctx, map[string]string{"cluster": c.Name})
	var known []string
	if err := server.QueryRow(ctx, "SELECT arraySort(groupUniqArray(cluster)) FROM system.clusters").Scan(&known); err != nil {
		return fmt.Errorf("list clusters: %w", err)
	}
	rows, err := server.Query(ctx, "SELECT toUInt64(shard_num) AS shard, count() AS replicas FROM system.clusters WHERE cluster = {cluster:String} GROUP BY shard ORDER BY shard")
	if err != nil {
		return fmt.Errorf("look at cluster %s: %w", c.Name, err)
	}
	defer rows.Close()
	var faults []error
	var servers, shards uint64
	for rows.Next() {
		var shard, replicas uint64
		if err := rows.Scan(&shard, &replicas); err != nil {
			return fmt.Errorf("look at cluster %s: %w", c.Name, err)
		}
		servers, shards = servers+replicas, shards+1
		if replicas < 2 {
			faults = append(faults, fmt.Errorf("shard %d of cluster %s has one replica: an insert that Keeper leaves in doubt is settled by a second one, so each shard needs two or more", shard, c.Name))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look at cluster %s: %w", c.Name, err)
	}
	if servers == 0 {
		return fmt.Errorf("the server knows no cluster %q; it knows %s", c.Name, strings.Join(known, ", "))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	var named, distinctShards, distinct uint64
	err = server.QueryRow(ctx, `
SELECT count(), uniqExact(shard), uniqExact(shard, replica)
FROM
(
    SELECT _shard_num, anyIf(substitution, macro = 'shard') AS shard, anyIf(substitution, macro = 'replica') AS replica
    FROM clusterAllReplicas({cluster:String}, system.macros)
    GROUP BY _shard_num
)
WHERE shard != '' AND replica != ''`).Scan(&named, &distinctShards, &distinct)
	if err != nil {
		return fmt.Errorf("read the macros of cluster %s: %w", c.Name, err)
	}
	if named != servers || distinctShards != shards || distinct != servers {
		return fmt.Errorf("cluster %s has shards and servers in the numbers %d and %d; %d servers define the macros shard and replica, which name %d shards and %d replicas: all servers of one shard, and no other, have the same shard, and each a replica of its own",
			c.Name, shards, servers, named, distinctShards, distinct)
	}
	return nil
}
