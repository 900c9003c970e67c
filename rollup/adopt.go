package rollup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
)

// codeClosed is the detail of the gap that closes the ledger of a stream
// whose topic is gone.
const codeClosed = "closed"

// Reasons for which a topic is not adopted.
var (
	// ErrNothingToAdopt means that the live topic is the ledger's own.
	ErrNothingToAdopt = errors.New("the live topic is the one that the ledger is of")
	// ErrNothingKnown means that no topic was ever counted.
	ErrNothingKnown = errors.New("the ledger is of no topic yet; the first rollup takes the one that is there")
	// ErrPartitionsChanged means that it is the same topic with another number
	// of partitions.
	ErrPartitionsChanged = errors.New("the topic has another number of partitions than it was adopted with; copies of an id would not meet any more. Cut over to a new topic instead, see docs/operations/partitions.md")
	// ErrNotLive means that the topic to adopt is not the one that is there.
	ErrNotLive = errors.New("the topic that is there has another id")
	// ErrClosed means that the topic was given up for another one before.
	ErrClosed = errors.New("the topic was counted before and its ledger was closed when another one was adopted; what it holds has to be sent again: to the topic that is counted, or, where that is gone, to one that is made anew (agentmeter migrate) and then adopted")
)

// Adoption says what going on with another topic of the same name means.
type Adoption struct {
	Topic string
	// Known is the stream that the ledger is of, Live the one that is there.
	Known, Live kafka.Stream
	// Partitions are those of Known.
	Partitions []Abandoned
	// Starts and Ends are the bounds of Live's log.
	Starts, Ends []int64
}

// Abandoned is what becomes of a partition of the known stream.
type Abandoned struct {
	Partition int32
	// Position is the first offset that was not counted.
	Position int64
	// Uncounted is how many records are known to have been in the log beyond
	// it, from what the rollup last said; there may have been more.
	Uncounted int64
}

// LookAtTopic compares the events topic that is there with the one that the
// ledger is of. It changes nothing. Its error is ErrNothingToAdopt,
// ErrNothingKnown or ErrPartitionsChanged where there is nothing to adopt. A
// statement that takes longer than timeout fails.
func LookAtTopic(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, timeout time.Duration) (*Adoption, error) {
	live, err := kafka.DescribeStream(ctx, admin, kafka.TopicEvents)
	if err != nil {
		return nil, err
	}
	known, found, err := readStream(ctx, client, kafka.TopicEvents)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNothingKnown
	}
	a := &Adoption{Topic: kafka.TopicEvents, Known: kafka.Stream{ID: known.id, Topic: kafka.TopicEvents, Partitions: known.partitions}, Live: live}
	switch {
	case known.id == live.ID && known.partitions == live.Partitions:
		return a, ErrNothingToAdopt
	case known.id == live.ID:
		return a, ErrPartitionsChanged
	}
	logEnds, err := lastKnownEnds(ctx, client, known.id)
	if err != nil {
		return nil, err
	}
	for partition := range known.partitions {
		end, err := known.ledger(client, partition, timeout).end(ctx)
		if err != nil {
			return nil, err
		}
		a.Partitions = append(a.Partitions, Abandoned{partition, end.position, max(logEnds[partition]-end.position, 0)})
	}
	if a.Starts, err = everyPartition(ctx, admin, live, kafka.LogStarts); err != nil {
		return nil, err
	}
	if a.Ends, err = everyPartition(ctx, admin, live, kafka.LogEnds); err != nil {
		return nil, err
	}
	return a, nil
}

// AdoptTopic makes the live events topic, which must have the given id, the
// one that is counted from now on, and returns what that meant. Ids that were
// counted under the topic before stay known.
//
// First the ledger of each old partition is closed, by a gap at its end: a
// consumer that still has a block of the old topic in hand is refused, since
// copies of its events may be counted from the new topic meanwhile. Only then
// is the new stream recorded, which running rollups notice by themselves. It
// is safe to cut off and to run again.
func AdoptTopic(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, id uuid.UUID, timeout time.Duration) (*Adoption, error) {
	if err := kafka.CheckTopics(ctx, admin); err != nil {
		return nil, err
	}
	a, err := LookAtTopic(ctx, client, admin, timeout)
	if err != nil {
		return a, err
	}
	if a.Live.ID != id {
		return a, fmt.Errorf("%w: it is %s, not %s", ErrNotLive, a.Live.ID, id)
	}
	if before, err := wasAdopted(ctx, client, id); err != nil {
		return a, err
	} else if before {
		return a, ErrClosed
	}
	known, _, err := readStream(ctx, client, a.Topic)
	if err != nil {
		return a, err
	}
	for partition := range known.partitions {
		if err := known.ledger(client, partition, timeout).close(ctx); err != nil {
			return a, fmt.Errorf("close partition %d of stream %s: %w", partition, known.id, err)
		}
	}
	return a, insertAdopted(ctx, client, a.Topic, adopted{id: id, partitions: a.Live.Partitions, starts: a.Starts})
}

// lastKnownEnds is where the rollup last saw the log of each partition end.
func lastKnownEnds(ctx context.Context, client *clickhouse.Client, stream uuid.UUID) (map[int32]int64, error) {
	ends := make(map[int32]int64)
	err := client.SelectText(ctx, clickhouse.Statement{SQL: selectLogEnds, Params: map[string]string{"stream": stream.String()}, EachShard: true}, func(fields []string) error {
		numbers, err := integersOf(fields)
		if err == nil {
			ends[int32(numbers[0])] = numbers[1]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read progress: %w", err)
	}
	return ends, nil
}

// wasAdopted reports whether the ledger knows the stream, be it the latest or not.
func wasAdopted(ctx context.Context, client *clickhouse.Client, id uuid.UUID) (bool, error) {
	count, err := countOf(ctx, client, clickhouse.Statement{
		SQL: selectAdoptions, Params: map[string]string{"stream": id.String()},
	})
	return count > 0, err
}

func countOf(ctx context.Context, client *clickhouse.Client, statement clickhouse.Statement) (count int64, err error) {
	err = client.SelectText(ctx, statement, func(fields []string) error {
		count, err = strconv.ParseInt(strings.Join(fields, ""), 10, 64)
		return err
	})
	return count, err
}

// maxCloseTries bounds how often others may get in first.
const maxCloseTries = 100

// close ends the run of this partition for good: after it, no block that
// somebody cut before can be appended any more. What was the last block is in
// every view. Closing a closed one changes nothing.
func (l *ledger) close(ctx context.Context) error {
	var last error
	for range maxCloseTries {
		end, err := l.end(ctx)
		if err != nil {
			return err
		}
		if end.partial != "" {
			return partialBlock(end)
		}
		if err := l.settleViews(ctx, end); err != nil {
			return err
		}
		if end.lastDetail == codeClosed {
			return nil
		}
		b := gapBlock(end, end.position+1, codeClosed)
		encoded, err := newColumns().encode(nil, &b)
		if err != nil {
			return err
		}
		if last = l.append(ctx, &b, encoded); last == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pause.For(ctx, firstRetry) // whatever came of it, the ledger's end tells
	}
	return last
}
