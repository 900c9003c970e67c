package rollup

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fault"
	"agentmeter/internal/pause"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// Bounds of a rebuild.
const (
	// rebuildTarget is for how long a statement should hold its partition's
	// mutex, and so hold up counting.
	rebuildTarget = time.Second
	// rebuildTimeout is when a statement's outcome counts as unknown.
	rebuildTimeout = 15 * time.Minute
	// A statement's stretch is sized in rows that it has to compare.
	firstStretch = 250_000
	maxStretch   = 4_000_000
	// rebuildBreath is how long the mutex is left alone after it was held for
	// a while: longer than those who wait for it sleep between two tries.
	rebuildBreath      = 150 * time.Millisecond
	rebuildBreathAfter = 250 * time.Millisecond
	// rebuildMargin is how far a rebuild stays clear of the edge of a rollup's
	// retention.
	rebuildMargin = 6 * time.Hour
	// maxIDRepairs is how often a stretch of ids is repaired before it counts
	// as impossible: a merge in between can make a repair do nothing.
	maxIDRepairs = 5
)

// rebuildSettings bound what a statement keeps in memory; beyond it, groups go
// to disk.
var rebuildSettings = map[string]string{
	"async_insert":                       "0",
	"insert_deduplicate":                 "0",
	"max_insert_threads":                 "1",
	"max_partitions_per_insert_block":    "0",
	"materialized_views_ignore_errors":   "0",
	"max_bytes_before_external_group_by": strconv.Itoa(256 << 20),
	"apply_mutations_on_fly":             "0",
	// A statement has ended when its mutation has, not when it is on a list.
	"lightweight_deletes_sync": "2",
	"mutations_sync":           "2",
}

// rebuildStatements are the texts of a rebuild's statements.
type rebuildStatements struct {
	partitions string
	rollups    map[string]rollupRebuild // by table
	ids        idsRebuild
}

type rollupRebuild struct {
	rollup                tables.Rollup
	plan, compare, repair string
}

type idsRebuild struct {
	plan, compare, add, remove, removeRepeated string
}

var rebuildSQL = loadRebuildStatements()

func loadRebuildStatements() rebuildStatements {
	const planFile, partitionsFile = "rebuild_plan.sql", "rebuild_partitions.sql"
	ofRollup, ofPlan, ofIDs := parseSQL("rebuild_rollup.sql"), parseSQL(planFile), parseSQL("rebuild_ids.sql")
	s := rebuildStatements{
		partitions: renderSQL(parseSQL(partitionsFile), partitionsFile, tables.Rollups),
		rollups:    make(map[string]rollupRebuild),
		ids: idsRebuild{
			plan:           renderSQL(ofIDs, "plan", nil),
			compare:        renderSQL(ofIDs, "compare", nil),
			add:            renderSQL(ofIDs, "add", nil),
			remove:         renderSQL(ofIDs, "remove", nil),
			removeRepeated: renderSQL(ofIDs, "remove_repeated", nil),
		},
	}
	for _, rollup := range tables.Rollups {
		s.rollups[rollup.Table] = rollupRebuild{
			rollup:  rollup,
			plan:    renderSQL(ofPlan, planFile, rollup),
			compare: renderSQL(ofRollup, "compare", rollup),
			repair:  renderSQL(ofRollup, "repair", rollup),
		}
	}
	return s
}

// RebuildTables lists what can be rebuilt: every rollup, and the id look-up.
func RebuildTables() []string {
	names := make([]string, 0, len(tables.Rollups)+1)
	for _, rollup := range tables.Rollups {
		names = append(names, rollup.Table)
	}
	return append(names, tables.IDs)
}

// RebuildOptions say what is rebuilt.
type RebuildOptions struct {
	// Tables are some of RebuildTables; none: all of them.
	Tables []string
	// From and To, where not zero, bound the time of the rollups' buckets, and
	// are widened to whole days in UTC. The id look-up knows no time and is
	// always rebuilt in whole.
	From, To time.Time
	// Progress, where set, is told what has been compared after each stretch.
	Progress func(RebuildProgress)
}

// RebuildPart is one table's share of one partition.
type RebuildPart struct {
	Stream    uuid.UUID
	Partition int32
	Table     string
}

func (p RebuildPart) String() string {
	return fmt.Sprintf("%s, partition %d of stream %s", p.Table, p.Partition, p.Stream)
}

// RebuildProgress is how far a part has been rebuilt.
type RebuildProgress struct {
	RebuildPart
	Done, Total int64 // rows, as planned
	Repaired    Repaired
}

