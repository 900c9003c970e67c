package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/embedded/broker"
)

func TestProducersClockDecidesNothing(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
		"gzip": kgo.GzipCompression(), "zstd": kgo.ZstdCompression(),
	} {
		createTopic(t, c.addr, name, 1, nil)
		client := newClient(t, c.addr, kgo.DefaultProduceTopic(name), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond))
		began := time.Now().Truncate(time.Millisecond)
		err := client.ProduceSync(t.Context(),
			&kgo.Record{Value: []byte("old"), Timestamp: time.Unix(0, 0)},
			&kgo.Record{Value: []byte("now")},
			&kgo.Record{Value: []byte("future"), Timestamp: began.AddDate(10, 0, 0)},
		).FirstErr()
		if err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		for _, r := range consume(t, c.addr, name, 3) {
			if r.Timestamp.Before(began) || r.Timestamp.After(ended) {
				t.Errorf("%s: record %q is of %v, want within [%v, %v]", name, r.Value, r.Timestamp, began, ended)
			}
		}
	}
	c.kill()
	c = startChild(t, dir) // the log's checksums hold
	if got := len(consume(t, c.addr, "zstd", 3)); got != 3 {
		t.Fatalf("%d records after the kill, want 3", got)
	}
}

func TestTopicsReportAppendTime(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir)
	createTopic(t, c.addr, "plain", 1, nil)
	createTopic(t, c.addr, "contrary", 1, map[string]*string{"message.timestamp.type": ptr("CreateTime")})
	createTopic(t, c.addr, "explicit", 1, map[string]*string{"message.timestamp.type": ptr("LogAppendTime"), "retention.ms": ptr("604800000")})
	for range 2 {
		configs, err := kadm.NewClient(newClient(t, c.addr)).DescribeTopicConfigs(t.Context(), "plain", "contrary", "explicit")
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range configs {
			found := ""
			for _, config := range topic.Configs {
				if config.Key == "message.timestamp.type" {
					found = config.MaybeValue()
				}
			}
			if found != "LogAppendTime" {
				t.Errorf("topic %s reports %q", topic.Name, found)
			}
		}
		c.kill()
		c = startChild(t, dir)
	}
}

func TestStrayRequestsCutTheirConnectionOnly(t *testing.T) {
	b := openBroker(t, t.TempDir())
	createTopic(t, b.Addr(), "t", 1, nil)
	for _, stray := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"\x00\x00\x00\x0a\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff", // key 32767
		"\xff\xff\xff\xff",
	} {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(stray)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		var timeout net.Error
		if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
			t.Errorf("%q got an answer", stray)
		} else if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%q was not cut", stray)
		}
		_ = conn.Close()
	}
	if err := newClient(t, b.Addr(), kgo.DefaultProduceTopic("t")).ProduceSync(t.Context(), kgo.StringRecord("still here")).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestBrokerListensOnLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "192.0.2.1:9092", ":9092", "nonsense"} {
		if b, err := broker.Open(broker.Config{Dir: t.TempDir(), Listen: listen}); err == nil {
			_ = b.Close()
			t.Errorf("%q was accepted", listen)
		}
	}
}

func TestTopicsAreNotMadeOnDemand(t *testing.T) {
	b := openBroker(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	client := newClient(t, b.Addr(), kgo.DefaultProduceTopic("misspelled"), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	if err := client.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err == nil {
		t.Fatal("a topic was made by a producer")
	}
}

func TestKcatSpeaksToTheBroker(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed")
	}
	b, err := broker.Open(broker.Config{Dir: t.TempDir(), Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	createTopic(t, b.Addr(), "t", 2, nil)
	run := func(stdin string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, kcat, append([]string{"-b", b.Addr()}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kcat %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	list := run("", "-L")
	if !strings.Contains(list, `topic "t" with 2 partitions`) || !strings.Contains(list, b.Addr()) {
		t.Fatalf("kcat -L: %s", list)
	}
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "key-%d:value-%d\n", i, i)
	}
	for _, codec := range []string{"none", "snappy", "lz4", "gzip", "zstd"} {
		run(lines.String(), "-P", "-t", "t", "-K:", "-z", codec)
	}
	if got := strings.Count(run("", "-C", "-t", "t", "-e", "-q", "-f", "%k %s\n"), "\n"); got != 2500 {
		t.Fatalf("kcat consumed %d records, want 2500", got)
	}
	if got := strings.Count(run("", "-X", "auto.offset.reset=earliest", "-e", "-q", "-G", "group", "t"), "\n"); got != 2500 {
		t.Fatalf("kcat's group consumed %d records, want 2500", got)
	}
}
