// Package deadletters reads what could not be counted from
// usage.deadletter.v1, and puts back what can be counted after all.
//
// In flow the letters that rollups wrote, each a record of the events topic
// with the reason why it was not counted; out flow summaries, one letter whole,
// or its record, put on the events topic again under the key that its event
// asks for. Putting a record back is safe to repeat: an id counts once. Reading
// goes from the beginning to the end that the topic had when it began; letters
// that a retried block sent again are one letter. Nothing is ever taken from
// the topic.
package deadletters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// Source is the record that a letter is of.
type Source struct {
	Stream    uuid.UUID
	Partition int32
	Offset    int64
}

// Letter is one record that could not be counted.
type Letter struct {
	// Position is the letter's own place in the dead-letter topic, a number
	// that grows.
	Position int64
	Source
	// Sent is when the letter was written first, Received when the record was; both
	// by the broker's clock.
	Sent, Received time.Time
	Code, Detail   string
	Key, Value     []byte
}

// Truncated reports whether the letter holds only the beginning of its record.
func (l *Letter) Truncated() bool { return schemas.Truncated(l.Detail) }

// Event decodes the record.
func (l *Letter) Event() (schemas.Event, error) {
	var decoder schemas.EventDecoder
	var event schemas.Event
	err := decoder.Decode(l.Value, &event)
	return event, err
}

// Selection says which letters are meant.
type Selection struct {
	// Refs name letters: a position, or PARTITION/OFFSET of the record.
	Refs []Ref
	// Codes, where there are any, are the reasons that count.
	Codes []string
	// Since, where not zero, leaves out letters that were written before.
	Since time.Time
	// Before, where positive, leaves out letters from that position on.
	Before int64
}

// Ref names a letter.
type Ref struct {
	Position  int64 // where not negative
	Partition int32
	Offset    int64
}

// ParseRef reads a Ref.
func ParseRef(text string) (Ref, error) {
	if partition, offset, found := strings.Cut(text, "/"); found {
		p, errPartition := strconv.ParseInt(partition, 10, 32)
		o, errOffset := strconv.ParseInt(offset, 10, 64)
		if errPartition == nil && errOffset == nil && p >= 0 && o >= 0 {
			return Ref{-1, int32(p), o}, nil
		}
	} else if position, err := strconv.ParseInt(text, 10, 64); err == nil && position >= 0 {
		return Ref{Position: position}, nil
	}
	return Ref{}, fmt.Errorf("%q is neither a position, such as 17, nor a record's PARTITION/OFFSET, such as 3/4711", text)
}

func (r Ref) String() string {
	if r.Position >= 0 {
		return strconv.FormatInt(r.Position, 10)
	}
	return fmt.Sprintf("%d/%d", r.Partition, r.Offset)
}

func (r Ref) names(l *Letter) bool {
	if r.Position >= 0 {
		return r.Position == l.Position
	}
	return r.Partition == l.Partition && r.Offset == l.Offset
}

func (s Selection) has(l *Letter) bool {
	switch {
	case len(s.Codes) > 0 && !slices.Contains(s.Codes, l.Code),
		!s.Since.IsZero() && l.Sent.Before(s.Since),
		s.Before > 0 && l.Position >= s.Before:
		return false
	}
	return len(s.Refs) == 0 || slices.ContainsFunc(s.Refs, func(r Ref) bool { return r.names(l) })
}

// Each gives every letter of the selection to yield, oldest first within each
// partition of the topic, until yield returns an error. A letter must not be
// kept without being copied. options are those of the Kafka client.
func Each(ctx context.Context, options []kgo.Opt, s Selection, yield func(*Letter) error) error {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return fmt.Errorf("dead letters: connect: %w", err)
	}
	defer client.Close()
	ends, err := kafka.LogEnds(ctx, kadm.NewClient(client), kafka.TopicDeadLetter)
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	seen := make(map[Source]bool)
	return kafka.EachRecord(ctx, options, kafka.TopicDeadLetter, ends, func(record *kgo.Record) error {
		letter, ok := letterOf(record, int64(len(ends)))
		if !ok || seen[letter.Source] {
			return nil
		}
		seen[letter.Source] = true
		if !s.has(letter) {
			return nil
		}
		return yield(letter)
	})
}

// letterOf decodes a record of the dead-letter topic. One that is no letter is
// passed over.
func letterOf(record *kgo.Record, partitions int64) (*Letter, bool) {
	var raw usagev1.DeadLetter
	if err := raw.UnmarshalVT(record.Value); err != nil || len(raw.Stream) != len(uuid.UUID{}) {
		return nil, false
	}
	_, sent := kafka.Origin(record)
	return &Letter{
		Position: record.Offset*partitions + int64(record.Partition),
		Source:   Source{uuid.UUID(raw.Stream), raw.Partition, raw.Offset},
		Sent:     sent, Received: time.UnixMicro(raw.KafkaTimeUs).UTC(),
		Code: raw.Code, Detail: raw.Detail, Key: raw.Key, Value: raw.Value,
	}, true
}

// ErrNotFound means that there is no such letter, any more or at all.
var ErrNotFound = errors.New("there is no such dead letter; it may be older than the topic keeps")

// Find returns the newest letter that ref names.
func Find(ctx context.Context, options []kgo.Opt, ref Ref) (*Letter, error) {
	var found *Letter
	err := Each(ctx, options, Selection{Refs: []Ref{ref}}, func(l *Letter) error {
		found = l
		return nil
	})
	if err == nil && found == nil {
		err = ErrNotFound
	}
	return found, err
}
