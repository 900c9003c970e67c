package rollup

import (
	"testing"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

func TestWhatWasRecordedUnderAnIDIsFoundWithItsPlace(t *testing.T) {
	s := newStack(t)
	s.start()
	events := testEvents(5)
	events[1].ID = `odd 'one' with \t, "quotes" and ü` // no tab: text that ClickHouse would unescape
	events[2].Channel, events[2].Messages = schemas.ChannelPlayground, 3
	events[3].Adjustment = &schemas.Adjustment{Reason: "a refund"}
	events[3].Credits, events[3].Messages = -250_000, 0
	s.produce(events...)
	s.waitCounted()
	changed := events[1]
	changed.Credits++
	s.produce(changed, events[1])
	s.waitCounted()

	want := []schemas.Outcome{schemas.OutcomeCounted, schemas.OutcomeCounted, schemas.OutcomePlayground, schemas.OutcomeAdjustment, schemas.OutcomeCounted}
	for i := range events {
		sent := &events[i]
		found, err := FindEvent(t.Context(), s.client, sent.Workspace, sent.ID)
		if err != nil || found == nil {
			t.Fatalf("%q: %v, %v", sent.ID, found, err)
		}
		if found.Outcome != want[i] || found.Event.ID != sent.ID || found.Event.PayloadHash() != sent.PayloadHash() {
			t.Errorf("%q: %s %+v, want %s of what was sent", sent.ID, found.Outcome, found.Event, want[i])
		}
		if found.Partition != schemas.PartitionOf(schemas.RecordKey(sent.Workspace, sent.ID), kafka.DefaultPlan().EventPartitions) || found.Offset < 0 {
			t.Errorf("%q: found in %d/%d", sent.ID, found.Partition, found.Offset)
		}
	}
	for _, id := range []string{"event-77", events[1].ID + " "} {
		if found, err := FindEvent(t.Context(), s.client, events[1].Workspace, id); found != nil || err != nil {
			t.Errorf("%q: %+v, %v", id, found, err)
		}
	}
	if found, err := FindEvent(t.Context(), s.client, "ws_another", events[0].ID); found != nil || err != nil {
		t.Errorf("of another workspace: %+v, %v", found, err)
	}
}
