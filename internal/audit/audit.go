// Package audit proves that the figures are right: that every Kafka offset
// below the ledger's end is in the ledger exactly once, that every rollup
// equals the ledger in every bucket, that no event id was recorded twice, in
// whatever partition or stream, and that Kafka still has what it acknowledged.
//
// In flow the ledger, the rollups, the id look-up and Kafka's log bounds; out
// flows a Report (Run) or gauges that alert (Watcher). It changes nothing and
// can be cut off at any time.
//
// It works beside a running rollup without crying wolf and without holding it
// up. What lies below the ledger's end never changes, so it is read freely.
// Rollups do change: their buckets are compared freely, too, and those that a
// block has touched meanwhile are compared again under the partition's mutex,
// in which nothing writes, by short statements. The last block of a partition
// may be short in its views after a crash, until a rollup has taken the
// partition over; a difference is therefore looked at again for some seconds
// before it is a finding. Where no rollup runs, the caller repairs the last
// blocks first (rollup.RepairLast).
//
// Memory is bounded however long the ledger is: the statements group by
// stretches of offsets and ranges of keys, and spill to disk where they would
// need more than their bound.
package audit

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	tables "agentmeter/schemas/clickhouse"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

func readSQL(name string) string {
	text, err := sqlFiles.ReadFile("sql/" + name)
	if err != nil {
		panic(err) // embedded above
	}
	return tables.Expand(strings.TrimSpace(string(text)))
}

// Report is what an audit found. Figures are exact; credits are in
// millionths, as text, since their sums may exceed 64 bits. Its JSON only ever
// gains fields.
type Report struct {
	// Exact means that everything was checked and nothing was found.
	Exact      bool             `json:"exact"`
	Partitions []Partition      `json:"partitions"`
	Outcomes   map[string]int64 `json:"outcomes"`
	Findings   []Finding        `json:"findings"`
	// Unclear is what could not be checked, such as the log of a broker that
	// does not answer.
	Unclear []string `json:"unclear"`
	// Unfinished are erased workspaces of which there is something still. Figures
	// of others are exact all the same.
	Unfinished []UnfinishedErasure `json:"unfinished_erasures"`
	// Records says where the records of the live topic are.
	Records Records `json:"records"`
	Began   string  `json:"began"`
	Millis  int64   `json:"milliseconds"`
}

