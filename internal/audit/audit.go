// Package audit proves that the figures are right: that every Kafka offset
// below the ledger's end is in the ledger exactly once, that every rollup
// equals the ledger, and that no event id was recorded twice.
//
// In flow the ledger, the rollups and Kafka's log bounds; out flows a Report.
// Each statement that compares runs under its partition's mutex, in which
// nothing writes. The last block of a partition may still be short in its views
// after a crash, until a rollup has taken the partition over; a difference is
// therefore looked at again for some seconds before it is a finding. Where no
// rollup runs, the caller repairs the last blocks first (rollup.RepairLast).
// It changes nothing and can be cut off at any time.
package audit

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
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
	return strings.TrimSpace(string(text))
}

var (
	partitionsSQL   = readSQL("partitions.sql")
	idsSQL          = readSQL("ids.sql")
	outcomesSQL     = readSQL("outcomes.sql")
	differencesSQL  = rollupDifferences()
	selectStreams   = `SELECT stream, topic, partitions, starts FROM usage_streams ORDER BY topic, adopted_at, stream`
	auditMarginDays = 2
)

// rollupDifferences renders one comparison for each rollup. Where a rollup
// has a retention, the comparison stays clear of its edge, where rows are
// being deleted as it looks.
func rollupDifferences() []string {
	tmpl := template.Must(template.New("rollup_difference").Parse(readSQL("rollup_difference.sql")))
	rendered := make([]string, len(tables.Rollups))
	for i, rollup := range tables.Rollups {
		var text bytes.Buffer
		err := tmpl.Execute(&text, struct {
			tables.Rollup
			AuditDays int
		}{rollup, rollup.RetentionDays - auditMarginDays})
		if err != nil {
			panic(err)
		}
		rendered[i] = text.String()
	}
	return rendered
}

// Report is what an audit found. Figures are exact; credits are in
// millionths, as text, since their sums may exceed 64 bits.
type Report struct {
	Exact      bool             `json:"exact"`
	Partitions []Partition      `json:"partitions"`
	Outcomes   map[string]int64 `json:"outcomes"`
	Findings   []Finding        `json:"findings"`
}

