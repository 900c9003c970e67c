// Package schematest gives tests the schema on the real engine.
package schematest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/enginetest"
	tables "agentmeter/schemas/clickhouse"
)

// Tables returns a database of the test's own with the schema in it, on the
// engine that all tests of a binary share, and a client of it. Both are gone when
// the test ends.
func Tables(t testing.TB) (clickhouse.Config, *clickhouse.Client) {
	t.Helper()
	url, database := enginetest.Start(t)
	made, err := migratedOnce(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range made {
		if err := enginetest.Exec(t.Context(), url, strings.ReplaceAll(statement, template+".", database+".")); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	config := clickhouse.Config{URL: url, Database: database}
	return config, opened(t, config)
}

// template is a database that was migrated. To do what ClickHouse says that made its
// tables takes half the time of the migrations.
const template = "schematest_template"

var (
	mu   sync.Mutex // guards made
	made []string
)

// migratedOnce returns the statements that make the template's tables, and its rows.
func migratedOnce(ctx context.Context, url string) ([]string, error) {
	mu.Lock()
	defer mu.Unlock()
	if made != nil {
		return made, nil
	}
	if _, err := clickhouse.Migrate(ctx, clickhouse.Config{URL: url, Database: template}, tables.Migrations, nil); err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	created, err := enginetest.Query(ctx, url, template, `
SELECT create_table_query FROM system.tables
WHERE database = currentDatabase() ORDER BY engine = 'MaterializedView', name FORMAT TabSeparatedRaw`)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	statements := strings.Split(strings.TrimSpace(created), "\n")
	made = append(statements, "INSERT INTO "+template+".goose_db_version SELECT * FROM `"+template+"`.goose_db_version") // from the template itself
	return made, nil
}

// Migrated puts the schema into a database and returns a client of it, which is
// closed when the test ends.
func Migrated(t testing.TB, config clickhouse.Config) *clickhouse.Client {
	t.Helper()
	if _, err := clickhouse.Migrate(t.Context(), config, tables.Migrations, nil); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return opened(t, config)
}

func opened(t testing.TB, config clickhouse.Config) *clickhouse.Client {
	t.Helper()
	client, err := clickhouse.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// SameKeyWorkspace is whose the ids of SameKey are.
const SameKeyWorkspace = "ws_acme"

// SameKey are pairs of ids of SameKeyWorkspace whose hashes begin alike, so that
// the look-up has one key for both. They were found among 90 million. Of the first
// pairs both are of one partition, of the last they are not.
func SameKey() [][2]string {
	return [][2]string{
		{"evt_56728679", "evt_59386663"},
		{"evt_82222498", "evt_47219899"},
		{"evt_44938288", "evt_61345903"},
		{"evt_1457185", "evt_45784962"},
		{"evt_37007929", "evt_7339449"},
		{"evt_8961734", "evt_79967872"},
	}
}
