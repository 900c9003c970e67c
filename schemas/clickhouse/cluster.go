package clickhouse

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Cluster renders the form that the schema has on a cluster, from the same
// migrations: every statement runs ON CLUSTER, tables are replicated, and a
// second database has a table for reads beside each.
//
// The tables of Database keep their plain names and are local: what counts
// writes and decides there, on one server of a shard, and materialized views
// fire there. The tables of ReadsDatabase have the same names and span the
// shards, so that a question's text is the same on a cluster as on one server.
type Cluster struct {
	Name     string // as ClickHouse's configuration defines it
	Database string
}

// Versions is the table in which goose keeps what was applied.
const Versions = "goose_db_version"

// sharded tables hold rows of partitions: a partition's are all on one shard.
func sharded() []string {
	names := []string{Ledger, IDs, Progress}
	for _, rollup := range Rollups {
		names = append(names, rollup.Table)
	}
	return names
}

// everywhere are small tables of which each server has all rows: what streams
// there are has to be known before a shard can be, each block asks which
// workspaces were erased, the directory is asked about with every question, and
// a migration is of all shards.
func everywhere() []string {
	return []string{Streams, Erasures, DirectoryWorkspaces, DirectoryAgents, DirectoryMembers}
}

// ReadsDatabase is where the tables are that span the shards.
func ReadsDatabase(database string) string { return database + "_reads" }

// ClusterMigration is a migration in the form for a cluster.
type ClusterMigration struct {
	Version    int64
	File       string
	Statements []string
}

var (
	// Names go into statements, paths of Keeper's and macros as they are.
	plainName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	clusterName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

	createTable = regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS (\w+)\n`)
	createView  = regexp.MustCompile(`^CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+) AS\n`)
	alterTable  = regexp.MustCompile(`^ALTER TABLE (\w+) `)
	engineOf    = regexp.MustCompile(`(?m)^ENGINE = (\w*MergeTree)(?:\(([^()]*)\))?$`)
	settingsOf  = regexp.MustCompile(`(?m)^SETTINGS (.*)$`)
)

// Validate reports what is wrong with the names.
func (c Cluster) Validate() error {
	var faults []error
	if !clusterName.MatchString(c.Name) {
		faults = append(faults, fmt.Errorf("--clickhouse-cluster: %q: letters, digits, _ - and . only", c.Name))
	}
	if !plainName.MatchString(c.Database) {
		faults = append(faults, fmt.Errorf("--clickhouse-database: %q: on a cluster letters, digits and _ only", c.Database))
	}
	return errors.Join(faults...)
}

// Databases are the statements that create both databases.
func (c Cluster) Databases() []string {
	return []string{
		"CREATE DATABASE IF NOT EXISTS " + c.Database + c.on(),
		"CREATE DATABASE IF NOT EXISTS " + ReadsDatabase(c.Database) + c.on(),
	}
}

// VersionTable creates the table in which goose keeps what was applied, so that
// it is the same whichever server a migration is run at.
func (c Cluster) VersionTable() string {
	return "CREATE TABLE IF NOT EXISTS " + Versions + c.on() + `
