package schematest

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// earlier are the migrations that made the id look-up of earlier releases.
//
//go:embed earlier/*.sql
var earlier embed.FS

// EarlierIDs are the statements that put a migrated database back to how a release
// left it that looked ids up in usage_ids, with what the ledger has in it.
func EarlierIDs() ([]string, error) {
	statements := []string{"DROP VIEW usage_id_places_view SYNC", "DROP TABLE usage_id_places SYNC"}
	names, err := fs.Glob(earlier, "earlier/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list earlier migrations: %w", err)
	}
	for _, name := range names {
		text, err := earlier.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read earlier migration: %w", err)
		}
		_, up, _ := strings.Cut(string(text), "-- +goose Up\n")
		for statement := range strings.SplitSeq(up, ";\n") {
			if statement = strings.TrimSpace(statement); statement != "" {
				statements = append(statements, statement)
			}
		}
	}
	return append(statements,
		`INSERT INTO usage_ids SELECT toFixedString(substring(SHA256(concat(workspace, '\0', event_id)), 1, 16), 16), stream, partition, offset
FROM usage_ledger WHERE outcome IN ('counted', 'playground', 'adjustment')`,
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, 1), (5, 1)",
		"ALTER TABLE goose_db_version DELETE WHERE version_id = 9 SETTINGS mutations_sync = 2",
	), nil
}
