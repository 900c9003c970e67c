package clickhouse

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s has changed; go test -update rewrites it. Got\n%s", path, got)
	}
}

// What was applied somewhere is not applied there again, so a change of it
// would make schemas differ. A new migration adds a line.
func TestAMigrationThatHasShippedStaysAsItIs(t *testing.T) {
	names, err := fs.Glob(Migrations, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var sums strings.Builder
	for _, name := range names {
		text, err := fs.ReadFile(Migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), name)
	}
	golden(t, "migrations.sha256", sums.String())
}

func TestTheSchemaOnAClusterIsWhatItWas(t *testing.T) {
	c := Cluster{Name: "meters", Database: "agentmeter"}
	migrations, err := c.Migrations(Migrations)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	write := func(title string, statements ...string) {
		fmt.Fprintf(&all, "-- %s\n\n", title)
		for _, statement := range statements {
			fmt.Fprintf(&all, "%s;\n\n", statement)
		}
	}
	write("both databases", c.Databases()...)
	write("what was applied", c.VersionTable())
	for _, m := range migrations {
		write(m.File, m.Statements...)
	}
	write("reads across the shards", c.Reads()...)
	move, err := MoveOfIDs(&c)
	if err != nil {
		t.Fatal(err)
	}
	write("ids of earlier releases", move.Statements()...)
	golden(t, "cluster.sql", all.String())
}

func TestEachTableOfTheMigrationsHasATableForReads(t *testing.T) {
	reads := strings.Join(Cluster{Name: "meters", Database: "agentmeter"}.Reads(), "\n") + "\n"
	created := 0
	for _, line := range strings.Split(allSQL(t), "\n") {
		table, ok := strings.CutPrefix(line, "CREATE TABLE IF NOT EXISTS ")
		if !ok {
			continue
		}
		created++
		if !strings.Contains(reads, " agentmeter_reads."+table+" ") {
			t.Errorf("%s cannot be read across the shards", table)
		}
	}
	if n := len(sharded()) + len(everywhere()); n != created {
		t.Errorf("%d tables are created, and %d have a place on a cluster", created, n)
	}
}

func TestWhatOneServerHasCanBeCreatedAtTheOthers(t *testing.T) {
	c := Cluster{Name: "meters", Database: "agentmeter"}
	for created, want := range map[string]string{
		"CREATE TABLE agentmeter.usage_day (`x` Int64) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/agentmeter/usage_day', '{replica}') ORDER BY x": "CREATE TABLE IF NOT EXISTS agentmeter.usage_day ON CLUSTER 'meters' (`x` Int64) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/agentmeter/usage_day', '{replica}') ORDER BY x",
		"CREATE MATERIALIZED VIEW agentmeter.v TO agentmeter.usage_day (`x` Int64) AS SELECT 1 AS x":                                                            "CREATE MATERIALIZED VIEW IF NOT EXISTS agentmeter.v ON CLUSTER 'meters' TO agentmeter.usage_day (`x` Int64) AS SELECT 1 AS x",
		"CREATE TABLE other.usage_day (`x` Int64)": "",
		"CREATE VIEW agentmeter.v AS SELECT 1":     "",
	} {
		if got, err := c.Elsewhere(created); got != want || (err != nil) != (want == "") {
			t.Errorf("%s becomes %q (%v), want %q", created, got, err, want)
		}
	}
}

func TestWhatHasNoFormForAClusterIsRefused(t *testing.T) {
	for name, sql := range map[string]string{
		"a table of no known place": "CREATE TABLE IF NOT EXISTS surprises\n(\n    x Int64\n)\nENGINE = MergeTree\nORDER BY x;",
		"a table without an engine": "CREATE TABLE IF NOT EXISTS usage_ledger\n(\n    x Int64\n);",
		"another engine":            "CREATE TABLE IF NOT EXISTS usage_ledger\n(\n    x Int64\n)\nENGINE = Log;",
		"a view of everywhere":      "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO directory_agents AS\nSELECT 1;",
		"another alteration":        "ALTER TABLE surprises ADD COLUMN y Int64;",
		"another statement":         "RENAME TABLE usage_day TO usage_days;",
	} {
		t.Run(name, func(t *testing.T) {
			migrations, err := Cluster{Name: "meters", Database: "agentmeter"}.Migrations(fstest.MapFS{"00001_x.sql": {Data: []byte("-- +goose Up\n" + sql)}})
			if err == nil {
				t.Errorf("rendered as %v", migrations)
			}
		})
	}
	for _, c := range []Cluster{{"", "agentmeter"}, {"a'b", "agentmeter"}, {"meters", "agent-meter"}, {"meters", "{shard}"}} {
		if _, err := c.Migrations(Migrations); err == nil {
			t.Errorf("%v is accepted", c)
		}
	}
}
