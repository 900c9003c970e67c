package kafka

import (
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A rollup's clients come and go with its partitions, and are one in its metrics.
func TestClientsOfARoleShareTheirMetrics(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	registry := prometheus.NewRegistry()
	config := Config{Brokers: cluster.ListenAddrs(), ClientID: "test", Metrics: NewMetrics("rollup", registry)}
	client := func() *kgo.Client {
		c, err := kgo.NewClient(append(config.Options(slog.New(slog.DiscardHandler)), kgo.DefaultProduceTopic("t"))...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ProduceSync(t.Context(), kgo.StringRecord("r")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	families := func() (records float64, all map[string]bool) {
		gathered, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		all = make(map[string]bool)
		for _, family := range gathered {
			all[family.GetName()] = true
			if family.GetName() == "agentmeter_kafka_produce_records_total" {
				records += family.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return records, all
	}
	first, second := client(), client()
	second.Close()
	third := client()
	records, all := families()
	for patience := time.Now().Add(10 * time.Second); records < 3 && time.Now().Before(patience); records, all = families() {
		runtime.Gosched() // a record is counted after its sender knows that it is produced
	}
	if records != 3 || !all["agentmeter_kafka_buffered_produce_bytes"] || all["agentmeter_kafka_buffered_fetch_bytes"] {
		t.Errorf("three clients produced %v records; metrics %v", records, all)
	}
	third.Close()
	first.Close()
	if _, all := families(); len(all) > 0 {
		t.Errorf("%v outlive the role's client", all)
	}
}
