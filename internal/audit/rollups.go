package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"agentmeter/internal/clickhouse"
	tables "agentmeter/schemas/clickhouse"
)

// auditMargin is how far the comparison of a rollup with a retention stays
// clear of its edge, where rows are being deleted as it looks.
const auditMargin = 2 * 24 * time.Hour

// minuteCutoff is since when the minute tier is whole.
func minuteCutoff(now time.Time) time.Time {
	retention := time.Duration(tables.Minute.RetentionDays) * 24 * time.Hour
	return now.UTC().Add(auditMargin - retention).Truncate(time.Hour)
}

// comparison is of a rollup with what it must equal.
type comparison struct {
	tables.Rollup
	source *tables.Rollup // nil: the ledger
	// since and before leave out what lies before, or since, the cutoff of the
	// minute tier.
	since, before bool
}

// fromLedger compares each rollup with the ledger itself.
func fromLedger() []comparison {
	var list []comparison
	for _, rollup := range tables.Rollups {
		list = append(list, comparison{Rollup: rollup, since: rollup.RetentionDays > 0})
	}
	return list
}

// finer says which rollup a coarser one is the sum of.
var finer = map[string]*tables.Rollup{
	tables.Hour.Table:          &tables.Quarter,
	tables.Day.Table:           &tables.Hour,
	tables.WorkspaceHour.Table: &tables.Hour,
}

// chained compares the finest rollups with the ledger and each coarser one
// with a finer one. It says as much, and never reads more of the ledger than
// the minutes in question.
func chained() []comparison {
	var list []comparison
	for _, rollup := range tables.Rollups {
		if rollup.Table == tables.Quarter.Table {
			list = append(list,
				comparison{Rollup: rollup, source: &tables.Minute, since: true},
				comparison{Rollup: rollup, before: true})
			continue
		}
		list = append(list, comparison{Rollup: rollup, source: finer[rollup.Table], since: rollup.RetentionDays > 0})
	}
	return list
}

// scope is which buckets are compared; the zero scope is all.
type scope struct {
	touched  bool // those that the events of [lo, hi) fall into
	lo, hi   int64
	listed   []bucket // these alone,
	leaveOut bool     // but for those that the events of [lo, hi) fall into
	ranges   []timeRange
}

type bucket struct {
	workspace string
	slot      int64 // Unix seconds
}

// timeRange is [from, to) in Unix seconds.
type timeRange struct{ from, to int64 }

// difference is what a comparison found.
type difference struct {
	buckets                   int64
	credits, messages, events string
	some                      []bucket // the first maxListed
}

// maxListed is how many differing buckets are named, to be looked at again.
const maxListed = 500

var differenceTemplate = template.Must(template.New("difference").Funcs(template.FuncMap{
	"scope": func(d differenceData, time, slot string) scopeData { return scopeData{d, time, slot} },
}).Parse(readSQL("difference.sql")))

type differenceData struct {
	tables.Rollup
	SourceTable, SourceTime, SourceSlot, SourceCredits, SourceEvents string
	// Outcomes of the source; TouchedOutcomes of the events that touch.
	Outcomes, TouchedOutcomes  string
	Since, Before              bool
	Touched, Listed, Untouched bool
	Ranges                     []timeRange
	MaxListed                  int
}

type scopeData struct {
	differenceData
	Time, Slot string
}

func (c comparison) sql(s scope) (string, error) {
	data := differenceData{
		Rollup: c.Rollup, Since: c.since, Before: c.before, TouchedOutcomes: c.Outcomes,
		Touched: s.touched, Listed: s.listed != nil, Untouched: s.leaveOut, Ranges: s.ranges, MaxListed: maxListed,
		SourceTable: tables.Ledger, SourceTime: "occurred_at", SourceSlot: c.Bucket,
		SourceCredits: "toInt128(credits)", SourceEvents: "toInt64(1)", Outcomes: c.Outcomes,
	}
	if c.source != nil {
		data.SourceTable, data.SourceTime, data.Outcomes = c.source.Table, "time", ""
		data.SourceSlot = strings.ReplaceAll(c.Bucket, "occurred_at", "time")
		data.SourceCredits, data.SourceEvents = "credits", "events"
	}
	var text bytes.Buffer
	err := differenceTemplate.Execute(&text, data)
	return text.String(), err
}

func (c comparison) String() string {
	if c.source == nil {
		return c.Table
	}
	return c.Table + " with " + c.source.Table
}

