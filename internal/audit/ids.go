package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

var (
	tableIDsSQL     = readSQL("table_ids.sql")
	ledgerIDsSQL    = readSQL("ledger_ids.sql")
	idsLackingSQL   = readSQL("ids_lacking.sql")
	idsUnfoundedSQL = readSQL("ids_unfounded.sql")
	idsSizeSQL      = readSQL("ids_size.sql")
	idsSharedSQL    = readSQL("ids_shared.sql")
	idsDoubledSQL   = readSQL("ids_doubled.sql")
	touchedIDsSQL   = readSQL("touched_ids.sql")
)

// held says which ids a stretch of offsets has: how many, and the sum, modulo
// 2^128, of a hash of each id's key with its offset. Equal sums of equally many mean
// the same keys: for accidents, and for anybody who does not aim at it, that
// they differ is as likely as a guess of a 128-bit number.
type held struct {
	ids      int64
	checksum string
}

// ids checks that every event was recorded under an id of its own. The id
// look-up is ordered by the ids' keys, so that it shows which it holds twice
// in bounded memory, wherever the events stand, and the ledger's text tells whether
// those are one id or two with the same key; and that it holds what the
// ledger recorded, and nothing else, is checked partition by partition.
func (a *auditor) ids(ctx context.Context, partitions []Partition) error {
	var looked map[clickhouse.Place]map[int64]held
	if err := a.step(ctx, Partition{}, "the id look-up", func(ctx context.Context) (err error) {
		looked, err = a.lookedUp(ctx, partitions)
		return err
	}); err != nil {
		return err
	}
	for _, p := range partitions {
		if err := a.step(ctx, p, "ids", func(ctx context.Context) error {
			return a.settled(ctx, func() (err error) {
				if looked == nil { // a look before this one found a difference
					if looked, err = a.lookedUp(ctx, partitions); err != nil {
						return err
					}
				}
				found := len(a.findings)
				err = a.sameIDs(ctx, p, looked[p.place()])
				if len(a.findings) > found {
					looked = nil
				}
				return err
			})
		}); err != nil {
			return err
		}
	}
	if !a.options.whole {
		return nil
	}
	return a.step(ctx, Partition{}, "ids that are there twice", a.doubledIDs)
}

// lookedUp reads what the id look-up holds of each partition below where its
// ledger ended.
func (a *auditor) lookedUp(ctx context.Context, partitions []Partition) (map[clickhouse.Place]map[int64]held, error) {
	var streams, numbers, belows []string
	byPlace := map[clickhouse.Place]Partition{}
	for _, p := range partitions {
		streams, numbers, belows = append(streams, "'"+p.Stream.String()+"'"), append(numbers, offset(int64(p.Partition))), append(belows, offset(p.Position))
		byPlace[p.place()] = p
	}
	list := func(values []string) string { return "[" + strings.Join(values, ",") + "]" }
	looked := map[clickhouse.Place]map[int64]held{}
	highest := map[clickhouse.Place]int64{}
	err := a.ask(ctx, Partition{}, question{sql: tableIDsSQL, eachShard: true, params: map[string]string{
		"chunk": offset(a.options.bounds.stretch), "streams": list(streams), "partitions": list(numbers), "belows": list(belows),
	}}, func(fields []string) error {
		stream, err := uuid.Parse(fields[0])
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		n, err := integers([]string{fields[1], fields[2], fields[3], fields[5]})
		if err != nil {
			return err
		}
		at := clickhouse.Place{Stream: stream, Partition: int32(n[0])}
		if looked[at] == nil {
			looked[at] = map[int64]held{}
			highest[at] = n[3]
		}
		looked[at][n[1]] = held{n[2], fields[4]}
		highest[at] = max(highest[at], n[3])
		return nil
	})
	if err != nil {
		return nil, err
	}
	for at, last := range highest {
		p, ours := byPlace[at]
		if !ours || last < p.Position {
			continue
		}
		// Appended since, or never.
		end, err := a.end(ctx, p)
		if err != nil {
			return nil, err
		}
		if last >= end.position {
			looked[at][beyond] = held{ids: last}
		}
	}
	return looked, nil
}

