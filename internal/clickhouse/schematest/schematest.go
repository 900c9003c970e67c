// Package schematest gives tests the schema on the real engine.
package schematest

import (
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
	config := clickhouse.Config{URL: url, Database: database}
	return config, Migrated(t, config)
}

// Migrated puts the schema into a database and returns a client of it, which is
// closed when the test ends.
func Migrated(t testing.TB, config clickhouse.Config) *clickhouse.Client {
	t.Helper()
	if _, err := clickhouse.Migrate(t.Context(), config, tables.Migrations); err != nil {
		t.Fatalf("migrate: %v", err)
	}
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
