package broker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"agentmeter/internal/embedded/broker"
)

func TestMain(m *testing.M) {
	runChild() // this binary is also the broker that gets killed
	goleak.VerifyTestMain(m)
}

func openBroker(t testing.TB, dir string) *broker.Broker {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close broker: %v", err)
		}
	})
	return b
}

func newClient(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.DisableClientMetrics()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t testing.TB, addr, topic string, partitions int32, config map[string]*string) {
	t.Helper()
	res, err := kadm.NewClient(newClient(t, addr)).CreateTopic(t.Context(), partitions, 1, config, topic)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		t.Fatalf("create topic: %v", err)
	}
}

// consume reads n records of a topic from its start.
func consume(t testing.TB, addr, topic string, n int) []*kgo.Record {
	t.Helper()
	client := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("consume after %d of %d: %v", len(records), n, err)
		}
		fetches.EachError(func(topic string, partition int32, err error) { t.Fatalf("%s/%d: %v", topic, partition, err) })
		records = append(records, fetches.Records()...)
	}
	return records
}

func ptr[T any](v T) *T { return &v }