// beyond is the stretch of what lies above the ledger's end.
const beyond = -1

// sameIDs compares the id look-up with the ledger of one partition.
func (a *auditor) sameIDs(ctx context.Context, p Partition, looked map[int64]held) error {
	recorded := map[int64]held{}
	err := a.ask(ctx, p, question{sql: ledgerIDsSQL, params: map[string]string{
		"chunk": offset(a.options.bounds.stretch), "below": offset(p.Position),
	}}, func(fields []string) error {
		n, err := integers(fields[:2])
		if err == nil {
			recorded[n[0]] = held{n[1], fields[2]}
		}
		return err
	})
	if err != nil {
		return err
	}
	if last, ok := looked[beyond]; ok {
		a.find(p, CheckIDs, tables.IDs, "names offset %d, and the ledger ends below it", last.ids)
	}
	var events, ids int64
	var differing []int64
	for number, r := range recorded {
		events += r.ids
		if looked[number] != r {
			differing = append(differing, number)
		}
	}
	for number, l := range looked {
		if number == beyond {
			continue
		}
		ids += l.ids
		if _, ok := recorded[number]; !ok && l.ids > 0 {
			differing = append(differing, number)
		}
	}
	if len(differing) == 0 {
		return nil
	}
	slices.Sort(differing)
	params := map[string]string{"lo": offset(differing[0] * a.options.bounds.stretch), "hi": offset(min((differing[0]+1)*a.options.bounds.stretch, p.Position))}
	lacking, err := a.some(ctx, p, idsLackingSQL, params)
	if err != nil {
		return err
	}
	unfounded, err := a.some(ctx, p, idsUnfoundedSQL, params)
	if err != nil {
		return err
	}
	detail := ""
	if lacking != "" {
		detail += "; lacking: those of offset " + lacking
	}
	if unfounded != "" {
		detail += "; never recorded as it says: offset " + unfounded
	}
	a.find(p, CheckIDs, tables.IDs, "holds %d ids of %d recorded events%s", ids, events, detail)
	return nil
}

// doubledIDs looks for ids that were recorded more than once, one range of
// keys after the other.
func (a *auditor) doubledIDs(ctx context.Context) error {
	rows := int64(0)
	if err := a.ask(ctx, Partition{}, question{sql: idsSizeSQL, eachShard: true}, func(fields []string) error {
		n, err := integers(fields)
		if err == nil {
			rows += n[0]
		}
		return err
	}); err != nil {
		return err
	}
	return a.settled(ctx, func() error {
		var found doubled
		for from, through := range schemas.KeyRanges(rows, a.options.bounds.keys) {
			if err := a.doubledIn(ctx, from, through, &found); err != nil {
				return err
			}
		}
		a.report(&found)
		return nil
	})
}

// doubledIn looks in a range of keys, both ends included. A range with more shared
// keys than one statement lists is halved.
func (a *auditor) doubledIn(ctx context.Context, from, through int64, found *doubled) error {
	var shared int64
	var keys string
	err := a.ask(ctx, Partition{}, question{sql: idsSharedSQL, params: map[string]string{
		"from": offset(from), "through": offset(through), "listed": offset(a.options.bounds.shared),
	}}, func(fields []string) error {
		n, err := integers(fields[:1])
		if err == nil {
			shared, keys = n[0], strings.Clone(fields[1])
		}
		return err
	})
	switch {
	case err != nil || shared == 0:
		return err
	case shared <= a.options.bounds.shared:
		return a.doubledAmong(ctx, keys, found)
	}
	middle := from + (through-from)/2
	if err := a.doubledIn(ctx, from, middle, found); err != nil {
		return err
	}
	return a.doubledIn(ctx, middle+1, through, found)
}