// Partition is what the ledger holds of one partition of one stream.
type Partition struct {
	Stream    uuid.UUID `json:"stream"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Start     int64     `json:"start"`    // where its run begins
	Position  int64     `json:"position"` // the first offset that is not in it
	Rows      int64     `json:"rows"`
	// LogBegin and LogEnd are Kafka's bounds, or -1 for a stream that is not the
	// topic's any more, and where Kafka did not say.
	LogBegin int64            `json:"log_begin"`
	LogEnd   int64            `json:"log_end"`
	Outcomes map[string]int64 `json:"outcomes"`
	// Acknowledged is the end of what Kafka acknowledged to the ingest processes
	// that were asked, or -1.
	Acknowledged int64 `json:"acknowledged"`

	lastBlock int64 // where its last block begins
}

func (p *Partition) place() clickhouse.Place {
	return clickhouse.Place{Stream: p.Stream, Partition: p.Partition}
}

// Records is Kafka's own count beside the ledger's: what was ever produced to
// the live topic is in the ledger or still to be counted.
type Records struct {
	// Offsets that Kafka has given out since the streams' declared starts.
	Offsets int64 `json:"offsets"`
	// Rows of the ledger, each with its one outcome, Gaps among them: offsets
	// that Kafka gave to no record.
	Rows int64 `json:"rows"`
	Gaps int64 `json:"gaps"`
	// Waiting are in Kafka and not counted yet.
	Waiting int64 `json:"waiting"`
	// Unaccounted is Offsets - Rows - Waiting; nothing, if the ledger is exact.
	Unaccounted int64 `json:"unaccounted"`
}

// The checks, as findings name them.
const (
	CheckOffsets = "offsets"
	CheckLog     = "log"
	CheckRollup  = "rollup"
	CheckIDs     = "ids"
)

// Checks lists every check.
var Checks = []string{CheckOffsets, CheckLog, CheckRollup, CheckIDs}

// Finding is one thing that is not exact: what, where, how much.
type Finding struct {
	Check     string    `json:"check"`
	Stream    uuid.UUID `json:"stream"`
	Partition int32     `json:"partition"`
	Table     string    `json:"table"`
	Detail    string    `json:"detail"`
}

// Mutex names the query id under which a partition's ledger stands still.
type Mutex func(stream uuid.UUID, partition int32) string

// Options say how to audit.
type Options struct {
	// Mutex is required.
	Mutex Mutex
	// Settle is for how long a difference is looked at again before it is a
	// finding: beside a running rollup, the time that a repair may take.
	Settle time.Duration
	// Progress, where not nil, is told what was finished. It must not block.
	Progress func(Progress)
	// Acknowledged, where not empty, is what ingest processes say that Kafka
	// acknowledged to them.
	Acknowledged []Acknowledged

	// only, where not nil, are the partitions of the live stream to audit;
	// whole, whether everything that belongs to no one partition is audited too.
	only  []int32
	whole bool
	// rest is how many times as long as a statement took the audit rests
	// after it, so that it takes a bounded share of the engine.
	rest    int
	threads int
	bounds  bounds
	// heldFor, where not nil, is told how long a statement under a mutex took.
	heldFor func(time.Duration)
}

// bounds are how much an audit looks at at a time. Tests make them small.
type bounds struct {
	// stretch is how many offsets a stretch has. Distinct offsets are counted in
	// a bitmap, which takes an eighth of a byte each.
	stretch int64
	// keys is about how many ids are grouped at a time, and shared how many keys of
	// more than one row a statement lists: ClickHouse takes parameters of up to 128
	// KiB, as they are encoded in the URL.
	keys, shared int64
	// slice is how many rows of the ledger are looked at under the mutex at a
	// time.
	slice int64
	// held is how many rows a statement may read under the mutex. Where it would
	// read more, it reads without it, and looks again at what differs.
	held int64
}

var defaultBounds = bounds{stretch: 1 << 20, keys: 1 << 20, shared: 5_000, slice: 250_000, held: 4_000_000}

// Progress says how far an audit is.
type Progress struct {
	Done, Steps int
	Step        string // what was finished, such as "usage.events.v1/3: offsets"
	Took        time.Duration
}

// Run audits every stream that the ledger knows. An error means that it could
// not tell.
func Run(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, options Options) (*Report, error) {
	options.whole = true
	return run(ctx, client, admin, options)
}

func run(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, options Options) (*Report, error) {
	began := time.Now()
	report := &Report{
		Outcomes: map[string]int64{}, Partitions: []Partition{}, Findings: []Finding{}, Unclear: []string{}, Unfinished: []UnfinishedErasure{},
		Began: began.UTC().Format(time.RFC3339Nano),
	}
	a := newAuditor(client, options)
	streams, err := readStreams(ctx, client)
	if err != nil {
		return nil, err
	}
	live, err := kafka.DescribeStream(ctx, admin, kafka.TopicEvents)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	log := logBounds{admin: admin, topic: live.Topic}
	if options.whole {
		if err := a.coversLiveTopic(ctx, &log, live, streams); err != nil {
			return nil, err
		}
	}
	a.plan(streams, live.ID)
	for _, s := range streams {
		isLive := s.id == live.ID
		for partition := range s.partitions {
			if !a.covers(isLive, partition) {
				continue
			}
			p := &Partition{
				Stream: s.id, Topic: s.topic, Partition: partition, Start: s.starts[partition],
				LogBegin: -1, LogEnd: -1, Acknowledged: -1, Outcomes: map[string]int64{},
			}
			if err := a.partition(ctx, p); err != nil {
				return nil, err
			}
			if isLive {
				// The log's end is read after the ledger's: what is in the
				// ledger was in the log before.
				if err := a.bounds(ctx, &log, p); err != nil {
					return nil, err
				}
			}
			report.Partitions = append(report.Partitions, *p)
		}
	}
	if err := a.ids(ctx, report.Partitions); err != nil {
		return nil, err
	}
	if options.whole {
		if err := a.strangers(ctx); err != nil {
			return nil, err
		}
		err := a.step(ctx, Partition{}, "erasures", func(ctx context.Context) (err error) {
			report.Unfinished, err = a.erasures(ctx, true)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	a.repeated(Partition{Stream: live.ID})
	report.conclude(live.ID, a)
	report.Millis = time.Since(began).Milliseconds()
	return report, nil
}

// conclude adds up what the audit found.
func (r *Report) conclude(live uuid.UUID, a *auditor) {
	for _, p := range r.Partitions {
		for outcome, n := range p.Outcomes {
			r.Outcomes[outcome] += n
		}
		if p.Stream == live && p.LogEnd >= 0 {
			r.Records.Offsets += p.LogEnd - p.Start
			r.Records.Rows += p.Rows
			r.Records.Gaps += p.Outcomes["gap"]
			r.Records.Waiting += p.LogEnd - p.Position
		}
	}
	r.Records.Unaccounted = r.Records.Offsets - r.Records.Rows - r.Records.Waiting
	maps.DeleteFunc(r.Outcomes, func(_ string, n int64) bool { return n == 0 })
	for _, f := range a.findings {
		if !slices.Contains(r.Findings, f) { // two checks may see the same
			r.Findings = append(r.Findings, f)
		}
	}
	r.Unclear = append(r.Unclear, a.unclear...)
	r.Exact = len(r.Findings) == 0 && len(r.Unclear) == 0
}

// partition audits one partition by itself, but for its ids and its log.
func (a *auditor) partition(ctx context.Context, p *Partition) error {
	end, err := a.end(ctx, *p)
	if err != nil {
		return err
	}
	p.Position, p.lastBlock = end.position, end.lo
	err = a.step(ctx, *p, "offsets", func(ctx context.Context) error {
		return a.offsets(ctx, p, end)
	})
	if err != nil {
		return err
	}
	return a.rollups(ctx, *p)
}

// plan counts the steps, for progress.
func (a *auditor) plan(streams []stream, live uuid.UUID) {
	for _, s := range streams {
		for partition := range s.partitions {
			if a.covers(s.id == live, partition) {
				a.steps += len(tables.Rollups) + 3 // offsets, what changed meanwhile, ids
			}
		}
	}
	a.steps++ // the id look-up
	if a.options.whole {
		a.steps += 3 // ids twice, strangers, erasures
	}
}

// covers reports whether a partition is this audit's to look at.
func (a *auditor) covers(live bool, partition int32) bool {
	if a.options.only == nil {
		return true
	}
	return live && slices.Contains(a.options.only, partition) || !live && a.options.whole
}

// coversLiveTopic makes sure that what is audited is what is being produced to:
// a topic that the ledger does not know must be empty.
func (a *auditor) coversLiveTopic(ctx context.Context, log *logBounds, live kafka.Stream, streams []stream) error {
	at := Partition{Stream: live.ID}
	if i := slices.IndexFunc(streams, func(s stream) bool { return s.id == live.ID }); i >= 0 {
		if s := streams[i]; s.partitions != live.Partitions {
			a.find(at, CheckLog, tables.Streams, "%s has %d partitions and was adopted with %d", live.Topic, live.Partitions, s.partitions)
		}
		return nil
	}
	waiting := int64(0)
	for partition := range live.Partitions {
		_, end, err := log.of(ctx, partition, 0)
		if err != nil {
			return err
		}
		waiting += end
	}
	if waiting > 0 || len(streams) > 0 {
		a.find(at, CheckLog, tables.Streams, "%s is a stream that the ledger does not know, with %d records that are not counted", live.Topic, waiting)
	}
	return nil
}

// bounds compares where the ledger ends with where Kafka's log begins and ends,
// and with what Kafka acknowledged.
func (a *auditor) bounds(ctx context.Context, log *logBounds, p *Partition) error {
	begin, end, err := log.of(ctx, p.Partition, max(p.Position, acknowledged(a.options.Acknowledged, p.Partition)))
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("audit: %w", context.Cause(ctx))
		}
		a.unclear = append(a.unclear, fmt.Sprintf("the log of %s/%d: %v", p.Topic, p.Partition, err))
		return nil
	}
	p.LogBegin, p.LogEnd = begin, end
	if p.Position > end {
		a.find(*p, CheckLog, tables.Ledger, "ends at offset %d and Kafka's log at %d: the log has lost records", p.Position-1, end-1)
	}
	if begin > p.Position {
		a.find(*p, CheckLog, tables.Ledger, "ends at offset %d and Kafka's log begins at %d: %d records were deleted before they were counted", p.Position-1, begin, begin-p.Position)
	}
	for _, said := range a.options.Acknowledged {
		a.acknowledged(p, said)
	}
	return nil
}

// logBounds are where the live topic's log begins and ends. A broker that does
// not answer leaves only its own partitions unknown.
type logBounds struct {
	admin        *kadm.Client
	topic        string
	begins, ends map[int32]int64 // by partition; nil: never listed
	err          error           // what was not answered
}

// of returns the bounds of one partition. They are listed again where the end
// lies below what it must at least be: it may have moved since.
func (l *logBounds) of(ctx context.Context, partition int32, atLeast int64) (begin, end int64, err error) {
	if l.ends == nil {
		l.list(ctx)
	}
	begin, end, err = l.known(partition)
	if err != nil || end < atLeast {
		l.list(ctx)
		return l.known(partition)
	}
	return begin, end, nil
}

func (l *logBounds) known(partition int32) (begin, end int64, err error) {
	begin, okBegin := l.begins[partition]
	end, okEnd := l.ends[partition]
	switch {
	case okBegin && okEnd:
		return begin, end, nil
	case l.err != nil:
		return 0, 0, l.err
	default:
		return 0, 0, errors.New("no broker answered for it")
	}
}

func (l *logBounds) list(ctx context.Context) {
	var beginErr, endErr error
	l.begins, beginErr = kafka.LogStarts(ctx, l.admin, l.topic)
	l.ends, endErr = kafka.LogEnds(ctx, l.admin, l.topic)
	l.err = errors.Join(beginErr, endErr)
}

type stream struct {
	id         uuid.UUID
	topic      string
	partitions int32
	starts     []int64
}

var streamsSQL = readSQL("streams.sql")

// readStreams lists the streams that the ledger knows, the latest of a topic
// first.
func readStreams(ctx context.Context, client *clickhouse.Client) ([]stream, error) {
	rows, err := client.Conn().Query(ctx, streamsSQL)
	if err != nil {
		return nil, fmt.Errorf("audit: read streams: %w", err)
	}
	defer rows.Close()
	var streams []stream
	for rows.Next() {
		var s stream
		if err := rows.Scan(&s.id, &s.topic, &s.partitions, &s.starts); err != nil {
			return nil, fmt.Errorf("audit: read streams: %w", err)
		}
		// A stream that two adopted at once, or a row not merged yet, is one:
		// the rollup goes by the latest.
		if !slices.ContainsFunc(streams, func(other stream) bool { return other.id == s.id }) {
			streams = append(streams, s)
		}
	}
	return streams, rows.Err()
}
