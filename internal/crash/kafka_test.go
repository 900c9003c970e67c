package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"agentmeter/internal/kafka"
	"agentmeter/internal/kafka/kafkatest"
)

// What can befall a real Kafka and not the embedded broker, or befalls it in a
// way of its own.

func requireKafka(t *testing.T) {
	t.Helper()
	requireAsked(t)
	if os.Getenv(kafkatest.Variable) == "" {
		t.Skip("SKIPPED: it takes a real Apache Kafka (make test-kafka)")
	}
}

// kafkaLab has two rollups, of which the first runs, and a Kafka of so many
// nodes.
func kafkaLab(t *testing.T, nodes int) *lab {
	t.Helper()
	requireKafka(t)
	l := ownLab(t, labOptions{rollups: 2, partitions: 2, blockRows: 400, linger: 30 * time.Millisecond, nodes: nodes})
	l.rollups[1].kill()
	return l
}

// during does something while events are sent, all of which are acknowledged in
// the end.
func (l *lab) during(what func()) {
	l.t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		// A pace that the rollups keep up with: their blocks are small here, and what
		// piles up while they are held up has to be counted before the case ends.
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for {
			entries := make([]*entry, 40)
			for i := range entries {
				entries[i] = l.book.add(l.producer.gen.event(), false)
			}
			l.producer.deliver(l.t.Context(), l.client, entries) // again and again until it is acknowledged
			select {
			case <-stop:
				return
			case <-l.t.Context().Done():
				return
			case <-pace.C:
			}
		}
	}()
	defer func() { // also where what gave up
		close(stop)
		select {
		case <-stopped:
		case <-time.After(patience):
			l.t.Error("waited in vain for all to be acknowledged")
		}
	}()
	what()
}

// nodeOf finds the process of the broker with an id.
func (l *lab) nodeOf(id int32) *process {
	l.t.Helper()
	name := fmt.Sprintf("broker-%d", id)
	for _, p := range l.brokers {
		if p.name == name {
			return p
		}
	}
	l.t.Fatalf("no %s", name)
	return nil
}

func TestKafkaKilledWhileProducing(t *testing.T) {
	l := kafkaLab(t, 1)
	for range 3 {
		l.during(func() {
			l.pause(300 * time.Millisecond)
			l.broker.kill()
			l.restart(l.broker)
			l.must(l.waitBroker(t.Context()))
		})
	}
	l.settled()
}

// A partition's leader dies: another node leads it, with everything that was
// acknowledged, and the rollup goes on there.
func TestKafkaLosesALeader(t *testing.T) {
	l := kafkaLab(t, 3)
	l.send(100)
	l.counted()
	for partition := range int32(2) {
		metadata, err := l.admin.Metadata(t.Context(), kafka.TopicEvents)
		l.must(err)
		leader := metadata.Topics[kafka.TopicEvents].Partitions[partition].Leader
		node := l.nodeOf(leader)
		l.during(func() {
			l.pause(300 * time.Millisecond)
			node.kill()
			l.must(poll(t.Context(), "another leader", patience, func(ctx context.Context) error {
				metadata, err := l.admin.Metadata(ctx, kafka.TopicEvents)
				if err != nil {
					return err
				}
				if now := metadata.Topics[kafka.TopicEvents].Partitions[partition].Leader; now == leader || now < 0 {
					return fmt.Errorf("it is %d", now)
				}
				return nil
			}))
		})
		l.settled() // with two of three
		l.restart(node)
		l.must(l.waitInSync(t.Context()))
	}
}

// waitInSync waits until every replica of every partition is in sync, so that
// another node may die.
func (l *lab) waitInSync(ctx context.Context) error {
	return poll(ctx, "the replicas to be in sync", patience, func(ctx context.Context) error {
		metadata, err := l.admin.Metadata(ctx) // the offsets' topic, too
		if err != nil {
			return err
		}
		var faults []error
		metadata.Topics.EachPartition(func(p kadm.PartitionDetail) {
			if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
				faults = append(faults, fmt.Errorf("%s %d: %d of %d", p.Topic, p.Partition, len(p.ISR), len(p.Replicas)))
			}
		})
		return errors.Join(faults...)
	})
}

