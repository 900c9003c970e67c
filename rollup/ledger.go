package rollup

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fault"
	tables "agentmeter/schemas/clickhouse"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// statements are the texts of the ledger's statements, ready to send.
type statements struct {
	append       string
	end          string
	confirmed    string
	shortRollups string
	reconcile    []repair // one for each view
	findIDs      *template.Template
	findPayloads *template.Template
	countIDs     string
	sizeIDs      string
	loadIDs      string
}

// repair is the statement that makes one view of the ledger equal to it.
type repair struct {
	table, sql string
}

var sqlStatements = loadStatements()

func loadStatements() statements {
	s := statements{
		append:       readSQL("append_block.sql"),
		end:          readSQL("ledger_end.sql"),
		confirmed:    readSQL("confirmed_position.sql"),
		shortRollups: renderSQL(parseSQL("short_rollups.sql"), "short_rollups.sql", tables.Rollups),
		findIDs:      parseSQL("find_ids.sql"),
		findPayloads: parseSQL("find_payloads.sql"),
		countIDs:     readSQL("count_ids.sql"),
		sizeIDs:      readSQL("size_ids.sql"),
		loadIDs:      readSQL("load_ids.sql"),
	}
	const reconcileFile = "reconcile_rollup.sql"
	reconcile := parseSQL(reconcileFile)
	for _, rollup := range tables.Rollups {
		s.reconcile = append(s.reconcile, repair{rollup.Table, renderSQL(reconcile, reconcileFile, struct {
			tables.Rollup
			StepSeconds int64
		}{rollup, int64(time.Duration(rollup.Step) / time.Second)})})
	}
	s.reconcile = append(s.reconcile, repair{tables.IDs, readSQL("reconcile_ids.sql")})
	return s
}

// readSQL returns the text of one of this package's own files, which are embedded.
func readSQL(file string) string {
	text, err := sqlFiles.ReadFile("sql/" + file)
	if err != nil {
		panic(err) // embedded above
	}
	return tables.Expand(strings.TrimSpace(string(text)))
}

// parseSQL is the same of a file that is a template, which has the file's name.
func parseSQL(file string) *template.Template {
	functions := template.FuncMap{"inc": func(i int) int { return i + 1 }} // SQL counts from one
	return template.Must(template.New(file).Funcs(functions).Parse(readSQL(file)))
}

// renderSQL fills in a template, or one that its file defines.
func renderSQL(t *template.Template, name string, data any) string {
	var text bytes.Buffer
	if err := t.ExecuteTemplate(&text, name, data); err != nil {
		panic(err) // both are our own
	}
	return strings.TrimSpace(text.String())
}

// appendSettings make a block one part, inserted as one unit together with its
// views, by none of the engine's own deduplication. No default is relied on.
var appendSettings = map[string]string{
	"async_insert":       "0",
	"insert_deduplicate": "0",
	"deduplicate_blocks_in_dependent_materialized_views":  "0",
	"materialized_views_ignore_errors":                    "0",
	"ignore_materialized_views_with_dropped_target_table": "0",
	"max_threads":                     "1",
	"max_insert_threads":              "1",
	"max_block_size":                  "10000000",
	"max_insert_block_size":           "10000000",
	"min_insert_block_size_rows":      "10000000",
	"min_insert_block_size_bytes":     "0",
	"max_partitions_per_insert_block": "1",
	"input_format_parallel_parsing":   "0",
	"parallel_view_processing":        "0",
	"apply_mutations_on_fly":          "0",
}

// reconcileSettings make a repair one insert of its own, computed from all
// rows that are committed.
var reconcileSettings = map[string]string{
	"async_insert":                     "0",
	"insert_deduplicate":               "0",
	"max_threads":                      "1", // take-overs come many at once
	"max_insert_threads":               "1",
	"materialized_views_ignore_errors": "0",
	"parallel_view_processing":         "0",
	"max_partitions_per_insert_block":  "0",
}

// longReadSettings keep a read of much from taking what counting needs.
var longReadSettings = map[string]string{"max_threads": "1"}

// repairPatience is how many times longer than another statement a reconcile
// may take, since it reads more.
const repairPatience = 10

// ledger reads and appends the ledger of one partition of one stream. All its
// statements that write or decide run under the partition's mutex.
type ledger struct {
	client    *clickhouse.Client
	stream    uuid.UUID
	partition int32
	start     int64 // where the partition's run in the ledger begins
	timeout   time.Duration
}

func (l *ledger) params() map[string]string {
	return map[string]string{"stream": l.stream.String(), "partition": strconv.Itoa(int(l.partition))}
}

// place is where the partition's rows are.
func (l *ledger) place() *clickhouse.Place {
	return &clickhouse.Place{Stream: l.stream, Partition: l.partition}
}

// blockParams are params with the bounds of block [lo, hi).
func (l *ledger) blockParams(lo, hi int64) map[string]string {
	params := l.params()
	params["lo"], params["hi"] = strconv.FormatInt(lo, 10), strconv.FormatInt(hi, 10)
	return params
}

// stretchParams are params with the bounds of a stretch.
func (l *ledger) stretchParams(s stretch) map[string]string {
	params := l.params()
	params["from"], params["through"] = strconv.FormatInt(s.from, 10), strconv.FormatInt(s.through, 10)
	return params
}

// mutex is the query id that serialises the partition's statements.
func (l *ledger) mutex() string {
	if weakened(fault.NoMutex) {
		return ""
	}
	return l.place().Mutex(l.client.Database())
}

