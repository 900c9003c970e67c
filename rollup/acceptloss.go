package rollup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
)

// codeLost is the detail of a gap that stands for a record which Kafka deleted
// before it was counted.
const codeLost = "lost"

// ErrNothingLost means that Kafka's log still joins on to the ledger.
var ErrNothingLost = errors.New("nothing is lost: Kafka's log joins on to the ledger")

// AcceptLoss lets a partition go on whose log begins above the ledger's end,
// because records were deleted before they were counted: it appends a gap for
// each lost offset below through, which has to be where the log begins. The
// ledger stays an unbroken run, and shows for ever how many records were lost.
// It returns how many; run again, it says ErrNothingLost. It is safe beside
// running rollups, since it appends as they do.
func AcceptLoss(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, partition int32, through int64, timeout time.Duration) (lost int64, err error) {
	known, found, err := readStream(ctx, client, kafka.TopicEvents)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, errors.New("the ledger knows no topic yet, so it cannot have lost anything of it")
	}
	if partition < 0 || partition >= known.partitions {
		return 0, fmt.Errorf("partition %d: the topic has partitions 0 to %d", partition, known.partitions-1)
	}
	live, err := kafka.DescribeStream(ctx, admin, kafka.TopicEvents)
	if err != nil {
		return 0, err
	}
	if live.ID != known.id || live.Partitions != known.partitions {
		return 0, foreignTopic(live, known.id, known.partitions)
	}
	begins, err := kafka.LogStarts(ctx, admin, kafka.TopicEvents)
	begin, ok := begins[partition]
	if !ok {
		return 0, fmt.Errorf("the log's start of partition %d is not known: %w", partition, errors.Join(err, errNotAnswered))
	}
	l := known.ledger(client, partition, timeout)
	columns := newColumns()
	for {
		end, err := l.end(ctx)
		if err != nil {
			return lost, err
		}
		switch {
		case end.partial != "":
			return lost, partialBlock(end)
		case begin <= end.position && lost > 0:
			return lost, nil
		case begin <= end.position:
			return 0, ErrNothingLost
		case begin != through:
			return lost, fmt.Errorf("partition %d's log begins at offset %d and the ledger ends at %d: to accept the loss of %d records, say --through %d, not %d",
				partition, begin, end.position, begin-end.position, begin, through)
		}
		if err := l.settleViews(ctx, end); err != nil {
			return lost, err
		}
		b := gapBlock(end, min(begin, end.position+maxLostRows), codeLost)
		encoded, err := columns.encode(nil, &b)
		if err != nil {
			return lost, err
		}
		if err := l.append(ctx, &b, encoded); err != nil && !clickhouse.Refused(err) {
			return lost, err // running it again goes on from what the ledger says
		} else if err == nil {
			lost += b.hi - b.lo
		}
	}
}

// maxLostRows is how many gaps a block has at most.
const maxLostRows = 200_000
