package rollup

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

func TestAbortedTransactionsAreGaps(t *testing.T) {
	s := newStack(t)
	client, err := kgo.NewClient(append(s.kafka.ProducerOptions(s.log), kgo.TransactionalID("billing-job"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	transaction := func(commit kgo.TransactionEndTry, events ...schemas.Event) {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range events {
			record := &kgo.Record{
				Topic: kafka.TopicEvents,
				Key:   schemas.RecordKey(events[i].Workspace, events[i].ID),
				Value: schemas.EncodeEvent(nil, &events[i]),
			}
			if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	events := testEvents(30)
	s.start()
	transaction(kgo.TryCommit, events[:10]...)
	transaction(kgo.TryAbort, events[10:20]...)
	transaction(kgo.TryCommit, events[20:]...)
	s.waitCounted()
	outcomes := s.outcomes()
	if outcomes["counted"] != 20 || outcomes["gap"] < 10 || len(outcomes) != 2 {
		t.Errorf("outcomes are %v, want 20 counted, and the aborted events and the markers as gaps", outcomes)
	}
	// Aborted is not seen: the same ids count when they come for good.
	s.produce(events[10:20]...)
	s.waitCounted()
	if counted := s.outcomes()["counted"]; counted != 30 {
		t.Errorf("%d are counted, want 30", counted)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("not exact: %+v", report.Findings)
	}
}
