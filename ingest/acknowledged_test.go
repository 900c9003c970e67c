package ingest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAcknowledgedOffsetsRiseOrAreCounted(t *testing.T) {
	a := newAcknowledged("events")
	for _, r := range []kgo.Record{
		{Topic: "events", Partition: 1, Offset: 0},
		{Topic: "events", Partition: 1, Offset: 1},
		{Topic: "events", Partition: 3, Offset: 9},
		{Topic: "directory", Partition: 0, Offset: 5},
		{Topic: "events", Partition: 1, Offset: -1}, // a retry without its offset
		{Topic: "events", Partition: 3, Offset: 8},  // the log was cut
		{Topic: "events", Partition: 3, Offset: 9},
		{Topic: "events", Partition: 3, Offset: 10},
	} {
		a.note(&r)
	}
	want := `
# HELP agentmeter_ingest_acknowledged_again_total Records that Kafka acknowledged at an offset that does not lie above all that it had acknowledged before: its log was cut, and records that clients were told are safe are gone.
# TYPE agentmeter_ingest_acknowledged_again_total counter
agentmeter_ingest_acknowledged_again_total 2
# HELP agentmeter_ingest_acknowledged_offset Offset after the last record of the events topic that Kafka acknowledged to this process, by partition. Kafka's log may never end below it.
# TYPE agentmeter_ingest_acknowledged_offset gauge
agentmeter_ingest_acknowledged_offset{partition="1"} 2
agentmeter_ingest_acknowledged_offset{partition="3"} 11
`
	if err := testutil.CollectAndCompare(a, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
