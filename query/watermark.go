package query

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// How an answer's age is judged.
const (
	// settlingTime is for how long after counted_through has passed a bar its
	// figures are still likely to rise by late events.
	settlingTime = 10 * time.Minute
	// staleAfter is how far counted_through may lie behind before an answer is
	// called partial.
	staleAfter = 2 * time.Minute
)

// watermark says how far a workspace's events have been counted. It is read
// before the figures, so that they hold at least what it says.
type watermark struct {
	// countedThrough is an instant: everything that was acknowledged before it is
	// in the figures. Zero where it is not known.
	countedThrough time.Time
	// haltedFrom is where an interval begins that is known not to have been
	// counted, since some partition of the workspace has stopped. Zero where
	// none has.
	haltedFrom time.Time
	// snapshot names the state of the ledger.
	snapshot string
	// positions says how far the ledger of each of the workspace's partitions
	// reaches; "" where that is not known.
	positions string
}

// partitionProgress is what the consumer of one partition last said.
type partitionProgress struct {
	partition, partitions int32
	position              int64
	countedThrough        time.Time
	halted                bool
	haltedFrom            time.Time
}

// progress reads how far every partition of the live stream has been counted.
func (s *Service) progress(ctx context.Context, route string) ([]partitionProgress, error) {
	var (
		partition, partitions                proto.ColInt32
		position, countedThrough, haltedFrom proto.ColInt64
		halted                               proto.ColUInt8
		all                                  []partitionProgress
	)
	err := s.read(ctx, route, "progress", render("progress", nil), map[string]string{"topic": s.config.EventsTopic}, proto.Results{
		{Name: "partition", Data: &partition},
		{Name: "partitions", Data: &partitions},
		{Name: "position", Data: &position},
		{Name: "counted_through", Data: &countedThrough},
		{Name: "halted", Data: &halted},
		{Name: "halted_from", Data: &haltedFrom},
	}, func(rows int) {
		for i := range rows {
			all = append(all, partitionProgress{
				partition: partition[i], partitions: partitions[i], position: position[i],
				countedThrough: time.UnixMilli(countedThrough[i]).UTC(),
				halted:         halted[i] != 0,
				haltedFrom:     time.UnixMilli(haltedFrom[i]).UTC(),
			})
		}
	})
	return all, err
}

// watermarkOf is the watermark of one workspace: of the partitions that its
// events go to. What stops or idles elsewhere does not concern it.
func watermarkOf(workspace schemas.WorkspaceID, all []partitionProgress) watermark {
	if len(all) == 0 {
		return watermark{snapshot: snapshotOf(nil)}
	}
	own := schemas.PartitionsOf(workspace, all[0].partitions)
	all = ownProgress(workspace, all)
	slices.SortFunc(all, func(a, b partitionProgress) int { return int(a.partition) - int(b.partition) })
	w := watermark{snapshot: snapshotOf(all), positions: positionsOf(all)}
	for i, p := range all {
		if i == 0 || p.countedThrough.Before(w.countedThrough) {
			w.countedThrough = p.countedThrough
		}
		if p.halted && (w.haltedFrom.IsZero() || p.haltedFrom.Before(w.haltedFrom)) {
			w.haltedFrom = p.haltedFrom
		}
	}
	if len(all) < len(own) || w.countedThrough.UnixMilli() <= 0 {
		w.countedThrough = time.Time{} // a partition that nobody has spoken of
	}
	return w
}

// asOf is the watermark at an instant by the clock that questions are answered
// by, which a consumer's may run ahead of: of what has not passed nothing is
// counted, so that no bar is final while it is going on.
func (w watermark) asOf(now time.Time) watermark {
	if w.countedThrough.After(now) {
		w.countedThrough = now
	}
	return w
}

// ownProgress is the progress of the partitions that a workspace's events go to.
func ownProgress(workspace schemas.WorkspaceID, all []partitionProgress) []partitionProgress {
	if len(all) == 0 {
		return nil
	}
	own := schemas.PartitionsOf(workspace, all[0].partitions)
	return slices.DeleteFunc(slices.Clone(all), func(p partitionProgress) bool { return !slices.Contains(own, p.partition) })
}

// positionsOf says how far the ledger of partitions reaches.
func positionsOf(progress []partitionProgress) string {
	var text []byte
	for _, p := range progress {
		text = fmt.Appendf(text, "%d:%d ", p.partition, p.position)
	}
	return string(text)
}

func snapshotOf(progress []partitionProgress) string {
	var b []byte
	for _, p := range progress {
		b = binary.BigEndian.AppendUint32(b, uint32(p.partition))
		b = binary.BigEndian.AppendUint64(b, uint64(p.position))
		b = binary.BigEndian.AppendUint64(b, uint64(p.countedThrough.UnixMilli()))
		if p.halted {
			b = append(b, 1)
		}
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// freshness is what an answer says of its age.
func (w watermark) freshness(now time.Time) api.Freshness {
	f := api.Freshness{Snapshot: w.snapshot}
	if !w.countedThrough.IsZero() {
		through := w.countedThrough
		lag := max(0, now.Sub(through)).Round(time.Millisecond).Seconds()
		f.CountedThrough, f.LagSeconds = &through, &lag
	}
	return f
}

// state is how far one bar's figures can be trusted. A bar that was known not
// to be counted is missing whatever else it is, unless it has not begun.
func (w watermark) state(bar schemas.Interval, now time.Time) api.BarState {
	switch {
	case !bar.Start.Before(now):
		return api.BarFuture
	case w.missing(bar, now):
		return api.BarMissing
	case w.countedThrough.IsZero() || bar.End.After(w.countedThrough):
		return api.BarInProgress
	case w.countedThrough.Sub(bar.End) < settlingTime:
		return api.BarSettling
	default:
		return api.BarFinal
	}
}

func (w watermark) missing(i schemas.Interval, now time.Time) bool {
	return !w.haltedFrom.IsZero() && i.Overlaps(schemas.Interval{Start: w.haltedFrom, End: now})
}

// completeness judges an answer about an interval. It is partial if some of the
// interval is known not to have been counted, or if too little is known of what
// of it has passed: counted_through is unknown, or lies more than two minutes
// before the interval's end and now. What is younger than that is on its way;
// its bars are in progress and the answer complete up to counted_through.
func (w watermark) completeness(i schemas.Interval, now time.Time) api.Completeness {
	if !i.Start.Before(now) {
		return api.Complete // nothing of it has happened
	}
	if w.missing(i, now) || w.countedThrough.IsZero() {
		return api.Partial
	}
	passed := i.End
	if now.Before(passed) {
		passed = now
	}
	if passed.Sub(w.countedThrough) > staleAfter {
		return api.Partial
	}
	return api.Complete
}
