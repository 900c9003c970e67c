package query

import (
	"bytes"
	"net/http"
	"testing"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/clickhouse/clickhousetest"
	"agentmeter/schemas/api"
	schema "agentmeter/schemas/clickhouse"
)

// Both clusters are of one engine, so the second one's shards have the same
// rows.
var (
	oneShard  = clickhousetest.Cluster{Name: "one_shard", Shards: [][]string{{clickhousetest.Here}}}
	twoShards = clickhousetest.Cluster{Name: "two_shards", Shards: [][]string{{clickhousetest.Here}, {clickhousetest.Here}}}
)

func TestAnswersAreTheSameOverShardsAsOnOneServer(t *testing.T) {
	engine := clickhousetest.Start(t, "1", oneShard, twoShards)
	w := newWorldAt(t, clickhouse.Config{URL: engine})
	w.fill(t)
	alone := w.serve(t, frozen, DefaultConfig())
	over := func(cluster clickhousetest.Cluster) *service {
		t.Helper()
		clickhousetest.MakeReads(t, engine, schema.Cluster{Name: cluster.Name, Database: clickhouse.DefaultDatabase})
		client, err := clickhouse.Open(clickhouse.Config{URL: engine, Cluster: cluster.Name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		sharded := &world{client: client.Reads()}
		return sharded.serve(t, frozen, DefaultConfig())
	}
	s := over(oneShard)
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	const of = "?workspace=ws_acme&"
	for _, path := range []string{
		"/v1/usage/dashboard" + of + "range=7d",
		"/v1/usage/dashboard" + of + "range=7d&agent=agt_1",
		"/v1/usage/dashboard" + of + "range=today&tz=Asia/Kathmandu",
		"/v1/usage/agents" + of + "range=7d&sort=credits",
		"/v1/agents" + of,
		"/v1/usage/export.csv" + of + "range=7d",
		"/v1/usage/breakdown" + of + "range=7d&by=channel",
		"/v1/usage/reconcile" + of + "range=7d",
	} {
		want, wantBody := alone.get(t, path)
		got, gotBody := s.get(t, path)
		if want.StatusCode != http.StatusOK || got.StatusCode != want.StatusCode || !bytes.Equal(gotBody, wantBody) {
			t.Errorf("%s answers %d over shards\n%s\nand %d on one server\n%s", path, got.StatusCode, gotBody, want.StatusCode, wantBody)
		}
	}

	const week = "/v1/usage/dashboard" + of + "range=7d"
	one := ask[api.Dashboard](t, alone, week).Summary
	both := ask[api.Dashboard](t, over(twoShards), week).Summary
	credits, twice := rat(t, one.Credits), rat(t, both.Credits)
	if credits.Add(credits, credits); credits.Cmp(twice) != 0 || twice.Sign() == 0 {
		t.Errorf("two shards with the same rows have %s credits, and each has %s", both.Credits, one.Credits)
	}
}
