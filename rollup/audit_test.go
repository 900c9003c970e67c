package rollup

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/audit"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/slowtest"
)

func (s *stack) audit() *audit.Report {
	s.t.Helper()
	report, err := audit.Run(s.t.Context(), s.client, s.admin, audit.Options{Mutex: func(stream uuid.UUID, partition int32) string {
		return clickhouse.Place{Stream: stream, Partition: partition}.Mutex(s.client.Database())
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

func TestAuditIsExactAndSeesEveryKindOfDifference(t *testing.T) {
	slowtest.Begin(t)
	s := newStack(t)
	stop := s.start()
	s.produce(testEvents(500)...)
	s.waitCounted()
	if report := s.audit(); !report.Exact {
		t.Fatalf("beside a running rollup: %+v", report.Findings)
	}
	stop()

	const anyPartition = "(SELECT stream, partition FROM usage_ledger ORDER BY partition LIMIT 1)"
	for _, test := range []struct{ name, breakage, check, table string }{
		{"a rollup with too much", "INSERT INTO usage_hour SELECT 'ws_0', toDateTime('" + testTime.Truncate(time.Hour).Format(time.DateTime) + "', 'UTC'), 'agt_0', stream, partition, 1, 0, 0 FROM " + anyPartition, "rollup", "usage_hour"},
		{"a rollup without an event", "INSERT INTO usage_day SELECT workspace, toStartOfDay(occurred_at), agent, stream, partition, -credits, -1, -1 FROM usage_ledger ORDER BY partition, offset LIMIT 1", "rollup", "usage_day"},
		{"an id that cannot be looked up", "ALTER TABLE usage_id_places DELETE WHERE offset = 3 SETTINGS mutations_sync = 1", "ids", "usage_id_places"},
		{"an offset twice", "INSERT INTO usage_ledger SELECT * FROM usage_ledger ORDER BY partition, offset LIMIT 1", "offsets", "usage_ledger"},
		{"a missing offset", "ALTER TABLE usage_ledger DELETE WHERE offset = 5 AND partition = 1 SETTINGS mutations_sync = 1", "offsets", "usage_ledger"},
	} {
		if err := s.client.Conn().Exec(t.Context(), test.breakage); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		report := s.audit()
		found := false
		for _, finding := range report.Findings {
			found = found || finding.Check == test.check && finding.Table == test.table && strings.TrimSpace(finding.Detail) != ""
		}
		if report.Exact || !found {
			t.Errorf("%s was not found: %+v", test.name, report.Findings)
		}
	}
}