// Repaired is what was different and has been put right.
type Repaired struct {
	Buckets int64 // of a rollup; for the look-up, ids
	Credits schemas.CreditsSum
	Events  int64
}

func (r Repaired) plus(other Repaired) Repaired {
	return Repaired{r.Buckets + other.Buckets, r.Credits.Plus(other.Credits), r.Events + other.Events}
}

// RebuildReport is what a rebuild did.
type RebuildReport struct {
	Repaired map[string]Repaired // by table
	// Remaining are the parts that were not reached, or not finished. Whatever
	// was done of them stays done.
	Remaining []RebuildPart
	// LongestHold is for how long one statement held a partition's mutex, its
	// wait for it included.
	LongestHold time.Duration
}

// Rebuild makes the rollups and the id look-up equal to the ledger again,
// whatever happened to them, by adding the difference: under the partition's
// mutex, a stretch of time after another. Readers are served throughout and
// see each bucket as it was or as it should be. It is safe beside running
// rollups, safe to cut off at any point and to run again.
//
// When ctx ends, it finishes the statement under way and returns ctx's cause,
// with what remains.
func Rebuild(ctx context.Context, client *clickhouse.Client, options RebuildOptions) (*RebuildReport, error) {
	selected := options.Tables
	if len(selected) == 0 {
		selected = RebuildTables()
	}
	for _, table := range selected {
		if !slices.Contains(RebuildTables(), table) {
			return nil, fmt.Errorf("rebuild: %q is none of %s", table, strings.Join(RebuildTables(), ", "))
		}
	}
	parts, err := rebuildParts(ctx, client, selected)
	if err != nil {
		return nil, err
	}
	b := &rebuilder{bounds: boundsOf(options.From, options.To), progress: options.Progress, report: &RebuildReport{Repaired: make(map[string]Repaired)}}
	for i, part := range parts {
		l := &ledger{client: client, stream: part.Stream, partition: part.Partition}
		if err := b.part(ctx, l, part.Table); err != nil {
			b.report.Remaining = parts[i:]
			return b.report, fmt.Errorf("rebuild %s: %w", part, err)
		}
	}
	return b.report, nil
}

// rebuild makes all rollups and the id look-up equal to the ledger of this
// partition: for a ledger that was set back, whose views know more than it. When
// ctx ends it gives up at once; what is under way then is harmless, and whoever
// comes next begins again.
func (l *ledger) rebuild(ctx context.Context) (*RebuildReport, error) {
	b := &rebuilder{abandon: true, bounds: boundsOf(time.Time{}, time.Time{}), report: &RebuildReport{Repaired: make(map[string]Repaired)}}
	for _, table := range RebuildTables() {
		if err := b.part(ctx, l, table); err != nil {
			return b.report, fmt.Errorf("rebuild %s: %w", RebuildPart{l.stream, l.partition, table}, err)
		}
	}
	return b.report, nil
}

