package rollup

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// maxLetterValue is how many bytes of a record a dead letter carries at most:
// well below the largest record that brokers take by default (1 MiB).
const maxLetterValue = 512 << 10

// sendDeadLetters puts the raw bytes of the block's invalid records on the
// dead-letter topic and waits for the acknowledgement, before the block is
// sent: what the ledger calls invalid can always be found and replayed. A
// block that is tried again sends them again under the same key.
//
// Of an erased workspace no letter is sent. It returns how many were, by code.
func (p *eventPartition) sendDeadLetters(ctx context.Context, rows []row) (map[string]int, error) {
	invalid := func(r row) bool { return r.outcome == schemas.OutcomeInvalid }
	if !slices.ContainsFunc(rows, invalid) {
		return nil, nil
	}
	erased, err := erasedWorkspaces(ctx, p.ledger.client)
	if err != nil {
		return nil, err
	}
	sent := make(map[string]int)
	stream, partition := p.ledger.stream, p.ledger.partition
	var letters []*kgo.Record
	for i := range rows {
		r := &rows[i]
		if !invalid(*r) || erased[schemas.RecordWorkspace(r.record.Key, r.record.Value)] {
			continue
		}
		value, detail := r.record.Value, ""
		if len(value) > maxLetterValue {
			// A letter that does not fit would hold up the whole partition. The
			// record itself is still at its offset.
			detail = schemas.TruncatedDetail(maxLetterValue, len(value))
			value = value[:maxLetterValue]
		}
		letter := usagev1.DeadLetter{
			Stream: stream[:], Partition: partition, Offset: r.offset, Code: r.detail, Detail: detail,
			Key: r.record.Key[:min(len(r.record.Key), maxLetterValue/2)], Value: value, KafkaTimeUs: r.kafkaTime.UnixMicro(),
		}
		encoded, err := letter.MarshalVT()
		if err != nil {
			return nil, fmt.Errorf("encode dead letter: %w", err)
		}
		sent[r.detail]++
		letters = append(letters, &kgo.Record{
			Topic: kafka.TopicDeadLetter,
			Key:   fmt.Appendf(nil, "%d/%d", partition, r.offset),
			Value: encoded,
		})
	}
	if len(letters) == 0 {
		return nil, nil
	}
	if err := p.producer.ProduceSync(ctx, letters...).FirstErr(); err != nil {
		return nil, fmt.Errorf("send dead letters: %w", err)
	}
	return sent, nil
}
