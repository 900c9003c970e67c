package kafka

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cut off before the log is cut, and run again, a prune leaves records that are
// there twice; each says where and when it was written first, by which it is one.
func TestWhatAPruneWritesAgainSaysWhatItWas(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	options := Config{Brokers: cluster.ListenAddrs(), ClientID: "test"}.Options(slog.New(slog.DiscardHandler))
	client, err := kgo.NewClient(append(options, kgo.DefaultProduceTopic("t"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, value := range []string{"a", "gone", "b", "gone", "c"} {
		record := &kgo.Record{Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "other", Value: []byte(value)}}}
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (all []string) {
		err := EachRecord(t.Context(), options, "t", nil, func(record *kgo.Record) error {
			offset, at := Origin(record)
			if string(record.Headers[0].Value) != string(record.Value) || at.IsZero() || at.After(record.Timestamp) {
				t.Errorf("%s, written at %s, is said to be of %s; headers %v", record.Value, record.Timestamp, at, record.Headers)
			}
			all = append(all, fmt.Sprintf("%s of %d", record.Value, offset))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	gone := func(record *kgo.Record) bool { return string(record.Value) == "gone" }

	cluster.ControlKey(int16(kmsg.DeleteRecords), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, kerr.RequestTimedOut, true // once
	})
	if _, err := Prune(t.Context(), append(options, kgo.RequestRetries(0)), "t", gone); err == nil {
		t.Fatal("it was not cut off")
	}
	if got, want := read(), []string{"a of 0", "gone of 1", "b of 2", "gone of 3", "c of 4", "a of 0", "b of 2"}; !slices.Equal(got, want) {
		t.Errorf("cut off, it leaves %v, want %v", got, want)
	}
	for range 2 {
		if _, err := Prune(t.Context(), options, "t", gone); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := read(), []string{"c of 4", "a of 0", "b of 2", "a of 0", "b of 2"}; !slices.Equal(got, want) {
		t.Errorf("run again, it leaves %v, want %v", got, want)
	}
}
