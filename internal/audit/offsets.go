package audit

import (
	"context"
	"strings"

	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

var (
	ledgerChunksSQL   = readSQL("ledger_chunks.sql")
	offsetsMissingSQL = readSQL("offsets_missing.sql")
	offsetsDoubledSQL = readSQL("offsets_doubled.sql")
)

// stretch is what the ledger has of a stretch of offsets.
type stretch struct {
	number, rows, offsets, lowest, highest int64
	outcomes                               []int64 // in the order of schemas.Outcomes
}

// offsets checks that the ledger of a partition is an unbroken run.
func (a *auditor) offsets(ctx context.Context, p *Partition, end ledgerEnd) error {
	stretches, err := a.stretches(ctx, *p, minOffset, end.position)
	if err != nil {
		return err
	}
	if len(stretches) == 0 {
		return nil
	}
	lowest := stretches[0].lowest
	for _, s := range stretches {
		p.Rows += s.rows
		for i, n := range s.outcomes {
			p.Outcomes[schemas.Outcomes[i].String()] += n
		}
	}
	if lowest != p.Start {
		a.find(*p, CheckOffsets, tables.Ledger, "begins at offset %d and was declared to begin at %d", lowest, p.Start)
	}
	if err := a.unbroken(ctx, *p, stretches, lowest, end.position); err != nil {
		return err
	}
	if end.hi != end.position {
		a.find(*p, CheckOffsets, tables.Ledger, "ends at offset %d, inside a block that ends at %d", end.position-1, end.hi-1)
	}
	return nil
}

// minOffset lies below every offset.
const minOffset = -1 << 62

// span checks that the ledger has each offset of [lo, hi) once.
func (a *auditor) span(ctx context.Context, p Partition, lo, hi int64) error {
	stretches, err := a.stretches(ctx, p, lo, hi)
	if err != nil {
		return err
	}
	return a.unbroken(ctx, p, stretches, lo, hi)
}

func (a *auditor) stretches(ctx context.Context, p Partition, lo, hi int64) ([]stretch, error) {
	var stretches []stretch
	params := map[string]string{"chunk": offset(a.options.bounds.stretch), "lo": offset(lo), "hi": offset(hi)}
	err := a.ask(ctx, p, question{sql: ledgerChunksSQL, params: params}, func(fields []string) error {
		n, err := integers(fields)
		if err != nil {
			return err
		}
		stretches = append(stretches, stretch{n[0], n[1], n[2], n[3], n[4], n[5:]})
		return nil
	})
	return stretches, err
}

// unbroken checks that the stretches have each offset of [lo, hi) once, and
// says which are the first that they do not.
func (a *auditor) unbroken(ctx context.Context, p Partition, stretches []stretch, lo, hi int64) error {
	var rows, offsets int64
	// Where the first fault of each kind is.
	missing, doubled := [2]int64{-1, -1}, [2]int64{-1, -1}
	next := lo
	for _, s := range stretches {
		rows, offsets = rows+s.rows, offsets+s.offsets
		first, last := max(lo, s.number*a.options.bounds.stretch), min(hi, (s.number+1)*a.options.bounds.stretch)
		if missing[0] < 0 && (first > next || s.offsets < last-first) {
			missing = [2]int64{next, last}
			if s.lowest > next { // nothing at all up to there
				missing[1] = s.lowest
			}
		}
		if doubled[0] < 0 && s.rows > s.offsets {
			doubled = [2]int64{first, last}
		}
		next = last
	}
	if missing[0] < 0 && next < hi {
		missing = [2]int64{next, hi}
	}
	if doubled[0] >= 0 {
		some, err := a.some(ctx, p, offsetsDoubledSQL, map[string]string{"lo": offset(doubled[0]), "hi": offset(doubled[1])})
		if err != nil {
			return err
		}
		a.find(p, CheckOffsets, tables.Ledger, "%d rows for %d distinct offsets: %d rows too many; more than once: offset %s", rows, offsets, rows-offsets, some)
	}
	if missing[0] >= 0 {
		length := min(missing[1]-missing[0], a.options.bounds.stretch)
		some, err := a.some(ctx, p, offsetsMissingSQL, map[string]string{"lo": offset(missing[0]), "length": offset(length)})
		if err != nil {
			return err
		}
		a.find(p, CheckOffsets, tables.Ledger, "%d of the offsets %d to %d are missing: %s", hi-lo-offsets, lo, hi-1, some)
	}
	return nil
}

// someShown is how many of a list the statements return.
const someShown = 5

// some asks for the first entries of a list that may be long.
func (a *auditor) some(ctx context.Context, p Partition, sql string, params map[string]string) (string, error) {
	var list []string
	err := a.ask(ctx, p, question{sql: sql, params: params}, func(fields []string) error {
		list = append(list, fields[0])
		return nil
	})
	text := strings.Join(list, ", ")
	if len(list) == someShown {
		text += ", …"
	}
	return text, err
}
