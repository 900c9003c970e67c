package audit

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/pause"
)

// What a statement of an audit may use. Groupings beyond the second bound go to
// disk; a statement that needs more than the first is refused, and the audit
// could not tell.
const (
	maxMemory     = 512 << 20
	memoryOnDisk  = 160 << 20
	defaultThread = 2
)

// auditor is one audit under way. It is used by one goroutine.
type auditor struct {
	client  *clickhouse.Client
	options Options

	findings []Finding
	unclear  []string

	steps, done int
	settling    time.Duration // spent on looking again
	cutoff      time.Time     // of the minute tier
}

func newAuditor(client *clickhouse.Client, options Options) *auditor {
	if options.bounds == (bounds{}) {
		options.bounds = defaultBounds
	}
	return &auditor{client: client, options: options, cutoff: minuteCutoff(time.Now())}
}

func (a *auditor) find(p Partition, check, table, format string, args ...any) {
	a.findings = append(a.findings, Finding{
		Check: check, Stream: p.Stream, Partition: p.Partition, Table: table, Detail: fmt.Sprintf(format, args...),
	})
}

// step runs one step of the audit and says that it is finished.
func (a *auditor) step(ctx context.Context, p Partition, name string, do func(context.Context) error) error {
	began := time.Now()
	if p.Topic != "" {
		name = fmt.Sprintf("%s/%d: %s", p.Topic, p.Partition, name)
	}
	if err := do(ctx); err != nil {
		return fmt.Errorf("audit: %s: %w", name, err)
	}
	a.done++
	if a.options.Progress != nil {
		a.options.Progress(Progress{Done: a.done, Steps: a.steps, Step: name, Took: time.Since(began)})
	}
	return nil
}

// question is one statement of an audit.
type question struct {
	sql    string
	params map[string]string
	// held: under the partition's mutex, in which nothing writes.
	held bool
	// eachShard: of each shard by itself, on what it writes to.
	eachShard bool
	// maxRows, where positive, refuses the statement where it would read more.
	maxRows int64
}

func offset(n int64) string { return strconv.FormatInt(n, 10) }

// ask runs a statement about a partition, where that is counted, or about all of
// them, and hands each row to onRow.
func (a *auditor) ask(ctx context.Context, p Partition, q question, onRow func(fields []string) error) error {
	params := map[string]string{"stream": p.Stream.String(), "partition": strconv.Itoa(int(p.Partition))}
	maps.Copy(params, q.params)
	threads := a.options.threads
	if threads == 0 {
		threads = defaultThread
	}
	statement := clickhouse.Statement{SQL: q.sql, Params: params, Settings: map[string]string{
		"max_memory_usage":                   strconv.Itoa(maxMemory),
		"max_bytes_before_external_group_by": strconv.Itoa(memoryOnDisk),
		"max_bytes_before_external_sort":     strconv.Itoa(memoryOnDisk),
		"max_threads":                        strconv.Itoa(threads),
	}}
	if q.maxRows > 0 {
		statement.Settings["max_rows_to_read"] = offset(q.maxRows)
	}
	if q.held {
		statement.Mutex = a.options.Mutex(p.Stream, p.Partition)
	}
	client := a.client
	switch {
	case p.Stream != uuid.Nil:
		place := p.place()
		statement.Place = &place
	case q.eachShard:
		statement.EachShard = true
	default:
		client = client.Reads()
	}
	began := time.Now()
	err := client.SelectText(ctx, statement, onRow)
	if q.held && a.options.heldFor != nil {
		a.options.heldFor(time.Since(began))
	}
	if err != nil || a.options.rest == 0 {
		return err
	}
	if !pause.For(ctx, time.Duration(a.options.rest)*time.Since(began)) {
		return context.Cause(ctx)
	}
	return nil
}

// settleWait lies between two looks at a difference.
const settleWait = 500 * time.Millisecond

// settled repeats a check until it finds nothing, or the time to settle is over.
// All differences of an audit share that time: once one has lasted it out, what
// is wrong is wrong, and the others get only a second look.
func (a *auditor) settled(ctx context.Context, check func() error) error {
	before := len(a.findings)
	began := time.Now()
	for looks := 1; ; looks++ {
		a.findings = a.findings[:before]
		if err := check(); err != nil {
			return err
		}
		spent := time.Since(began)
		switch {
		case looks == 1 && (len(a.findings) == before || a.options.Settle == 0):
			return nil
		case looks > 1 && (len(a.findings) == before || a.settling+spent >= a.options.Settle):
			a.settling += spent
			return nil
		}
		if !pause.For(ctx, settleWait) {
			return context.Cause(ctx)
		}
	}
}

// ledgerEnd is where the ledger of a partition ends, and the last block that
// its last row says it is in.
type ledgerEnd struct {
	position int64
	lo, hi   int64
}

var ledgerEndSQL = readSQL("ledger_end.sql")

// end reads where the ledger of a partition ends, under its mutex: every
// statement that had begun to append has ended.
func (a *auditor) end(ctx context.Context, p Partition) (ledgerEnd, error) {
	end := ledgerEnd{position: p.Start, lo: p.Start, hi: p.Start}
	err := a.ask(ctx, p, question{sql: ledgerEndSQL, held: true}, func(fields []string) error {
		n, err := integers(fields)
		if err != nil {
			return err
		}
		end = ledgerEnd{lo: n[0], hi: n[1], position: n[2] + 1}
		return nil
	})
	if err != nil {
		return end, fmt.Errorf("audit: read the ledger's end: %w", err)
	}
	return end, nil
}

func integers(fields []string) ([]int64, error) {
	numbers := make([]int64, len(fields))
	for i, field := range fields {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("audit: number %q: %w", field, err)
		}
		numbers[i] = n
	}
	return numbers, nil
}