// compare asks in which buckets of a partition a rollup differs.
func (a *auditor) compare(ctx context.Context, p Partition, c comparison, s scope, held bool, maxRows int64) (difference, error) {
	step := int64(time.Duration(c.Step) / time.Second)
	s.ranges = aligned(s.ranges, step)
	params := map[string]string{
		"cutoff": strconv.FormatInt(a.cutoff.Unix(), 10), "lo": offset(s.lo), "hi": offset(s.hi),
	}
	if s.listed != nil {
		var workspaces, slots []string
		s.ranges = nil
		for _, b := range s.listed {
			// Hexadecimal, so that no name needs escapes.
			workspaces = append(workspaces, "'"+hex.EncodeToString([]byte(b.workspace))+"'")
			slots = append(slots, offset(b.slot))
			s.ranges = append(s.ranges, timeRange{b.slot, b.slot + step})
		}
		s.ranges = clustered(s.ranges)
		params["workspaces"] = "[" + strings.Join(workspaces, ",") + "]"
		params["slots"] = "[" + strings.Join(slots, ",") + "]"
	}
	for i, r := range s.ranges {
		params[fmt.Sprintf("from_%d", i)], params[fmt.Sprintf("to_%d", i)] = offset(r.from), offset(r.to)
	}
	sql, err := c.sql(s)
	if err != nil {
		return difference{}, err
	}
	var d difference
	err = a.ask(ctx, p, question{sql: sql, params: params, held: held, maxRows: maxRows}, func(fields []string) error {
		var err error
		if d.buckets, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
			return fmt.Errorf("buckets: %w", err)
		}
		d.credits, d.messages, d.events = fields[1], fields[2], fields[3]
		if d.buckets == 0 {
			return nil
		}
		slots, workspaces := strings.Split(fields[4], ","), strings.Split(fields[5], "\n")
		if len(slots) != len(workspaces) {
			return errors.New("a workspace's name holds a line break")
		}
		for i := range slots {
			slot, err := strconv.ParseInt(slots[i], 10, 64)
			if err != nil {
				return fmt.Errorf("bucket: %w", err)
			}
			d.some = append(d.some, bucket{workspaces[i], slot})
		}
		return nil
	})
	if err != nil {
		return d, fmt.Errorf("compare %s: %w", c, err)
	}
	return d, nil
}

func (a *auditor) differs(p Partition, c comparison, d difference) {
	if d.buckets == 0 {
		return
	}
	from := "the ledger"
	if c.source != nil {
		from = c.source.Table
	}
	first := d.some[0]
	a.find(p, CheckRollup, c.Table, "differs from %s in %d buckets, by %s millionths of a credit, %s messages and %s events in all; one is of %s, %s at %s",
		from, d.buckets, d.credits, d.messages, d.events, first.workspace, c.Step, time.Unix(first.slot, 0).UTC().Format(time.RFC3339))
}

