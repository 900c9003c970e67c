package e2e

import (
	"strings"
	"testing"

	"agentmeter/internal/clickhouse/schematest"
	"agentmeter/internal/slowtest"
)

// An upgrade that changes the schema, as docs/operations/upgrade.md has it, and
// one in the wrong order: what is counted waits for its tables.
func TestAnUpgradeOfTheSchemaUnderTrafficLosesNothing(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const workspace = "ws_upgrade"
	read := s.token(workspace, "usage:read")
	w := newTraffic(t, workspace)
	w.begin(s.ingestBase, s.token(workspace, "events:write"))
	w.passes(200)
	s.rollup.stop()
	s.earlierSchema()
	w.passes(200)
	if applied := s.must("migrate"); !strings.Contains(applied, "current schema") {
		t.Errorf("migrate: %s", applied)
	}
	s.startRollup()
	w.passes(200)

	s.rollup.stop()
	s.earlierSchema()
	counted := sql(t, s.clickhouse, "SELECT count() FROM usage_ledger")
	s.startRollup()
	s.rollup.waitFor("to be held up", countPatience, func() error {
		if scrape(t, s.rollupBase)["agentmeter_rollup_session_errors_total"].GetMetric()[0].GetCounter().GetValue() == 0 {
			return notYetError{"no partition that could not be taken over"}
		}
		return nil
	})
	if now := sql(t, s.clickhouse, "SELECT count() FROM usage_ledger"); now != counted {
		t.Errorf("%s rows became %s on a schema that is older than the rollup", counted, now)
	}
	s.must("migrate")
	w.end()
	w.counted(s.rollup, s.queryBase, read)
	s.must("audit")
}

// earlierSchema puts the schema back to that of a release before erasures, which
// looked ids up elsewhere.
func (s *stages) earlierSchema() {
	s.t.Helper()
	statements, err := schematest.EarlierIDs()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, statement := range append(statements, "DROP TABLE usage_erasures SYNC", "ALTER TABLE goose_db_version DELETE WHERE version_id = 8 SETTINGS mutations_sync = 2") {
		sql(s.t, s.clickhouse, statement)
	}
}

// A newer release has migrated the tables: what migrates says so and leaves them
// alone; roles, which never migrate, go on counting.
func TestNewerSchemaIsRefusedByMigrationsAndBearableForRoles(t *testing.T) {
	slowtest.Begin(t)
	s := startStages(t)
	const workspace = "ws_newer"
	read, write := s.token(workspace, "usage:read"), s.token(workspace, "events:write")
	w := newTraffic(t, workspace)
	w.send(s.ingestBase, write, 100)
	w.counted(s.rollup, s.queryBase, read)
	sql(t, s.clickhouse, "ALTER TABLE usage_ledger ADD COLUMN of_a_newer_release String")
	sql(t, s.clickhouse, "CREATE TABLE usage_of_a_newer_release (a Int64) ENGINE = MergeTree ORDER BY a")
	sql(t, s.clickhouse, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")

	code, _, stderr := s.command("migrate")
	if code == 0 || !strings.Contains(stderr, "newer release's") || !strings.Contains(stderr, "99999") {
		t.Errorf("migrate: exit status %d: %s", code, stderr)
	}
	s.rollup.stop()
	s.startRollup()
	w.send(s.ingestBase, write, 100)
	w.counted(s.rollup, s.queryBase, read)
	s.must("audit")
}

func TestNewerDataDirectoryIsRefused(t *testing.T) {
	slowtest.Begin(t)
	dir := t.TempDir()
	i := runOn(t, dir)
	sql(t, i.endpoints.ClickHouse, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")
	i.stop()
	code, _, stderr := agentmeter(t, "run", "--data-dir", dir, "--http-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--clickhouse-listen", "127.0.0.1:0")
	if code == 0 || !strings.Contains(stderr, "newer release's") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
	// It is as it was: an audit of it is still exact.
	mustAgentmeter(t, "audit", "--data-dir", dir)
}
