package audit

import (
	"strings"
	"testing"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/clickhousetest"
	tables "agentmeter/schemas/clickhouse"
)

// Both shards of the cluster are the same engine, so every row is on both.
func TestAuditSeesAPartitionOnTwoShards(t *testing.T) {
	cluster := clickhousetest.Cluster{Name: "meters", Shards: [][]string{{clickhousetest.Here}, {clickhousetest.Here}}}
	config := clickhouse.Config{URL: clickhousetest.Start(t, "1", cluster)}
	if _, err := clickhouse.Migrate(t.Context(), config, tables.Migrations, nil); err != nil {
		t.Fatal(err)
	}
	clickhousetest.MakeReads(t, config.URL, tables.Cluster{Name: cluster.Name, Database: clickhouse.DefaultDatabase})
	config.Cluster = cluster.Name
	client, err := clickhouse.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	a := newAuditor(client, Options{})
	if err := a.scattered(t.Context()); err != nil || len(a.findings) > 0 {
		t.Fatalf("of empty tables: %v, %v", a.findings, err)
	}
	err = client.Exec(t.Context(), clickhouse.Statement{SQL: "INSERT INTO usage_hour SELECT 'w', toDateTime('2026-11-24 09:00:00', 'UTC'), 'a', generateUUIDv4(), 3, 1, 1, 1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.scattered(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(a.findings) != 1 || a.findings[0].Table != "usage_hour" || a.findings[0].Partition != 3 || !strings.Contains(a.findings[0].Detail, "on 2 shards") {
		t.Errorf("found %+v", a.findings)
	}
}
