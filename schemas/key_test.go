package schemas

import (
	"encoding/hex"
	"slices"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// The values are those of Kafka's own test of its murmur2.
func TestMurmur2IsKafkas(t *testing.T) {
	for text, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2(text)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestPartitionsAreThoseOfTheDefaultPartitioner(t *testing.T) {
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "key")
		n := rapid.IntRange(1, 100).Draw(t, "partitions")
		if got, want := PartitionOf(key, int32(n)), partitioner.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("partition %d of %d, franz-go says %d", got, n, want)
		}
	})
}

func TestCopiesOfAnIDShareAKeyAndAWorkspaceHasFew(t *testing.T) {
	keys := make(map[string]bool)
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.String().Draw(t, "id")
		key := string(RecordKey("ws_acme", id))
		if key != string(RecordKey("ws_acme", id)) {
			t.Fatal("copies of one id have two keys")
		}
		keys[key] = true
	})
	if len(keys) > Spread {
		t.Errorf("a workspace has %d keys, want at most %d", len(keys), Spread)
	}
}

func TestPartitionsOfAWorkspaceAreThoseOfItsEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workspace := WorkspaceID(rapid.String().Draw(t, "workspace"))
		n := rapid.Int32Range(1, 100).Draw(t, "partitions")
		var of []int32
		for id := range 500 { // of four keys, each is some id's
			if p := PartitionOf(RecordKey(workspace, strconv.Itoa(id)), n); !slices.Contains(of, p) {
				of = append(of, p)
			}
		}
		own := PartitionsOf(workspace, n)
		slices.Sort(of)
		slices.Sort(own)
		if !slices.Equal(own, of) {
			t.Fatalf("partitions %v, but the events go to %v", own, of)
		}
	})
	if own := PartitionsOf("ws_acme", 0); own != nil {
		t.Errorf("a topic without partitions has %v", own)
	}
}

func TestIDHashNeverChanges(t *testing.T) {
	hash := HashID("ws_acme", "event-1")
	// printf 'ws_acme\0event-1' | sha256sum | cut -c1-32
	if got, want := hex.EncodeToString(hash[:]), "dfec725e24045fe645f09f44da91f618"; got != want {
		t.Errorf("got %s, want %s: ids in the look-up table would not be found", got, want)
	}
}

func TestRangesOfKeysTileAllOfThem(t *testing.T) {
	const most = 1 << 20
	for _, ids := range []int64{0, 1, most, most + 1, 100 * most, 1 << 50} {
		next, ranges := int64(0), int64(0)
		for from, through := range KeyRanges(ids, most) {
			if from != next || through < from {
				t.Fatalf("%d ids: a range from %d through %d, want it to begin at %d", ids, from, through, next)
			}
			next = through + 1
			ranges++
		}
		if next != 1<<IDKeyBits || ids/ranges > most {
			t.Errorf("%d ids: %d ranges end at %d", ids, ranges, next)
		}
	}
}