// rebuildParts finds every partition of which there is anything anywhere, also
// what no stream of the ledger's accounts for.
func rebuildParts(ctx context.Context, client *clickhouse.Client, selected []string) ([]RebuildPart, error) {
	seen := make(map[RebuildPart]bool) // every shard knows every stream
	var parts []RebuildPart
	err := client.SelectText(ctx, clickhouse.Statement{SQL: rebuildSQL.partitions, EachShard: true}, func(fields []string) error {
		stream, err := uuid.Parse(fields[0])
		if err != nil {
			return fmt.Errorf("stream %q: %w", fields[0], err)
		}
		partition, err := strconv.ParseInt(fields[1], 10, 32)
		if err != nil {
			return fmt.Errorf("partition %q: %w", fields[1], err)
		}
		for _, table := range selected {
			part := RebuildPart{stream, int32(partition), table}
			if !seen[part] {
				parts = append(parts, part)
			}
			seen[part] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rebuild: list partitions: %w", err)
	}
	return parts, nil
}

// stretch is a run of seconds, of offsets or of keys, both ends included.
type stretch struct{ from, through int64 }

func boundsOf(from, to time.Time) stretch {
	b := stretch{0, math.MaxUint32}
	if !from.IsZero() {
		b.from = min(max(schemas.StepDay.Floor(from).Unix(), b.from), b.through)
	}
	if !to.IsZero() {
		b.through = max(min(schemas.StepDay.Ceil(to).Unix()-1, b.through), b.from)
	}
	return b
}

// pace chooses how many rows a statement compares, so that it takes about
// rebuildTarget. Where a smaller stretch was not quicker, since finding its
// rows costs more than comparing them, it does not get smaller still.
type pace struct {
	rows, floor int64
	lastRows    int64
	lastTook    time.Duration
}

func (p *pace) learn(rows int64, took time.Duration) {
	switch {
	case took > rebuildTarget:
		if p.lastRows > rows && 4*took > 3*p.lastTook {
			p.floor = p.lastRows
		}
		p.rows = max(p.rows/2, p.floor, 1)
	case took < rebuildTarget/3 && rows >= p.rows/2:
		p.rows = min(2*p.rows, maxStretch)
	}
	p.lastRows, p.lastTook = rows, took
}

// rebuilder rebuilds one part after another.
type rebuilder struct {
	bounds   stretch // of time
	progress func(RebuildProgress)
	report   *RebuildReport
	held     time.Duration // since the last breath
	abandon  bool          // a statement under way when the context ends
}

func (b *rebuilder) part(ctx context.Context, l *ledger, table string) error {
	p := &RebuildProgress{RebuildPart: RebuildPart{l.stream, l.partition, table}}
	defer func() { b.report.Repaired[table] = b.report.Repaired[table].plus(p.Repaired) }()
	if table == tables.IDs {
		return b.ids(ctx, l, p)
	}
	return b.rollup(ctx, l, rebuildSQL.rollups[table], p)
}

func (b *rebuilder) tell(p *RebuildProgress) {
	if b.progress != nil {
		b.progress(*p)
	}
}

// statement runs one statement under the partition's mutex, to its end even
// when ctx ends, and returns how long it took.
func (b *rebuilder) statement(ctx context.Context, l *ledger, sql string, s stretch, run func(context.Context, clickhouse.Statement) error) (time.Duration, error) {
	if b.held > rebuildBreathAfter {
		pause.For(ctx, rebuildBreath)
		b.held = 0
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if !b.abandon {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, rebuildTimeout)
	defer cancel()
	began := time.Now()
	err := run(ctx, clickhouse.Statement{SQL: sql, Params: l.stretchParams(s), Settings: rebuildSettings, Mutex: l.mutex(), Place: l.place()})
	took := time.Since(began)
	b.held += took
	b.report.LongestHold = max(b.report.LongestHold, took)
	return took, err
}

// compare runs a statement that returns one row of text.
func (b *rebuilder) compare(ctx context.Context, l *ledger, sql string, s stretch) (fields []string, took time.Duration, err error) {
	took, err = b.statement(ctx, l, sql, s, func(ctx context.Context, statement clickhouse.Statement) error {
		return l.client.SelectText(ctx, statement, func(row []string) error {
			fields = slices.Clone(row)
			return nil
		})
	})
	return fields, took, err
}

func (b *rebuilder) repair(ctx context.Context, l *ledger, sql string, s stretch) (time.Duration, error) {
	fault.Point(fault.RebuildBefore)
	took, err := b.statement(ctx, l, sql, s, l.client.Exec)
	if err == nil {
		fault.Point(fault.RebuildAfter)
	}
	return took, err
}

// hourRows is how many rows of ledger and rollup lie in an hour.
type hourRows struct{ hour, rows int64 }

// planRollup counts rows by hour. It only sizes the stretches: these cover all
// of the bounds, whatever it says.
func (b *rebuilder) planRollup(ctx context.Context, l *ledger, sql string, bounds stretch) (hours []hourRows, total int64, err error) {
	err = l.client.SelectText(ctx, clickhouse.Statement{SQL: sql, Params: l.stretchParams(bounds), Place: l.place()}, func(fields []string) error {
		numbers, err := integersOf(fields)
		if err != nil {
			return err
		}
		hours = append(hours, hourRows{numbers[0], numbers[1]})
		total += numbers[1]
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("plan: %w", err)
	}
	return hours, total, nil
}

// nextStretch takes hours until there are enough rows and a bucket ends, and
// returns them as a stretch that begins at from, with their number. Buckets
// are never cut, and time without rows belongs to the stretch before it.
func nextStretch(hours []hourRows, from, end, step, enough int64) (s stretch, taken int, rows int64) {
	for taken < len(hours) {
		rows += hours[taken].rows
		taken++
		if taken < len(hours) && rows >= enough && hours[taken].hour/step != hours[taken-1].hour/step {
			return stretch{from, hours[taken].hour/step*step - 1}, taken, rows
		}
	}
	return stretch{from, end}, taken, rows
}

func (b *rebuilder) rollup(ctx context.Context, l *ledger, sql rollupRebuild, p *RebuildProgress) error {
	bounds := b.bounds
	if days := sql.rollup.RetentionDays; days > 0 {
		// What is older is being deleted, and no question is put to it; nor is
		// one put to what is about to be.
		kept := schemas.StepHour.Floor(time.Now().UTC().AddDate(0, 0, -days).Add(rebuildMargin)).Unix()
		bounds.from = max(bounds.from, kept)
	}
	if bounds.from > bounds.through {
		return nil
	}
	hours, total, err := b.planRollup(ctx, l, sql.plan, bounds)
	if err != nil {
		return err
	}
	p.Total = total
	step := max(int64(time.Duration(sql.rollup.Step)/time.Second), int64(time.Hour/time.Second))
	pace := pace{rows: firstStretch}
	for from := bounds.from; len(hours) > 0; {
		s, taken, rows := nextStretch(hours, from, bounds.through, step, pace.rows)
		fields, took, err := b.compare(ctx, l, sql.compare, s)
		if err != nil {
			return fmt.Errorf("compare: %w", err)
		}
		found, err := repairedOf(fields)
		if err != nil {
			return fmt.Errorf("compare: %w", err)
		}
		if found.Buckets > 0 {
			repairTook, err := b.repair(ctx, l, sql.repair, s)
			if err != nil {
				return fmt.Errorf("repair: %w", err)
			}
			took = max(took, repairTook)
			p.Repaired = p.Repaired.plus(found)
		}
		pace.learn(rows, took)
		p.Done += rows
		b.tell(p)
		hours, from = hours[taken:], s.through+1
	}
	return nil
}

func repairedOf(fields []string) (Repaired, error) {
	if len(fields) != 3 {
		return Repaired{}, fmt.Errorf("%d fields, want 3", len(fields))
	}
	numbers, err := integersOf([]string{fields[0], fields[2]})
	if err != nil {
		return Repaired{}, err
	}
	credits, ok := new(big.Int).SetString(fields[1], 10)
	if !ok {
		return Repaired{}, fmt.Errorf("credits %q: not a number", fields[1])
	}
	return Repaired{Buckets: numbers[0], Credits: schemas.SumFromBig(credits), Events: numbers[1]}, nil
}

func (b *rebuilder) ids(ctx context.Context, l *ledger, p *RebuildProgress) error {
	lowest, highest := int64(0), int64(-1)
	err := l.client.SelectText(ctx, clickhouse.Statement{SQL: rebuildSQL.ids.plan, Params: l.params(), Place: l.place()}, func(fields []string) error {
		numbers, err := integersOf(fields)
		if err == nil {
			lowest, highest = numbers[0], numbers[1]
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	p.Total = highest - lowest + 1
	pace := pace{rows: firstStretch}
	// The first and the last stretch reach as far as numbers do.
	for s := (stretch{from: math.MinInt64}); ; {
		begin := max(s.from, lowest)
		s.through = begin + pace.rows - 1
		if s.through >= highest || s.through < begin {
			s.through = math.MaxInt64
		}
		rows := max(min(s.through, highest)-begin+1, 0)
		took, err := b.idsStretch(ctx, l, s, p)
		if err != nil {
			return err
		}
		pace.learn(rows, took)
		p.Done += rows
		b.tell(p)
		if s.through == math.MaxInt64 {
			return nil
		}
		s.from = s.through + 1
	}
}

// idsStretch adds what is missing before it removes anything, since an id that
// cannot be looked up may be counted again.
func (b *rebuilder) idsStretch(ctx context.Context, l *ledger, s stretch, p *RebuildProgress) (time.Duration, error) {
	var longest time.Duration
	for range maxIDRepairs {
		fields, took, err := b.compare(ctx, l, rebuildSQL.ids.compare, s)
		if err != nil {
			return 0, fmt.Errorf("compare: %w", err)
		}
		longest = max(longest, took)
		found, err := integersOf(fields)
		if err != nil || len(found) != 3 {
			return 0, fmt.Errorf("compare: %d fields, want 3: %w", len(fields), err)
		}
		if found[0] == 0 && found[1] == 0 && found[2] == 0 {
			return longest, nil
		}
		for i, sql := range []string{rebuildSQL.ids.add, rebuildSQL.ids.remove, rebuildSQL.ids.removeRepeated} {
			if found[i] == 0 {
				continue
			}
			took, err := b.repair(ctx, l, sql, s)
			if err != nil {
				return 0, fmt.Errorf("repair: %w", err)
			}
			longest = max(longest, took)
			p.Repaired.Buckets += found[i]
		}
	}
	return 0, fmt.Errorf("offsets %d to %d still differ after %d repairs: something else writes to %s", s.from, s.through, maxIDRepairs, tables.IDs)
}

func integersOf(fields []string) ([]int64, error) {
	numbers := make([]int64, len(fields))
	for i, field := range fields {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("number %q: %w", field, err)
		}
		numbers[i] = n
	}
	return numbers, nil
}
