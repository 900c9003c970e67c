package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/embedded/broker"
)

func TestAcknowledgedRecordsSurviveKill(t *testing.T) {
	const topic, rounds = "usage.events.v1", 5
	dir := t.TempDir()
	var mu sync.Mutex // guards acknowledged: promises may outlive their client
	acknowledged := map[string]bool{}
	var topicID kadm.TopicID
	var cluster string
	for round := range rounds {
		c := startChild(t, dir)
		if round == 0 {
			createTopic(t, c.addr, topic, 4, nil)
		}
		admin := kadm.NewClient(newClient(t, c.addr))
		meta, err := admin.Metadata(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			topicID, cluster = meta.Topics[topic].ID, meta.Cluster
		} else if meta.Topics[topic].ID != topicID || meta.Cluster != cluster {
			t.Fatalf("round %d: topic %s of cluster %s, want %s of %s", round, meta.Topics[topic].ID, meta.Cluster, topicID, cluster)
		}

		client := newClient(t, c.addr, kgo.DefaultProduceTopic(topic), kgo.RecordDeliveryTimeout(2*time.Second))
		// The broker dies while records are on their way, and with it the will
		// to produce more.
		ctx, cancel := context.WithCancel(t.Context())
		var acks atomic.Int64
		var killer sync.WaitGroup
		enough := make(chan struct{})
		killer.Go(func() {
			select {
			case <-enough:
			case <-ctx.Done():
			}
			c.kill()
			cancel()
		})
		for i := 0; ctx.Err() == nil && i < 1_000_000; i++ {
			id := fmt.Sprintf("%d-%d", round, i)
			client.Produce(ctx, &kgo.Record{Key: []byte(id), Value: []byte(strings.Repeat("x", 100))}, func(_ *kgo.Record, err error) {
				if err != nil {
					return
				}
				mu.Lock()
				acknowledged[id] = true
				mu.Unlock()
				if acks.Add(1) == 5_000 {
					close(enough)
				}
			})
		}
		cancel()
		killer.Wait()
		client.Close()
	}

	c := startChild(t, dir)
	ends, err := kadm.NewClient(newClient(t, c.addr)).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
	stored := map[string]bool{}
	for _, r := range consume(t, c.addr, topic, total) {
		stored[string(r.Key)] = true
	}
	mu.Lock()
	defer mu.Unlock()
	for id := range acknowledged {
		if !stored[id] {
			t.Fatalf("acknowledged record %s is lost (%d acknowledged, %d stored)", id, len(acknowledged), len(stored))
		}
	}
	t.Logf("%d acknowledged, %d distinct stored, %d offsets", len(acknowledged), len(stored), total)
}

