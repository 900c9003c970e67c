package rollup

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

// waitHalted waits until exactly n partitions are published as halted, and
// returns the reason of one of them.
func (s *stack) waitHalted(n uint64) (reason string) {
	s.t.Helper()
	var halted uint64
	s.until(func() bool {
		err := s.client.Conn().QueryRow(s.t.Context(), `SELECT countIf(reason != ''), max(reason) FROM (SELECT argMax(halted, updated_at) AS reason FROM rollup_progress GROUP BY stream, partition)`).Scan(&halted, &reason)
		if err != nil {
			s.t.Fatal(err)
		}
		return halted == n
	}, func() string { return fmt.Sprintf("%d partitions have halted, want %d", halted, n) })
	return reason
}

func TestLossIsAcceptedOnlyKnowinglyAndStaysVisible(t *testing.T) {
	s := newStack(t)
	stop := s.start()
	events := testEvents(100)
	s.produce(events[:40]...)
	s.waitCounted()
	stop()

	accept := func(partition int32, through int64) (int64, error) {
		return AcceptLoss(t.Context(), s.client, s.admin, partition, through, DefaultConfig().StatementTimeout)
	}
	if _, err := accept(0, 100); !errors.Is(err, ErrNothingLost) {
		t.Errorf("with a whole log: %v, want ErrNothingLost", err)
	}

	// Retention passes the ledger's end while no rollup runs.
	outage := time.Now()
	s.produce(events[40:80]...)
	ends, err := kafka.LogEnds(t.Context(), s.admin, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	const partition = 1
	gone := make(kadm.Offsets)
	gone.AddOffset(kafka.TopicEvents, partition, ends[partition], -1)
	if deleted, err := s.admin.DeleteRecords(t.Context(), gone); err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	s.start()
	reason := s.waitHalted(1)
	if !strings.Contains(reason, "accept-loss --partition 1 --through ") {
		t.Errorf("the reason does not say what to do: %s", reason)
	}
	if _, err := accept(partition, ends[partition]-1); err == nil {
		t.Error("a loss was accepted that is not the one that happened")
	}
	lost, err := accept(partition, ends[partition])
	if err != nil || lost == 0 {
		t.Fatalf("accepted the loss of %d records: %v", lost, err)
	}

	// A gap claims nothing about what comes after it.
	known, _, err := readStream(t.Context(), s.client, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	if end, err := known.ledger(s.client, partition, time.Minute).end(t.Context()); err != nil || end.lastTime.After(outage) {
		t.Errorf("the ledger of the lost records ends at %s, after the outage began at %s: %v", end.lastTime, outage, err)
	}

	// The partition goes on by itself, and what was lost is there to be seen.
	s.produce(events[80:]...)
	s.waitCounted()
	s.waitHalted(0)
	want := map[string]uint64{"counted": uint64(100 - lost), "gap": uint64(lost)}
	if got := s.outcomes(); !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}
	if _, err := accept(partition, ends[partition]); !errors.Is(err, ErrNothingLost) {
		t.Errorf("accepted again: %v, want ErrNothingLost", err)
	}
}

// A ledger that was restored from an older backup, or lost a part with the
// power, while its views kept what they had.
func TestLedgerThatWasSetBackIsJoinedToItsViewsAndCountedAgain(t *testing.T) {
	slowtest.Begin(t)
	s := newStack(t)
	stop := s.start()
	events := testEvents(300)
	s.produce(events[:200]...)
	s.waitCounted()
	kept, err := kafka.LogEnds(t.Context(), s.admin, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	s.produce(events[200:]...)
	s.waitCounted()
	stop()
	for partition, end := range kept {
		if err := s.client.Conn().Exec(t.Context(), `ALTER TABLE usage_ledger DELETE WHERE partition = ? AND offset >= ? SETTINGS mutations_sync = 2`, partition, end); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	s.waitCounted()
	var credits schemas.Credits
	for i := range events {
		credits += events[i].Credits
	}
	everyRollup(s, credits, 300)
	if got, want := s.outcomes(), map[string]uint64{"counted": 300}; !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}
}