// The node that coordinates the rollups' group dies, and with it what it knew
// of the members.
func TestKafkaLosesTheCoordinator(t *testing.T) {
	l := kafkaLab(t, 3)
	l.restart(l.rollups[1])
	l.grouped(2)
	l.send(100)
	l.counted()
	coordinators := l.admin.FindGroupCoordinators(t.Context(), group)
	l.must(coordinators.Error())
	node := l.nodeOf(coordinators[group].NodeID)
	l.during(func() {
		l.pause(300 * time.Millisecond)
		node.kill()
		l.restart(l.rollups[0]) // which has to find the new one
		l.grouped(2)
	})
	l.settled()
	l.restart(node)
	l.must(l.waitInSync(t.Context()))
	l.settled()
}

// Members come, go, and are thrown out, again and again.
func TestKafkaRebalanceStorm(t *testing.T) {
	l := kafkaLab(t, 1)
	l.grouped(1)
	l.during(func() {
		for n := range 12 {
			switch n % 3 {
			case 0:
				l.restart(l.rollups[n/3%2])
			case 1:
				l.mustEvict(true)
			case 2:
				term, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				err := l.rollups[n/3%2].term(term)
				cancel()
				l.must(err)
				l.restart(l.rollups[n/3%2])
			}
			l.pause(time.Duration(l.random.IntN(1500)) * time.Millisecond)
		}
	})
	l.settled()
}

// The topic is deleted and made again: another stream, whose first offsets are
// those that the ledger has. Nothing of it is counted until somebody adopts it.
func TestKafkaTopicMadeAgain(t *testing.T) {
	requireKafka(t)
	l := ownLab(t, labOptions{rollups: 1, partitions: 1, blockRows: 400, linger: 30 * time.Millisecond})
	l.send(100)
	l.settled()
	at := []string{"--kafka", l.addresses["broker"], "--clickhouse", "http://" + l.addresses["engine"]}
	command := func(args ...string) (string, error) { return l.command(t.Context(), append(args, at...)...) }
	deleted, err := l.admin.DeleteTopics(t.Context(), kafka.TopicEvents)
	l.must(errors.Join(err, deleted.Error()))
	l.must(poll(t.Context(), "the topic to be made again", patience, func(context.Context) error {
		_, err := command("migrate", "--event-partitions", "1") // until the old one is gone
		return err
	}))
	again, err := l.producer.connect()
	l.must(err)
	l.client.Close()
	l.client = again
	l.send(60)
	refused := l.restart(l.rollups[0])
	l.until("the rollup to refuse", refused.ended)
	if refused.err == nil {
		t.Error("a rollup that finds another topic ends as if all were well")
	}
	l.must(l.wantRows(t.Context(), "SELECT count() FROM usage_ledger", "100"))
	if out, err := command("audit", "--json"); err == nil {
		t.Errorf("the audit calls it exact: %s", out)
	}
	look, err := command("adopt-topic")
	if err == nil {
		t.Errorf("looking at another topic ends with 0: %s", look)
	}
	_, rest, _ := strings.Cut(look, "What is there now is topic ")
	id, _, found := strings.Cut(rest, ",")
	if !found {
		t.Fatalf("no id in %q", look)
	}
	if out, err := command("adopt-topic", "--id", id); err != nil {
		t.Fatal(err, out)
	}
	l.restart(l.rollups[0])
	l.must(poll(t.Context(), "the new topic to be counted", patience, func(ctx context.Context) error {
		return l.wantRows(ctx, "SELECT count(), uniqExact(event_id), uniqExact(stream) FROM usage_ledger WHERE outcome IN ('counted', 'playground')", "160\t160\t2")
	}))
	l.must(poll(t.Context(), "the audit to call it exact", patience, func(context.Context) error {
		_, err := command("audit", "--json")
		return err
	}))
}