// doubled are ids that are looked up more than once: since they were recorded more than
// once, or only in the look-up.
type doubled struct{ recorded, held doubles }

type doubles struct {
	ids, surplus int64
	first        Partition // of one of the places
	some         string    // the first of them, with their places
}

// doubledAmong adds those of some keys, separated by commas.
func (a *auditor) doubledAmong(ctx context.Context, keys string, found *doubled) error {
	return a.ask(ctx, Partition{}, question{sql: idsDoubledSQL, params: map[string]string{"keys": "[" + keys + "]"}}, func(fields []string) error {
		return errors.Join(found.recorded.add(fields[:5]), found.held.add(fields[5:]))
	})
}

// add adds what a row says of one kind: how many, surplus, stream, partition, some.
func (d *doubles) add(fields []string) error {
	n, err := integers([]string{fields[0], fields[1], fields[3]})
	if err != nil || n[0] == 0 {
		return err
	}
	if d.ids == 0 {
		if d.first.Stream, err = uuid.Parse(fields[2]); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		d.first.Partition, d.some = int32(n[2]), strings.Clone(fields[4])
	}
	d.ids, d.surplus = d.ids+n[0], d.surplus+n[1]
	return nil
}

func (a *auditor) report(found *doubled) {
	if d := found.recorded; d.ids > 0 {
		a.find(d.first, CheckIDs, tables.Ledger, "%d ids were recorded more than once, %d events too many: %s (stream/partition/offset)", d.ids, d.surplus, d.some)
	}
	if d := found.held; d.ids > 0 {
		a.find(d.first, CheckIDs, tables.IDs, "holds %d ids more than once, %d rows too many: %s (stream/partition/offset)", d.ids, d.surplus, d.some)
	}
}

// touchedIDs looks up the ids of the events of [lo, hi).
func (a *auditor) touchedIDs(ctx context.Context, p Partition, lo, hi int64) error {
	return a.settled(ctx, func() error {
		var touched touched
		if err := a.touchedIn(ctx, p, lo, hi, &touched); err != nil {
			return err
		}
		if touched.placed != touched.events {
			a.find(p, CheckIDs, tables.IDs, "holds %d ids of the %d events that were recorded at offsets %d to %d", touched.placed, touched.events, lo, hi-1)
		}
		var found doubled
		slices.Sort(touched.shared)
		for keys := range slices.Chunk(slices.Compact(touched.shared), int(a.options.bounds.shared)) {
			if err := a.doubledAmong(ctx, strings.Join(keys, ","), &found); err != nil {
				return err
			}
		}
		a.report(&found)
		return nil
	})
}

// touched is what the id look-up has of the events of a stretch of offsets.
type touched struct {
	events, placed int64    // recorded; looked up at their own place
	shared         []string // keys of more than one row, some perhaps twice
}

// touchedIn adds what [lo, hi) recorded. A stretch with more shared keys than one
// statement lists is halved.
func (a *auditor) touchedIn(ctx context.Context, p Partition, lo, hi int64, all *touched) error {
	var events, placed, shared int64
	var keys []string
	err := a.ask(ctx, p, question{sql: touchedIDsSQL, params: map[string]string{
		"lo": offset(lo), "hi": offset(hi), "listed": offset(a.options.bounds.shared),
	}}, func(fields []string) error {
		n, err := integers(fields[:3])
		if err == nil {
			events, placed, shared = n[0], n[1], n[2]
		}
		if shared > 0 {
			keys = strings.Split(strings.Clone(fields[3]), ",")
		}
		return err
	})
	if err != nil {
		return err
	}
	if shared > a.options.bounds.shared && hi-lo > 1 {
		middle := lo + (hi-lo)/2
		if err := a.touchedIn(ctx, p, lo, middle, all); err != nil {
			return err
		}
		return a.touchedIn(ctx, p, middle, hi, all)
	}
	all.events, all.placed, all.shared = all.events+events, all.placed+placed, append(all.shared, keys...)
	return nil
}
