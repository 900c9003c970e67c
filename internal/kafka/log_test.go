package kafka

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
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