(
    version_id Int64,
    is_applied UInt8,
    date       Date DEFAULT now(),
    tstamp     DateTime DEFAULT now()
)
ENGINE = ` + c.engine("MergeTree", "", Versions, true) + `
ORDER BY version_id
SETTINGS ` + noDeduplication
}

// stored is how the engine writes down what it created.
var stored = regexp.MustCompile(`^CREATE (TABLE|MATERIALIZED VIEW) ((\w+)\.(\w+))`)

// Elsewhere turns what one server says of how a table or view of Database was
// created, and has been altered since, into a statement that creates it at every
// server that lacks it.
func (c Cluster) Elsewhere(created string) (string, error) {
	m := stored.FindStringSubmatchIndex(created)
	if m == nil || created[m[6]:m[7]] != c.Database {
		first, _, _ := strings.Cut(created, "(")
		return "", fmt.Errorf("not understood: %s", first)
	}
	return "CREATE " + created[m[2]:m[3]] + " IF NOT EXISTS " + created[m[4]:m[5]] + c.on() + created[m[1]:], nil
}

// Migrations renders migrations, in the order of their numbers. It fails on a
// statement that it does not know how to run on a cluster.
func (c Cluster) Migrations(files fs.FS) ([]ClusterMigration, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	slices.Sort(names)
	var migrations []ClusterMigration
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s has no number: %w", name, err)
		}
		m := ClusterMigration{Version: version, File: name}
		for _, statement := range statementsOf(string(text)) {
			rendered, err := c.statement(statement)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m.Statements = append(m.Statements, rendered)
		}
		migrations = append(migrations, m)
	}
	return migrations, nil
}

// Reads are the statements that make the tables of ReadsDatabase. They are run
// after all migrations, each time: a table is replaced at once by one with the
// columns that the one behind it has now.
func (c Cluster) Reads() []string {
	var statements []string
	reads := ReadsDatabase(c.Database)
	for _, table := range sharded() {
		statements = append(statements, fmt.Sprintf("CREATE OR REPLACE TABLE %s.%s%s AS %s.%s\nENGINE = Distributed('%s', '%s', '%s')",
			reads, table, c.on(), c.Database, table, c.Name, c.Database, table))
	}
	for _, table := range everywhere() {
		statements = append(statements, fmt.Sprintf("CREATE OR REPLACE VIEW %s.%s%s AS\nSELECT * FROM %s.%s", reads, table, c.on(), c.Database, table))
	}
	return statements
}

func (c Cluster) on() string { return " ON CLUSTER '" + c.Name + "'" }

// noDeduplication keeps a block that equals an earlier one: that is two hours
// with the same sums, and not a copy.
const noDeduplication = "replicated_deduplication_window = 0"

// engine is the replicated one. A table of which each server has all rows has
// one path for all shards, and so its replicas need names that differ among
// them.
func (c Cluster) engine(family, arguments, table string, whole bool) string {
	path, replica := "{shard}", "{replica}"
	if whole {
		path, replica = "all", "{shard}-{replica}"
	}
	text := fmt.Sprintf("Replicated%s('/clickhouse/tables/%s/%s/%s', '%s'", family, path, c.Database, table, replica)
	if arguments != "" {
		text += ", " + arguments
	}
	return text + ")"
}

func (c Cluster) statement(text string) (string, error) {
	if m := createTable.FindStringSubmatchIndex(text); m != nil {
		return c.table(text, text[m[2]:m[3]], m[3])
	}
	if m := createView.FindStringSubmatchIndex(text); m != nil {
		if target := text[m[4]:m[5]]; !slices.Contains(sharded(), target) {
			return "", fmt.Errorf("a view into %s: only tables of partitions are filled by views", target)
		}
		return text[:m[3]] + c.on() + text[m[3]:], nil
	}
	if m := alterTable.FindStringSubmatchIndex(text); m != nil {
		table := text[m[2]:m[3]]
		// What waits for all replicas lets the tables for reads be made after it.
		const wait = "\nSETTINGS alter_sync = 2"
		switch {
		case slices.Contains(sharded(), table):
			return text[:m[3]] + c.on() + text[m[3]:] + wait, nil
		case slices.Contains(everywhere(), table):
			// Replication takes it to all servers. ON CLUSTER would run it once for
			// each shard, at the same time, on what is one table.
			return text + wait, nil
		}
		return "", fmt.Errorf("table %s: is it of partitions, or everywhere?", table)
	}
	first, _, _ := strings.Cut(text, "\n")
	return "", fmt.Errorf("no form for a cluster is known of: %s", first)
}

func (c Cluster) table(text, name string, after int) (string, error) {
	whole := slices.Contains(everywhere(), name)
	if !whole && !slices.Contains(sharded(), name) {
		return "", fmt.Errorf("table %s: is it of partitions, or everywhere?", name)
	}
	engines := engineOf.FindAllStringSubmatchIndex(text, -1)
	if len(engines) != 1 {
		return "", fmt.Errorf("table %s: %d lines say its engine", name, len(engines))
	}
	m := engines[0]
	arguments := ""
	if m[4] >= 0 {
		arguments = text[m[4]:m[5]]
	}
	text = text[:after] + c.on() + text[after:m[2]] + c.engine(text[m[2]:m[3]], arguments, name, whole) + text[m[1]:]
	settings := settingsOf.FindStringSubmatchIndex(text)
	if settings == nil {
		return text + "\nSETTINGS " + noDeduplication, nil
	}
	kept := slices.DeleteFunc(strings.Split(text[settings[2]:settings[3]], ", "), func(setting string) bool {
		return strings.HasPrefix(setting, "non_replicated_")
	})
	return text[:settings[2]] + strings.Join(append(kept, noDeduplication), ", ") + text[settings[3]:], nil
}

// statementsOf splits a migration. Its statements hold neither a semicolon nor a
// line that begins as a remark does.
func statementsOf(text string) []string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			kept = append(kept, line)
		}
	}
	var statements []string
	for statement := range strings.SplitSeq(strings.Join(kept, ""), ";") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	return statements
}
