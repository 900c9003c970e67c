package schematest

import (
	"strings"
	"testing"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/enginetest"
)

// Tests stand on tables that are copied: they are those that migrations make.
func TestTablesAreThoseOfTheMigrations(t *testing.T) {
	copied, _ := Tables(t)
	url, database := enginetest.Start(t)
	Migrated(t, clickhouse.Config{URL: url, Database: database})
	made := func(of string) string {
		text, err := enginetest.Query(t.Context(), url, of, "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name")
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(text, of, "db")
	}
	if got, want := made(copied.Database), made(database); got != want || !strings.Contains(got, "usage_ledger") {
		t.Errorf("tables are made by\n%s\nwant\n%s", got, want)
	}
	versions, err := enginetest.Query(t.Context(), url, copied.Database, "SELECT max(version_id) FROM goose_db_version")
	if want, _ := enginetest.Query(t.Context(), url, database, "SELECT max(version_id) FROM goose_db_version"); err != nil || versions != want {
		t.Errorf("version %q, %v, want %q", versions, err, want)
	}
}