// rollups compares every rollup of a partition with the ledger.
//
// First freely: a bucket that no block touches meanwhile stands still, so what
// the comparison says of it is so. Then, under the mutex, what blocks have
// touched since the last one before it began. A bucket that is the sum of finer
// ones is compared with those, each of which was compared in either way.
func (a *auditor) rollups(ctx context.Context, p Partition) error {
	comparisons := fromLedger()
	suspects := make([]difference, len(comparisons))
	for i, c := range comparisons {
		err := a.step(ctx, p, c.Table, func(ctx context.Context) (err error) {
			suspects[i], err = a.compare(ctx, p, c, scope{}, false, 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	return a.step(ctx, p, "what changed meanwhile", func(ctx context.Context) error {
		end, err := a.end(ctx, p)
		if err != nil {
			return err
		}
		if err := a.touched(ctx, p, p.lastBlock, end.position); err != nil {
			return err
		}
		// A bucket that was touched is left to what was just compared, and all
		// others that differed are looked at again. What was just compared blames
		// the finest of several that are wrong in the same way; where one is, the
		// buckets of those that are not blamed yet are all looked at.
		for _, leaveOut := range []bool{true, false} {
			for i, c := range comparisons {
				if suspects[i].buckets == 0 || !leaveOut && (a.blamed(p, c.Table) || !a.blamed(p, "")) {
					continue
				}
				if suspects[i].unnamed() {
					a.findings = slices.DeleteFunc(a.findings, func(f Finding) bool { return f.blames(p, c.Table) }) // it is looked at as a whole
				}
				s := scope{lo: p.lastBlock, hi: end.position, leaveOut: leaveOut}
				if err := a.settled(ctx, func() error {
					d, err := a.stillDiffers(ctx, p, c, s, suspects[i])
					a.differs(p, c, d)
					return err
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// blamed reports whether a rollup of a partition, or any where none is named,
// was found to be wrong.
func (a *auditor) blamed(p Partition, table string) bool {
	return slices.ContainsFunc(a.findings, func(f Finding) bool { return f.blames(p, table) })
}

func (f Finding) blames(p Partition, table string) bool {
	return f.Check == CheckRollup && f.Stream == p.Stream && f.Partition == p.Partition && (table == "" || f.Table == table)
}

// unnamed says that more buckets differ than are named.
func (d difference) unnamed() bool { return d.buckets > int64(len(d.some)) }

// stillDiffers looks again, under the mutex, at buckets that differed when
// looked at without it. Where they are too many to be named, it looks at all.
func (a *auditor) stillDiffers(ctx context.Context, p Partition, c comparison, s scope, suspects difference) (difference, error) {
	if suspects.buckets == 0 {
		return difference{}, nil
	}
	if suspects.unnamed() {
		s.leaveOut = false
		return a.compare(ctx, p, c, s, true, 0)
	}
	s.listed, s.touched = suspects.some, false
	return a.compare(ctx, p, c, s, true, 0)
}

var touchedHoursSQL = readSQL("touched_hours.sql")

// touched compares, in the buckets that the events of [lo, hi) fall into, every
// rollup with the ledger, and looks their ids up.
func (a *auditor) touched(ctx context.Context, p Partition, lo, hi int64) error {
	slice := a.options.bounds.slice
	for ; lo < hi; lo += slice {
		if err := a.touchedSlice(ctx, p, lo, min(lo+slice, hi)); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) touchedSlice(ctx context.Context, p Partition, lo, hi int64) error {
	s := scope{touched: true, lo: lo, hi: hi}
	var hours []timeRange
	err := a.ask(ctx, p, question{sql: touchedHoursSQL, params: map[string]string{"lo": offset(lo), "hi": offset(hi)}}, func(fields []string) error {
		hour, err := strconv.ParseInt(fields[0], 10, 64)
		hours = append(hours, timeRange{hour, hour + int64(time.Hour/time.Second)})
		return err
	})
	if err != nil {
		return err
	}
	if len(hours) == 0 {
		return nil
	}
	s.ranges = clustered(hours)
	for _, c := range chained() {
		if err := a.settled(ctx, func() error {
			d, err := a.compare(ctx, p, c, s, true, a.options.bounds.held)
			if clickhouse.ExceptionCode(err) == clickhouse.CodeTooManyRows {
				if d, err = a.compare(ctx, p, c, s, false, 0); err == nil {
					d, err = a.stillDiffers(ctx, p, c, s, d)
				}
			}
			if err != nil {
				return err
			}
			return a.blame(ctx, p, c, d)
		}); err != nil {
			return err
		}
	}
	return a.touchedIDs(ctx, p, lo, hi)
}

// blame finds out which of two rollups is wrong where they differ: it compares
// either with the ledger.
func (a *auditor) blame(ctx context.Context, p Partition, c comparison, d difference) error {
	if c.source == nil || d.buckets == 0 {
		a.differs(p, c, d)
		return nil
	}
	direct := comparison{Rollup: c.Rollup, since: c.since, before: c.before}
	own, err := a.compare(ctx, p, direct, scope{listed: d.some}, true, 0)
	if err != nil {
		return err
	}
	a.differs(p, direct, own)
	var ranges []timeRange
	for _, b := range d.some {
		ranges = append(ranges, timeRange{b.slot, b.slot + int64(time.Duration(c.Step)/time.Second)})
	}
	source := comparison{Rollup: *c.source, since: c.since, before: c.before}
	theirs, err := a.compare(ctx, p, source, scope{ranges: clustered(ranges)}, true, 0)
	if err != nil {
		return err
	}
	a.differs(p, source, theirs)
	return nil
}

// maxRanges is how many ranges of time a comparison names.
const maxRanges = 16

// clustered joins ranges until there are few, the nearest first.
func clustered(ranges []timeRange) []timeRange {
	slices.SortFunc(ranges, func(a, b timeRange) int { return int(a.from - b.from) })
	var joined []timeRange
	var gaps []int64
	for _, r := range ranges {
		if n := len(joined); n > 0 && r.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, r.to)
			continue
		} else if n > 0 {
			gaps = append(gaps, r.from-joined[n-1].to)
		}
		joined = append(joined, r)
	}
	if len(joined) <= maxRanges {
		return joined
	}
	slices.Sort(gaps)
	// The widest gaps stay.
	widest := gaps[len(gaps)-(maxRanges-1)]
	clusters := joined[:1:1]
	for _, r := range joined[1:] {
		last := &clusters[len(clusters)-1]
		if r.from-last.to >= widest && len(clusters) < maxRanges {
			clusters = append(clusters, r)
		} else {
			last.to = r.to
		}
	}
	return clusters
}

// aligned widens ranges to whole buckets.
func aligned(ranges []timeRange, step int64) []timeRange {
	var whole []timeRange
	for _, r := range ranges {
		from, to := r.from-r.from%step, r.to+(step-r.to%step)%step
		if n := len(whole); n > 0 && from <= whole[n-1].to {
			whole[n-1].to = max(whole[n-1].to, to)
			continue
		}
		whole = append(whole, timeRange{from, to})
	}
	return whole
}
