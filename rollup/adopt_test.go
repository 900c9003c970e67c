package rollup

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/slowtest"
	"agentmeter/schemas"
)

// recreateEvents deletes the events topic and makes it again, as n partitions.
func (s *stack) recreateEvents(n int32) {
	s.t.Helper()
	if _, err := s.admin.DeleteTopic(s.t.Context(), kafka.TopicEvents); err != nil {
		s.t.Fatal(err)
	}
	plan := kafka.DefaultPlan()
	plan.EventPartitions = n
	if _, err := kafka.EnsureTopics(s.t.Context(), s.admin, plan); err != nil {
		s.t.Fatal(err)
	}
	s.forgetTopics()
}

// forgetTopics takes new clients, since the old ones remember the topic as it
// was for a while, which another process would not.
func (s *stack) forgetTopics() {
	s.t.Helper()
	producer, err := kgo.NewClient(s.kafka.ProducerOptions(s.log)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(producer.Close)
	s.producer, s.admin = producer, kadm.NewClient(producer)
}

func (s *stack) liveID() uuid.UUID {
	s.t.Helper()
	live, err := kafka.DescribeStream(s.t.Context(), s.admin, kafka.TopicEvents)
	if err != nil {
		s.t.Fatal(err)
	}
	return live.ID
}

func (s *stack) adopt(id uuid.UUID) (*Adoption, error) {
	return AdoptTopic(s.t.Context(), s.client, s.admin, id, time.Minute)
}

func TestAdoptedTopicIsCountedByRunningRollupsAndCopiesOfTheOldOnesEventsAreDuplicates(t *testing.T) {
	slowtest.Begin(t)
	s := newStack(t)
	if _, err := s.adopt(s.liveID()); !errors.Is(err, ErrNothingKnown) {
		t.Errorf("before anything was counted: %v, want ErrNothingKnown", err)
	}
	s.start()
	events := testEvents(60)
	var credits schemas.Credits
	for i := range events {
		credits += events[i].Credits
	}
	s.produce(events[:40]...)
	s.waitCounted()
	old := s.liveID()
	if _, err := s.adopt(old); !errors.Is(err, ErrNothingToAdopt) {
		t.Errorf("the topic that is counted: %v, want ErrNothingToAdopt", err)
	}

	// The new one has another number of partitions: ids are told apart by the
	// look-up across streams, not by where they lie.
	s.recreateEvents(3)
	s.waitHalted(4) // also the one that the new topic does not have
	look, err := LookAtTopic(t.Context(), s.client, s.admin, time.Minute)
	if err != nil || look.Known.ID != old || look.Live.ID != s.liveID() || len(look.Starts) != 3 {
		t.Fatalf("%+v, %v", look, err)
	}
	counted := int64(0)
	for _, p := range look.Partitions {
		counted += p.Position
	}
	if counted != 40 {
		t.Errorf("%d records of the old topic were counted, want 40", counted)
	}
	if _, err := s.adopt(uuid.New()); !errors.Is(err, ErrNotLive) {
		t.Errorf("another id: %v, want ErrNotLive", err)
	}
	if got, want := s.outcomes(), map[string]uint64{"counted": 40}; !maps.Equal(got, want) {
		t.Errorf("what was refused changed the ledger: %v, want %v", got, want)
	}

	if _, err := s.adopt(s.liveID()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.adopt(s.liveID()); !errors.Is(err, ErrNothingToAdopt) {
		t.Errorf("adopting it again: %v, want ErrNothingToAdopt", err)
	}
	s.produce(events...) // those of the old one, too
	s.waitOutcomes(map[string]uint64{"counted": 60, "duplicate": 40, "gap": 4})
	everyRollup(s, credits, 60)
	if report := s.audit(); !report.Exact {
		t.Errorf("the audit finds %+v", report.Findings)
	}
}

// waitOutcomes waits until the ledger has these outcomes.
func (s *stack) waitOutcomes(want map[string]uint64) {
	s.t.Helper()
	var got map[string]uint64
	s.until(func() bool {
		got = s.outcomes()
		return maps.Equal(got, want)
	}, func() string { return fmt.Sprintf("outcomes %v, want %v", got, want) })
	// Whoever has had the mutex since knows that the views have it, too.
	known, _, err := readStream(s.t.Context(), s.client, kafka.TopicEvents)
	if err != nil {
		s.t.Fatal(err)
	}
	for partition := range known.partitions {
		if _, err := known.ledger(s.client, partition, time.Minute).end(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// A consumer that slept through the adoption has a block of the old topic in
// hand, whose events may have been counted from the new one meanwhile.
func TestBlockOfAnAbandonedTopicIsRefusedAfterTheAdoption(t *testing.T) {
	s, _ := countedStack(t, 100)
	known, _, err := readStream(t.Context(), s.client, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	late := known.ledger(s.client, 1, time.Minute)
	end, err := late.end(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.recreateEvents(4)
	if _, err := s.adopt(s.liveID()); err != nil {
		t.Fatal(err)
	}
	b := gapBlock(end, end.position+2, codeLost)
	encoded, err := newColumns().encode(nil, &b)
	if err != nil {
		t.Fatal(err)
	}
	if err := late.append(t.Context(), &b, encoded); !clickhouse.Refused(err) {
		t.Errorf("%v, want it refused", err)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("the audit finds %+v", report.Findings)
	}
}

func TestAdoptionThatWasCutOffIsFinishedByTheNextOne(t *testing.T) {
	s, _ := countedStack(t, 100)
	known, _, err := readStream(t.Context(), s.client, kafka.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	s.recreateEvents(4)
	for range 2 { // closed by one that died then, and again
		if err := known.ledger(s.client, 2, time.Minute).close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.adopt(s.liveID()); err != nil {
		t.Fatal(err)
	}
	if got := s.outcomes()["gap"]; got != 4 {
		t.Errorf("%d gaps, want one for each of 4 partitions", got)
	}
	if report := s.audit(); !report.Exact {
		t.Errorf("the audit finds %+v", report.Findings)
	}
}

func TestTopicIsNotAdoptedWhereThatWouldBeWrong(t *testing.T) {
	s, _ := countedStack(t, 100)
	old := s.liveID()
	if answer, err := s.admin.UpdatePartitions(t.Context(), 8, kafka.TopicEvents); err != nil || answer.Error() != nil {
		t.Fatal(err, answer.Error())
	}
	s.forgetTopics()
	if _, err := s.adopt(old); !errors.Is(err, ErrPartitionsChanged) {
		t.Errorf("with more partitions: %v, want ErrPartitionsChanged", err)
	}
	s.recreateEvents(4)
	// A partial block cannot be made whole once its topic is given up.
	s.exec("ALTER TABLE usage_ledger DELETE WHERE partition = 2 AND offset = (SELECT max(offset) FROM usage_ledger WHERE partition = 2) SETTINGS mutations_sync = 1")
	if _, err := s.adopt(s.liveID()); err == nil || !strings.Contains(err.Error(), "partial block") {
		t.Errorf("with a partial block: %v", err)
	}
	if known, _, err := readStream(t.Context(), s.client, kafka.TopicEvents); err != nil || known.id != old {
		t.Errorf("the ledger is of %s, %v; want %s", known.id, err, old)
	}
}

func TestTopicThatWasGivenUpIsNotAdoptedAgain(t *testing.T) {
	s, _ := countedStack(t, 20)
	// What was adopted before is there again, as from a backup.
	other := adopted{id: uuid.New(), partitions: 4, starts: make([]int64, 4)}
	if err := insertAdopted(t.Context(), s.client, kafka.TopicEvents, other); err != nil {
		t.Fatal(err)
	}
	if _, err := s.adopt(s.liveID()); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}
