package rollup

import (
	"slices"
	"time"
)

// partitionState is what others may know of a partition: the publisher of progress, and
// whoever asks for metrics.
type partitionState struct {
	position int64 // the first offset that is not confirmed; -1 until it is known
	// lastTime is the broker's time of the last confirmed record.
	lastTime time.Time
	halted   string // why the partition stands still, or ""
	// through is what was last published of it as counted_through; zero for
	// nothing yet.
	through   time.Time
	appending time.Time // since when a block is being appended; zero for none
	// unpublished are the batches that are counted and not published yet, in order.
	unpublished []landed
}

// landed is a batch of records as the broker stored it.
type landed struct {
	at time.Time // the broker's
	hi int64     // the offset after its last record
}

func (p *eventPartition) state() partitionState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.st
}

func (p *eventPartition) setState(change func(*partitionState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.st)
}

// maxUnpublished bounds the batches that are timed: where publishing fails for
// long, the lag says so.
const maxUnpublished = 1 << 16

// land adds the batches of a confirmed block.
func (s *partitionState) land(rows []row) {
	for i := range rows {
		at, n := rows[i].kafkaTime, len(s.unpublished)
		switch {
		case n > 0 && s.unpublished[n-1].at.Equal(at):
			s.unpublished[n-1].hi = rows[i].offset + 1
		case n < maxUnpublished:
			s.unpublished = append(s.unpublished, landed{at, rows[i].offset + 1})
		}
	}
}

// tellPublisher has the position published soon.
func (p *eventPartition) tellPublisher() {
	select {
	case p.moved <- struct{}{}:
	default: // it is going to be published anyway
	}
}

// published notes what was published of the partition and returns the batches
// that it covers for the first time.
func (p *eventPartition) published(position int64, through time.Time) []landed {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.through = through
	n := 0
	for n < len(p.st.unpublished) && p.st.unpublished[n].hi <= position {
		n++
	}
	covered := slices.Clone(p.st.unpublished[:n])
	p.st.unpublished = slices.Delete(p.st.unpublished, 0, n)
	return covered
}
