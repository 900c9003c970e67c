// Package clickhousetest gives tests what of a ClickHouse cluster an embedded
// engine can be: one that knows clusters, of which it is a server, and that has
// the tables for reads over all shards. It speaks to no other server and has no
// Keeper, so nothing is replicated and nothing runs ON CLUSTER.
package clickhousetest

import (
	"fmt"
	"strings"
	"testing"

	"agentmeter/internal/embedded/enginetest"
	tables "agentmeter/schemas/clickhouse"
)

// Cluster describes a cluster: for each shard its hosts. Here is the engine
// itself.
type Cluster struct {
	Name   string
	Shards [][]string
}

// Here is a host that is the engine itself, and Elsewhere one that never answers.
const (
	Here      = "127.0.0.1"
	Elsewhere = "192.0.2.1"
)

// Start returns the base URL of an engine of the test's own that is a server of
// a shard and knows clusters.
func Start(t testing.TB, shard string, clusters ...Cluster) (baseURL string) {
	t.Helper()
	var definitions strings.Builder
	for _, cluster := range clusters {
		fmt.Fprintf(&definitions, "<%s>", cluster.Name)
		for _, hosts := range cluster.Shards {
			definitions.WriteString("<shard><internal_replication>true</internal_replication>")
			for _, host := range hosts {
				fmt.Fprintf(&definitions, "<replica><host>%s</host><port>9000</port></replica>", host)
			}
			definitions.WriteString("</shard>")
		}
		fmt.Fprintf(&definitions, "</%s>", cluster.Name)
	}
	return enginetest.StartConfigured(t, fmt.Sprintf(`<clickhouse>
<tcp_port>9000</tcp_port>
<macros><shard>%s</shard><replica>a</replica></macros>
<remote_servers>%s</remote_servers>
</clickhouse>`, shard, definitions.String()))
}

// MakeReads makes the tables for reads of a cluster, on one server alone.
func MakeReads(t testing.TB, engine string, cluster tables.Cluster) {
	t.Helper()
	for _, statement := range append(cluster.Databases(), cluster.Reads()...) {
		statement = strings.ReplaceAll(statement, " ON CLUSTER '"+cluster.Name+"'", "")
		if err := enginetest.Exec(t.Context(), engine, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