// ledgerEnd is where the ledger of a partition ends.
type ledgerEnd struct {
	position int64     // the first offset that is not in the ledger
	lo, hi   int64     // the last block; lo == hi where the ledger is empty
	lastTime time.Time // the latest broker's time in the last block; zero where empty
	// firstTime is the earliest in it: what is certain to be in every view was
	// acknowledged before.
	firstTime time.Time
	partial   string // what is wrong with the last block, or ""
	// lastDetail is the detail of the last row.
	lastDetail string
}

// append sends the block on the condition that the ledger ends at b.lo.
func (l *ledger) append(ctx context.Context, b *block, encoded []byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	params := l.blockParams(b.lo, b.hi)
	params["start"], params["day"] = strconv.FormatInt(l.start, 10), b.day.Format(time.DateOnly)
	return l.client.Exec(ctx, clickhouse.Statement{
		SQL:      sqlStatements.append,
		Params:   params,
		Settings: appendSettings,
		Mutex:    l.mutex(),
		Place:    l.place(),
		Body:     encoded,
	})
}

// end reads where the ledger ends, under the mutex: no statement that could
// still move it is running.
func (l *ledger) end(ctx context.Context) (ledgerEnd, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var lo, hi, rows, offsets proto.ColInt64
	var detail proto.ColStr
	var firstTime, lastTime proto.ColDateTime64
	firstTime.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	lastTime.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	columns := proto.Results{
		{Name: "block_lo", Data: &lo},
		{Name: "block_hi", Data: &hi},
		{Name: "rows", Data: &rows},
		{Name: "offsets", Data: &offsets},
		{Name: "first_time", Data: &firstTime},
		{Name: "last_time", Data: &lastTime},
		{Name: "last_detail", Data: &detail},
	}
	end := ledgerEnd{position: l.start, lo: l.start, hi: l.start}
	blocks := 0
	err := l.client.Select(ctx, clickhouse.Statement{SQL: sqlStatements.end, Params: l.params(), Mutex: l.mutex(), Place: l.place()}, columns, func(n int) error {
		for i := range n {
			blocks++
			end.lo, end.hi, end.position = lo.Row(i), hi.Row(i), hi.Row(i)
			end.firstTime, end.lastTime, end.lastDetail = firstTime.Row(i), lastTime.Row(i), detail.Row(i)
			if size := end.hi - end.lo; rows.Row(i) != size || offsets.Row(i) != size {
				end.partial = fmt.Sprintf("block [%d, %d) has %d rows with %d distinct offsets", end.lo, end.hi, rows.Row(i), offsets.Row(i))
			}
		}
		return nil
	})
	if err != nil {
		return ledgerEnd{}, fmt.Errorf("read the ledger's end: %w", err)
	}
	if blocks > 1 {
		end.partial = fmt.Sprintf("%d blocks overlap at the end", blocks)
	}
	return end, nil
}

// confirmed reads how far the partition was confirmed, as its consumer last
// published it; 0 where nobody did. It only ever lags behind the ledger's end.
func (l *ledger) confirmed(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var position proto.ColInt64
	confirmed := int64(0)
	columns := proto.Results{{Name: "confirmed", Data: &position}}
	err := l.client.Select(ctx, clickhouse.Statement{SQL: sqlStatements.confirmed, Params: l.params(), Place: l.place()}, columns, func(int) error {
		confirmed = position.Row(0)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the confirmed position: %w", err)
	}
	return confirmed, nil
}

// reconcile makes every view of the ledger equal to it in the buckets that
// block [lo, hi) touches: one statement for each view that may lack something,
// computed by the server under the mutex. Running it again changes nothing. added
// is how many rows they lacked, as far as ClickHouse says so.
func (l *ledger) reconcile(ctx context.Context, lo, hi int64) (added uint64, err error) {
	repairs, err := l.repairs(ctx, lo, hi)
	if err != nil {
		return 0, err
	}
	if weakened(fault.ClientReconcile) {
		return 0, l.reconcileByClient(ctx, repairs, lo, hi)
	}
	for _, view := range repairs {
		fault.Point(fault.ReconcileBefore)
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, repairPatience*l.timeout)
			defer cancel()
			var summary clickhouse.Summary
			err := l.client.Exec(ctx, clickhouse.Statement{
				SQL:      view.sql,
				Params:   l.blockParams(lo, hi),
				Settings: reconcileSettings,
				Mutex:    l.mutex(),
				Place:    l.place(),
				Summary:  &summary,
			})
			added += summary.WrittenRows
			return err
		}()
		if err != nil {
			return added, fmt.Errorf("reconcile block [%d, %d): %w", lo, hi, err)
		}
		fault.Point(fault.ReconcileAfter)
	}
	return added, nil
}

// repairs are those of the views that may lack something of the last block. One
// that has a block once has it for good, so the others need no reconcile, which
// reads the texts of all events in the hours and days that it touches.
func (l *ledger) repairs(ctx context.Context, lo, hi int64) ([]repair, error) {
	ctx, cancel := context.WithTimeout(ctx, repairPatience*l.timeout)
	defer cancel()
	short := []string{tables.IDs} // of which sums say nothing
	var rollup proto.ColStr
	err := l.client.Select(ctx, clickhouse.Statement{
		SQL: sqlStatements.shortRollups, Params: l.blockParams(lo, hi), Settings: longReadSettings, Mutex: l.mutex(), Place: l.place(),
	}, proto.Results{{Name: "rollup", Data: &rollup}}, func(n int) error {
		for i := range n {
			short = append(short, rollup.Row(i))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for what rollups lack of block [%d, %d): %w", lo, hi, err)
	}
	return slices.DeleteFunc(slices.Clone(sqlStatements.reconcile), func(view repair) bool { return !slices.Contains(short, view.table) }), nil
}
