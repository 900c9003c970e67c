package deadletters

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// RefusedError says why a record is not put back.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Record returns the letter's record as it can be put back: its value as it
// was, under the key that its event asks for. The error is a RefusedError
// where it would not be counted.
func (l *Letter) Record() (*kgo.Record, error) {
	switch {
	case l.Truncated():
		return nil, &RefusedError{fmt.Sprintf("the letter holds only the beginning (%s); the whole record is at offset %d of partition %d of stream %s, for as long as Kafka keeps it",
			l.Detail, l.Offset, l.Partition, l.Stream)}
	case l.Code == schemas.CodePayloadConflict:
		return nil, &RefusedError{"its id was counted with another payload, and would be refused again; send an adjustment, or the event under an id of its own"}
	}
	event, err := l.Event()
	if err != nil {
		return nil, &RefusedError{fmt.Sprintf("it is still not acceptable: %v", err)}
	}
	return &kgo.Record{Topic: kafka.TopicEvents, Key: schemas.RecordKey(event.Workspace, event.ID), Value: l.Value}, nil
}

// Replayed is what became of one letter.
type Replayed struct {
	*Letter
	Refused error // why it was not put back; nil where it was
}

// Replay puts the records of the selected letters back on the events topic and
// tells each one that is acknowledged, or refused. With dry, nothing is sent.
// Records that were put back and counted before count for nothing.
func Replay(ctx context.Context, options []kgo.Opt, producer *kgo.Client, s Selection, dry bool, tell func(Replayed) error) error {
	return Each(ctx, options, s, func(l *Letter) error {
		record, err := l.Record()
		var refused *RefusedError
		if errors.As(err, &refused) {
			return tell(Replayed{l, refused})
		}
		if err != nil {
			return err
		}
		if !dry {
			if err := producer.ProduceSync(ctx, record).FirstErr(); err != nil {
				return fmt.Errorf("dead letters: put back %d/%d: %w", l.Partition, l.Offset, err)
			}
		}
		return tell(Replayed{Letter: l})
	})
}