func TestCommittedOffsetsSurviveKill(t *testing.T) {
	const topic, group = "t", "rollup"
	dir := t.TempDir()
	c := startChild(t, dir)
	createTopic(t, c.addr, topic, 1, nil)
	producer := newClient(t, c.addr, kgo.DefaultProduceTopic(topic))
	if err := producer.ProduceSync(t.Context(), kgo.StringRecord("a"), kgo.StringRecord("b")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	consumer := newClient(t, c.addr, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.SessionTimeout(5*time.Minute))
	fetches := consumer.PollFetches(t.Context())
	if err := consumer.CommitRecords(t.Context(), fetches.Records()...); err != nil {
		t.Fatal(err)
	}
	c.kill() // while the member is in the group

	c = startChild(t, dir)
	offsets, err := kadm.NewClient(newClient(t, c.addr)).FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup(topic, 0); !ok || o.At != 2 {
		t.Fatalf("committed offset after the kill is %v (found: %v), want 2", o.At, ok)
	}
	// A new member gets the partition without waiting for the dead one's session.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next := newClient(t, c.addr, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit())
	if err := newClient(t, c.addr, kgo.DefaultProduceTopic(topic)).ProduceSync(t.Context(), kgo.StringRecord("c")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := next.PollFetches(ctx)
	if err := got.Err(); err != nil || got.NumRecords() != 1 || string(got.Records()[0].Value) != "c" {
		t.Fatalf("after the restart the group got %d records (%v), want c alone", got.NumRecords(), err)
	}
}

// The broker's own retention would drop the files of an idle partition, and
// with them the offset that the next record must get.
func TestRetentionKeepsTheEndOfAnIdlePartition(t *testing.T) {
	const topic = "t"
	dir := t.TempDir()
	b := openBroker(t, dir)
	createTopic(t, b.Addr(), topic, 1, map[string]*string{"retention.ms": ptr("1000")})
	producer := newClient(t, b.Addr(), kgo.DefaultProduceTopic(topic))
	for i := range 10 {
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Trim(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(newClient(t, b.Addr()))
	starts, err := admin.ListStartOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := starts.Lookup(topic, 0); o.Offset != 9 {
		t.Fatalf("log starts at %d after the retention, want 9", o.Offset)
	}
	producer.Close()

	// Not closed: as after a kill, there is no snapshot to help.
	c := startChildOnCopy(t, dir)
	ends, err := kadm.NewClient(newClient(t, c.addr)).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := ends.Lookup(topic, 0); o.Offset != 10 {
		t.Fatalf("log ends at %d after the kill, want 10", o.Offset)
	}
}

func TestRetentionDropsOnlyWhatIsOld(t *testing.T) {
	const topic = "t"
	b := openBroker(t, t.TempDir())
	createTopic(t, b.Addr(), topic, 1, map[string]*string{"retention.ms": ptr("3600000")})
	producer := newClient(t, b.Addr(), kgo.DefaultProduceTopic(topic))
	for range 3 {
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Trim(t.Context(), time.Now().Add(59*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := len(consume(t, b.Addr(), topic, 3)); got != 3 {
		t.Fatalf("%d records left, want 3", got)
	}
}

func TestAllButTheLastRecordCanBeDeleted(t *testing.T) {
	const topic = "t"
	dir := t.TempDir()
	b := openBroker(t, dir)
	createTopic(t, b.Addr(), topic, 1, nil)
	client := newClient(t, b.Addr(), kgo.DefaultProduceTopic(topic))
	for range 3 {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		below   int64
		deletes bool
	}{{3, false}, {-1, false}, {2, true}} {
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{Topic: topic, At: c.below})
		res, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
		if err != nil {
			t.Fatal(err)
		}
		if deleted := res.Error() == nil; deleted != c.deletes {
			t.Errorf("records below %d: %v, want deleted: %v", c.below, res.Error(), c.deletes)
		}
	}
	if got := consume(t, b.Addr(), topic, 1); len(got) != 1 {
		t.Fatalf("%d records left, want 1", len(got))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openBroker(t, dir)
	if got := consume(t, b.Addr(), topic, 1); len(got) != 1 {
		t.Fatalf("%d records left after a restart, want 1", len(got))
	}
}

func TestRecreatedTopicIsAnotherStream(t *testing.T) {
	const topic = "t"
	dir := t.TempDir()
	c := startChild(t, dir)
	createTopic(t, c.addr, topic, 1, nil)
	client := newClient(t, c.addr, kgo.DefaultProduceTopic(topic))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(client)
	before, err := admin.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	createTopic(t, c.addr, topic, 1, nil)
	c.kill()

	c = startChild(t, dir)
	admin = kadm.NewClient(newClient(t, c.addr))
	after, err := admin.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if before[topic].ID == after[topic].ID {
		t.Error("the recreated topic has its predecessor's id")
	}
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := ends.Lookup(topic, 0); o.Offset != 0 {
		t.Errorf("the recreated topic has its predecessor's records: it ends at %d", o.Offset)
	}
}

func TestOneProcessHoldsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	openBroker(t, dir)
	_, err := broker.Open(broker.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if !errors.Is(err, broker.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("the second broker got %v, want ErrInUse with the directory", err)
	}
}

func TestCleanCloseKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	createTopic(t, c.addr, "t", 2, map[string]*string{"retention.ms": ptr("604800000")})
	client := newClient(t, c.addr, kgo.DefaultProduceTopic("t"))
	for range 100 {
		client.Produce(t.Context(), kgo.StringRecord("x"), nil)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	client.Close()
	c.stop(t)
	c = startChild(t, dir)
	if got := len(consume(t, c.addr, "t", 100)); got != 100 {
		t.Fatalf("%d records after the restart, want 100", got)
	}
}

// startChildOnCopy starts a broker on a copy of a directory that is in use, as
// the disk would look after a kill at this moment.
func startChildOnCopy(t testing.TB, dir string) *child {
	t.Helper()
	copied := t.TempDir()
	if out, err := exec.Command("cp", "-a", dir+"/.", copied).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
	return startChild(t, copied)
}
