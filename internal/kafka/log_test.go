package kafka

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestPartOfAListingIsKeptBesideWhatIsMissing(t *testing.T) {
	lost := errors.New("not the leader")
	listed := kadm.ListedOffsets{"events": {
		0: {Topic: "events", Partition: 0, Offset: 7},
		1: {Topic: "events", Partition: 1, Offset: -1, Err: lost},
		2: {Topic: "events", Partition: 2, Offset: 0},
	}}
	down := &kadm.ShardErrors{Errs: []kadm.ShardError{{Err: errors.New("a broker is down")}}}
	offsets, err := answered("log ends", "events", listed, down)
	if want := map[int32]int64{0: 7, 2: 0}; !maps.Equal(offsets, want) {
		t.Errorf("got %v, want %v", offsets, want)
	}
	if !errors.Is(err, lost) || !errors.Is(err, down) || !strings.Contains(err.Error(), "partition 1") {
		t.Errorf("the error is %v", err)
	}
	if offsets, err := answered("log ends", "events", nil, down); len(offsets) > 0 || err == nil {
		t.Errorf("no answer at all came to %v, %v", offsets, err)
	}
	delete(listed["events"], 1)
	if _, err := answered("log ends", "events", listed, nil); err != nil {
		t.Errorf("a whole answer came with %v", err)
	}
}

// lines are what was logged at each time, one a line.
type lines struct{ strings.Builder }

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// A broker that is away for a minute is tried many times a second, and that is said
// now and then.
func TestAnOutageIsALineWhenItBeginsOneNowAndThenAndOneWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lines
		config := Config{Brokers: []string{"kafka-1:9092"}, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}}
		client, err := kgo.NewClient(config.Options(logged.logger())...)
		if err != nil {
			t.Fatal(err)
		}
		const every = 20 * time.Millisecond
		tries := 0
		for began := time.Now(); time.Since(began) < time.Minute; tries++ {
			if client.Ping(t.Context()) == nil {
				t.Fatal("there is no broker, and it answers")
			}
			<-time.After(every)
		}
		client.Close()
		if tries < 500 {
			t.Errorf("it was tried %d times only", tries)
		}
		said := strings.Count(logged.String(), "\n")
		if said < 6 || said > 7 || strings.Count(logged.String(), "unable to open connection to broker") != said {
			t.Errorf("%d lines in a minute, want one each 10 seconds:\n%s", said, logged.String())
		}
		if strings.Count(logged.String(), "similar_lines_held_back=") != said-1 {
			t.Errorf("it does not say how often it was tried in between:\n%s", logged.String())
		}
	})
}

func TestABrokerThatIsReachedAgainIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lines
		said := newClientLog(logged.logger())
		const message = "unable to open connection to broker"
		one, other := kgo.BrokerMetadata{NodeID: 1, Host: "kafka-1", Port: 9092}, kgo.BrokerMetadata{NodeID: 2, Host: "kafka-2", Port: 9092}
		fail := func(of kgo.BrokerMetadata) {
			said.Log(kgo.LogLevelWarn, message, "addr", of.Host, "broker", kgo.NodeName(of.NodeID), "err", "refused")
			said.OnBrokerConnect(of, 0, nil, errors.New("refused"))
			<-time.After(time.Second)
		}
		expect := func(want ...string) {
			t.Helper()
			got := strings.Split(strings.TrimSuffix(logged.String(), "\n"), "\n")
			ok := len(got) == len(want)
			for i := 0; ok && i < len(want); i++ {
				ok = strings.Contains(got[i], want[i])
			}
			if !ok {
				t.Errorf("got %q, want lines with %q", got, want)
			}
			logged.Reset()
		}
		said.OnBrokerConnect(one, 0, nil, nil) // the first connection is no news
		fail(one)
		fail(other)
		fail(one)
		fail(other)
		expect("broker=1", "broker=2")
		said.OnBrokerConnect(one, 0, nil, nil)
		said.OnBrokerConnect(one, 0, nil, nil)
		expect(`msg="kafka broker is reached again" addr=kafka-1:9092 broker=1 after=4s`)
		fail(other) // is still away
		fail(one)   // is away again
		fail(one)
		expect("broker=1")
		// What is about no broker is said each time.
		said.Log(kgo.LogLevelWarn, "join group failed", "group", "g", "err", "one")
		said.Log(kgo.LogLevelWarn, "join group failed", "group", "g", "err", "two")
		expect("err=one", "err=two")
	})
}