// Partition is what the ledger holds of one partition of one stream.
type Partition struct {
	Stream    uuid.UUID `json:"stream"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Start     int64     `json:"start"`    // where its run begins
	Position  int64     `json:"position"` // the first offset that is not in it
	Rows      int64     `json:"rows"`
	// LogEnd is Kafka's end, or -1 for a stream that is not the topic's any more.
	LogEnd int64 `json:"log_end"`
}

// Finding is one thing that is not exact: what, where, how much.
type Finding struct {
	Check     string    `json:"check"` // offsets, log, rollup, ids
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
}

// Run audits every stream that the ledger knows. An error means that it could
// not tell.
func Run(ctx context.Context, client *clickhouse.Client, admin *kadm.Client, options Options) (*Report, error) {
	report := &Report{Outcomes: map[string]int64{}, Partitions: []Partition{}, Findings: []Finding{}}
	streams, err := readStreams(ctx, client)
	if err != nil {
		return nil, err
	}
	live, err := kafka.DescribeStream(ctx, admin, kafka.TopicEvents)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := report.coversLiveTopic(ctx, admin, live, streams); err != nil {
		return nil, err
	}
	for _, s := range streams {
		// A stream that is not the topic's any more has no log to compare with.
		isLive := s.id == live.ID
		var begins, ends kadm.ListedOffsets
		if isLive {
			if begins, ends, err = logBounds(ctx, admin, s); err != nil {
				return nil, err
			}
		}
		for partition := range s.partitions {
			p := Partition{Stream: s.id, Topic: s.topic, Partition: partition, Start: s.starts[partition], LogEnd: -1}
			a := &auditor{client: client, report: report, stream: s.id, partition: partition, mutex: options.Mutex(s.id, partition), settle: options.Settle}
			// The log's end is read after the ledger's: what is in the ledger
			// was in the log before.
			if err := a.offsets(ctx, &p); err != nil {
				return nil, err
			}
			if isLive {
				end, err := lookUp(ends, s.topic, partition)
				if err != nil {
					return nil, err
				}
				begin, err := lookUp(begins, s.topic, partition)
				if err != nil {
					return nil, err
				}
				if end < p.Position { // it may have moved since it was listed
					if end, err = a.logEnd(ctx, admin, s.topic); err != nil {
						return nil, err
					}
				}
				p.LogEnd = end
				a.bounds(p, begin)
			}
			if err := errors.Join(a.rollups(ctx), a.ids(ctx), a.outcomes(ctx)); err != nil {
				return nil, err
			}
			report.Partitions = append(report.Partitions, p)
		}
	}
	report.Exact = len(report.Findings) == 0
	return report, nil
}

// coversLiveTopic makes sure that what is audited is what is being produced to:
// a topic that the ledger does not know must be empty.
func (r *Report) coversLiveTopic(ctx context.Context, admin *kadm.Client, live kafka.Stream, streams []stream) error {
	for _, s := range streams {
		if s.id != live.ID {
			continue
		}
		if s.partitions != live.Partitions {
			r.Findings = append(r.Findings, Finding{
				Check: "log", Stream: live.ID, Table: tables.Streams,
				Detail: fmt.Sprintf("%s has %d partitions and was adopted with %d", live.Topic, live.Partitions, s.partitions),
			})
		}
		return nil
	}
	ends, err := admin.ListEndOffsets(ctx, live.Topic)
	if err != nil {
		return fmt.Errorf("audit: list end offsets: %w", err)
	}
	waiting := int64(0)
	for partition := range live.Partitions {
		end, err := lookUp(ends, live.Topic, partition)
		if err != nil {
			return err
		}
		waiting += end
	}
	if waiting > 0 || len(streams) > 0 {
		r.Findings = append(r.Findings, Finding{
			Check: "log", Stream: live.ID, Table: tables.Streams,
			Detail: fmt.Sprintf("%s is a stream that the ledger does not know, with %d records that are not counted", live.Topic, waiting),
		})
	}
	return nil
}

type stream struct {
	id         uuid.UUID
	topic      string
	partitions int32
	starts     []int64
}

func readStreams(ctx context.Context, client *clickhouse.Client) ([]stream, error) {
	rows, err := client.Conn().Query(ctx, selectStreams)
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
		// A stream that two adopted at once, or a row not merged yet, is one.
		if !slices.ContainsFunc(streams, func(other stream) bool { return other.id == s.id }) {
			streams = append(streams, s)
		}
	}
	return streams, rows.Err()
}

// logBounds lists where the topic's log begins and ends.
func logBounds(ctx context.Context, admin *kadm.Client, s stream) (begins, ends kadm.ListedOffsets, err error) {
	if begins, err = admin.ListStartOffsets(ctx, s.topic); err != nil {
		return nil, nil, fmt.Errorf("audit: list start offsets: %w", err)
	}
	if ends, err = admin.ListEndOffsets(ctx, s.topic); err != nil {
		return nil, nil, fmt.Errorf("audit: list end offsets: %w", err)
	}
	return begins, ends, nil
}

func lookUp(offsets kadm.ListedOffsets, topic string, partition int32) (int64, error) {
	offset, ok := offsets.Lookup(topic, partition)
	if !ok || offset.Err != nil {
		return 0, fmt.Errorf("audit: offset of %s/%d: found %v: %w", topic, partition, ok, offset.Err)
	}
	return offset.Offset, nil
}

// auditor audits one partition.
type auditor struct {
	client    *clickhouse.Client
	report    *Report
	stream    uuid.UUID
	partition int32
	mutex     string
	settle    time.Duration
}

func (a *auditor) find(check, table, format string, args ...any) {
	a.report.Findings = append(a.report.Findings, Finding{
		Check: check, Stream: a.stream, Partition: a.partition, Table: table, Detail: fmt.Sprintf(format, args...),
	})
}

// query runs a comparison under the partition's mutex and hands each row of
// text to onRow.
func (a *auditor) query(ctx context.Context, sql string, onRow func(fields []string) error) error {
	return a.client.SelectText(ctx, clickhouse.Statement{
		SQL:    sql,
		Params: map[string]string{"stream": a.stream.String(), "partition": strconv.Itoa(int(a.partition))},
		Mutex:  a.mutex,
	}, onRow)
}

func (a *auditor) offsets(ctx context.Context, p *Partition) error {
	p.Position = p.Start
	return a.query(ctx, partitionsSQL, func(fields []string) error {
		numbers, err := integers(fields[2:])
		if err != nil {
			return err
		}
		rows, offsets, lowest, highest, lastHi := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
		p.Rows, p.Position = rows, highest+1
		if lowest != p.Start {
			a.find("offsets", tables.Ledger, "begins at offset %d and was declared to begin at %d", lowest, p.Start)
		}
		if rows != offsets {
			a.find("offsets", tables.Ledger, "%d rows for %d distinct offsets: %d offsets more than once", rows, offsets, rows-offsets)
		}
		if span := highest - lowest + 1; offsets != span {
			a.find("offsets", tables.Ledger, "%d of the offsets %d to %d are missing", span-offsets, lowest, highest)
		}
		if lastHi != highest+1 {
			a.find("offsets", tables.Ledger, "ends at offset %d, inside a block that ends at %d", highest, lastHi-1)
		}
		return nil
	})
}

func (a *auditor) bounds(p Partition, begin int64) {
	if p.Position > p.LogEnd {
		a.find("log", tables.Ledger, "ends at offset %d and Kafka's log at %d: the log has lost records", p.Position-1, p.LogEnd-1)
	}
	if begin > p.Position {
		a.find("log", tables.Ledger, "ends at offset %d and Kafka's log begins at %d: %d records were deleted before they were counted", p.Position-1, begin, begin-p.Position)
	}
}

func (a *auditor) logEnd(ctx context.Context, admin *kadm.Client, topic string) (int64, error) {
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("audit: list end offsets: %w", err)
	}
	return lookUp(ends, topic, a.partition)
}

func (a *auditor) rollups(ctx context.Context) error {
	for i, rollup := range tables.Rollups {
		err := a.settled(ctx, func() error {
			return a.query(ctx, differencesSQL[i], func(fields []string) error {
				if fields[0] != "0" {
					a.find("rollup", rollup.Table, "differs from the ledger in %s buckets, by %s millionths of a credit, %s messages and %s events in all",
						fields[0], fields[1], fields[2], fields[3])
				}
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("audit: compare %s: %w", rollup.Table, err)
		}
	}
	return nil
}

// settleWait lies between two looks at a difference.
const settleWait = 500 * time.Millisecond

// settled repeats a comparison until it finds nothing, or the time to settle is
// over.
func (a *auditor) settled(ctx context.Context, compare func() error) error {
	before := len(a.report.Findings)
	began := time.Now()
	for {
		if err := compare(); err != nil {
			return err
		}
		if len(a.report.Findings) == before || time.Since(began) >= a.settle {
			return nil
		}
		timer := time.NewTimer(settleWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		a.report.Findings = a.report.Findings[:before]
	}
}

func (a *auditor) ids(ctx context.Context) error {
	return a.settled(ctx, func() error { return a.compareIDs(ctx) })
}

func (a *auditor) compareIDs(ctx context.Context) error {
	return a.query(ctx, idsSQL, func(fields []string) error {
		numbers, err := integers(fields)
		if err != nil {
			return err
		}
		recorded, ids, lookedUp := numbers[0], numbers[1], numbers[2]
		if recorded != ids {
			a.find("ids", tables.Ledger, "%d events were recorded under %d ids: %d counted more than once", recorded, ids, recorded-ids)
		}
		if lookedUp != recorded {
			a.find("ids", tables.IDs, "holds %d ids of %d events", lookedUp, recorded)
		}
		return nil
	})
}

func (a *auditor) outcomes(ctx context.Context) error {
	return a.query(ctx, outcomesSQL, func(fields []string) error {
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return fmt.Errorf("audit: outcomes: %w", err)
		}
		a.report.Outcomes[fields[0]] += n
		return nil
	})
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
