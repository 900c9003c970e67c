package deadletters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a broker with the topics, and whoever writes letters to it.
type office struct {
	t        *testing.T
	options  []kgo.Opt
	producer *kgo.Client
	admin    *kadm.Client
	stream   uuid.UUID
}

func newOffice(t *testing.T) *office {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	config := kafka.Config{Brokers: broker.ListenAddrs(), ClientID: "test"}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	o := &office{t: t, options: config.Options(log), stream: uuid.New()}
	if o.producer, err = kgo.NewClient(config.ProducerOptions(log)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.producer.Close)
	o.admin = kadm.NewClient(o.producer)
	if _, err := kafka.EnsureTopics(t.Context(), o.admin, kafka.DefaultPlan()); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) send(partition int32, offset int64, code, detail string, value []byte) {
	o.t.Helper()
	letter := usagev1.DeadLetter{
		Stream: o.stream[:], Partition: partition, Offset: offset, Code: code, Detail: detail,
		Key: []byte("k"), Value: value, KafkaTimeUs: time.Now().UnixMicro(),
	}
	encoded, err := letter.MarshalVT()
	if err != nil {
		o.t.Fatal(err)
	}
	o.sendRaw(encoded)
}

func (o *office) sendRaw(value []byte) {
	o.t.Helper()
	if err := o.producer.ProduceSync(o.t.Context(), &kgo.Record{Topic: kafka.TopicDeadLetter, Value: value}).FirstErr(); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) list(s Selection) (sources []string) {
	o.t.Helper()
	err := Each(o.t.Context(), o.options, s, func(l *Letter) error {
		sources = append(sources, fmt.Sprintf("%d %d/%d %s", l.Position, l.Partition, l.Offset, l.Code))
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return sources
}

func validEvent(id string) schemas.Event {
	return schemas.Event{
		ID: id, Workspace: "ws_a", Agent: "agt_1", Channel: "embed", Credits: 1_500_000, Messages: 1,
		OccurredAt: time.Date(2026, 11, 24, 9, 31, 47, 0, time.UTC),
	}
}

func encoded(e schemas.Event) []byte { return schemas.EncodeEvent(nil, &e) }

func TestLettersAreListedOnceInOrderAsSelected(t *testing.T) {
	o := newOffice(t)
	if got := o.list(Selection{}); got != nil {
		t.Errorf("an empty topic has letters: %v", got)
	}
	o.send(1, 10, "undecodable", "", []byte("x"))
	o.sendRaw([]byte("no letter at all"))
	o.send(3, 4711, "wrong_partition", "", encoded(validEvent("e1")))
	o.send(1, 10, "undecodable", "", []byte("x")) // a block that was tried again
	o.send(2, 0, "payload_conflict", "", encoded(validEvent("e2")))

	all := []string{"0 1/10 undecodable", "2 3/4711 wrong_partition", "4 2/0 payload_conflict"}
	for _, test := range []struct {
		name      string
		selection Selection
		want      []string
	}{
		{"all", Selection{}, all},
		{"by code", Selection{Codes: []string{"wrong_partition", "payload_conflict"}}, all[1:]},
		{"a page before", Selection{Before: 4}, all[:2]},
		{"by position", Selection{Refs: []Ref{{Position: 2}}}, all[1:2]},
		{"by record", Selection{Refs: []Ref{{-1, 2, 0}, {-1, 1, 10}}}, []string{all[0], all[2]}},
		{"since later", Selection{Since: time.Now().Add(time.Hour)}, nil},
		{"since before", Selection{Since: time.Now().Add(-time.Hour)}, all},
	} {
		if got := o.list(test.selection); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if _, err := Find(t.Context(), o.options, Ref{-1, 9, 9}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	stop := errors.New("enough")
	if err := Each(t.Context(), o.options, Selection{}, func(*Letter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want what yield returned", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Each(ctx, o.options, Selection{}, func(*Letter) error { return nil }); err == nil {
		t.Error("it reads on after it was told to stop")
	}
}

func TestOnlyWhatCanBeCountedIsPutBackUnderTheKeyOfItsEvent(t *testing.T) {
	o := newOffice(t)
	event := validEvent("e1")
	old := validEvent("e3")
	old.Agent = "" // not acceptable
	o.send(3, 1, "wrong_partition", "", encoded(event))
	o.send(3, 2, "undecodable", "", []byte("\xff\x00garbage"))
	o.send(3, 3, "payload_conflict", "", encoded(validEvent("e2")))
	o.send(3, 4, "wrong_partition", "truncated to 5 of 9 bytes", encoded(validEvent("e4"))[:5])
	o.send(3, 5, "agent_id_required", "", encoded(old))
	o.send(3, 6, "undecodable", "", encoded(validEvent("e5"))) // an older rollup could not read it

	for _, dry := range []bool{true, false} {
		var put []int64
		refused := make(map[int64]string)
		err := Replay(t.Context(), o.options, o.producer, Selection{}, dry, func(r Replayed) error {
			if r.Refused != nil {
				refused[r.Offset] = r.Refused.Error()
			} else {
				put = append(put, r.Offset)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(put, []int64{1, 6}) {
			t.Errorf("dry %v: %v were put back, want 1 and 6", dry, put)
		}
		for offset, want := range map[int64]string{2: "not acceptable", 3: "another payload", 4: "whole record is at offset 4 of partition 3", 5: "not acceptable"} {
			if !strings.Contains(refused[offset], want) {
				t.Errorf("dry %v: %d was refused with %q, want %q", dry, offset, refused[offset], want)
			}
		}
		ends, err := kafka.LogEnds(t.Context(), o.admin, kafka.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, end := range ends {
			sum += end
		}
		if want := map[bool]int64{true: 0, false: 2}[dry]; sum != want {
			t.Errorf("dry %v: %d records are in the events topic, want %d", dry, sum, want)
		}
	}
	if end := o.logEnd(schemas.PartitionOf(schemas.RecordKey(event.Workspace, event.ID), kafka.DefaultPlan().EventPartitions)); end == 0 {
		t.Error("it was not put into the partition that its key asks for")
	}
}

func (o *office) logEnd(partition int32) int64 {
	o.t.Helper()
	ends, err := kafka.LogEnds(o.t.Context(), o.admin, kafka.TopicEvents)
	if err != nil {
		o.t.Fatal(err)
	}
	return ends[partition]
}

func TestRefsAreReadAsTheyArePrinted(t *testing.T) {
	for _, text := range []string{"0", "17", "3/4711"} {
		ref, err := ParseRef(text)
		if err != nil || ref.String() != text {
			t.Errorf("%s: %v, %v", text, ref, err)
		}
	}
	for _, text := range []string{"", "-1", "3/", "/4", "3/-1", "99999999999/1", "e1", "1/2/3"} {
		if ref, err := ParseRef(text); err == nil {
			t.Errorf("%q is read as %v", text, ref)
		}
	}
}

// What an erasure writes again was sent when it was sent first, however often.
func TestErasuresLeaveOthersLettersTheirTime(t *testing.T) {
	o := newOffice(t)
	o.send(1, 10, "undecodable", "", []byte("x"))
	o.send(2, 20, "payload_conflict", "", encoded(validEvent("e1"))) // of ws_a
	sent := func() (at time.Time, position int64) {
		letter, err := Find(t.Context(), o.options, Ref{-1, 1, 10})
		if err != nil {
			t.Fatal(err)
		}
		return letter.Sent, letter.Position
	}
	want, _ := sent()
	since := want.Add(time.Millisecond)
	for range 2 {
		for time.Now().Before(since.Add(time.Millisecond)) { // written again later than since
			continue
		}
		pruned, err := kafka.Prune(t.Context(), o.options, kafka.TopicDeadLetter, Of(map[schemas.WorkspaceID]bool{"ws_a": true}))
		if err != nil || pruned.Dropped != 1 {
			t.Fatalf("%v: %+v", err, pruned)
		}
		if got, position := sent(); !got.Equal(want) || position == 0 {
			t.Errorf("letter %d was sent at %s, want %s", position, got, want)
		}
		if letters := o.list(Selection{Since: since}); len(letters) > 0 {
			t.Errorf("%v are said to be sent since", letters)
		}
		o.send(2, 20, "payload_conflict", "", encoded(validEvent("e1")))
	}
}

// FuzzLetter reads whatever it is as a record of the dead-letter topic.
func FuzzLetter(f *testing.F) {
	stream := uuid.New()
	value, err := (&usagev1.DeadLetter{Stream: stream[:], Partition: 3, Offset: 7, Code: "undecodable", Value: []byte("x")}).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value, []byte("7/1764000000000"))
	f.Fuzz(func(t *testing.T, value, header []byte) {
		record := &kgo.Record{Value: value, Offset: 5, Partition: 1, Headers: []kgo.RecordHeader{{Key: "agentmeter-origin", Value: header}}}
		letter, ok := letterOf(record, 4)
		if ok && letter.Position != 21 {
			t.Errorf("position %d", letter.Position)
		}
	})
}
