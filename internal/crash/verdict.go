package crash

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/kafka"
	"agentmeter/internal/pause"
	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
	"agentmeter/schemas/usagev1"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

func readSQL(name string) string {
	text, err := sqlFiles.ReadFile("sql/" + name)
	if err != nil {
		panic(err) // embedded above
	}
	return string(text)
}

var (
	ledgerSQL   = readSQL("ledger.sql")
	progressSQL = readSQL("progress.sql")
	idsSQL      = readSQL("ids.sql")
	growthSQL   = readSQL("growth.sql")
	batchesSQL  = readSQL("batches.sql")
	tierSQL     = template.Must(template.New("tier").Parse(readSQL("tier.sql")))
)

// Verdict is what a comparison found. All of its numbers but the first three
// are zero where counting is right.
type Verdict struct {
	Offsets  int `json:"offsets"`  // in Kafka's log
	Accepted int `json:"accepted"` // ids that count, playground included
	Buckets  int `json:"buckets"`  // compared, of all rollups

	Lost          int `json:"lost"`           // acknowledged ids that are not accepted, or not even in Kafka's log
	Doubled       int `json:"doubled"`        // ids that are accepted more than once
	Foreign       int `json:"foreign"`        // records or rows that nobody sent
	WrongRows     int `json:"wrong_rows"`     // ledger rows that are missing, repeated, or not what the record says
	ViewsShort    int `json:"views_short"`    // events missing from rollups
	ViewsOver     int `json:"views_over"`     // events too many in rollups
	WrongBuckets  int `json:"wrong_buckets"`  // buckets with any wrong figure
	WrongAnswers  int `json:"wrong_answers"`  // figures of the dashboard
	DeadLetters   int `json:"missing_dead"`   // invalid records that the dead-letter topic lacks
	IDsAstray     int `json:"ids_astray"`     // entries that the id look-up lacks or has too many of
	AuditFindings int `json:"audit_findings"` // or 1, where the audit could not tell

	// Notes say what was found, the first hundred.
	Notes []string `json:"notes"`
}

// Right reports whether nothing is wrong.
func (v *Verdict) Right() bool {
	return v.Lost+v.Doubled+v.Foreign+v.WrongRows+v.ViewsShort+v.ViewsOver+v.WrongBuckets+v.WrongAnswers+v.DeadLetters+v.IDsAstray+v.AuditFindings == 0
}

func (v *Verdict) String() string {
	return fmt.Sprintf("%d offsets, %d accepted ids, %d buckets: lost %d, doubled %d, foreign %d, wrong rows %d, views short %d, views over %d, wrong buckets %d, wrong answers %d, dead letters missing %d, ids astray %d, audit findings %d",
		v.Offsets, v.Accepted, v.Buckets, v.Lost, v.Doubled, v.Foreign, v.WrongRows, v.ViewsShort, v.ViewsOver, v.WrongBuckets, v.WrongAnswers, v.DeadLetters, v.IDsAstray, v.AuditFindings)
}

func (v *Verdict) note(format string, args ...any) {
	if len(v.Notes) < 100 {
		v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
	}
}

// judge compares what the producers know with what the product says. It keeps
// what it has read of Kafka's log, which never changes, between verdicts.
type judge struct {
	stack   *stack
	book    *book
	next    []int64      // of each partition, the first offset that was not read
	rows    [][]expected // of each partition, what each offset has to be
	first   map[eventKey]place
	invalid map[place][]byte // the records that have to be in the dead-letter topic
	foreign int
	letters map[place][]byte
	dead    int64 // the dead-letter topic's first offset that was not read
	buckets map[bucket]figures
}

type place struct {
	partition int32
	offset    int64
}

// expected is what a ledger row has to be.
type expected struct {
	outcome schemas.Outcome
	event   *schemas.Event // nil where nothing could be decoded
}

// bucket is one row of a rollup.
type bucket struct {
	table     string
	partition int32
	workspace schemas.WorkspaceID
	at        int64 // seconds
	agent     schemas.AgentID
}

type figures struct {
	credits  int64
	messages int64
	events   int64
}

func newJudge(s *stack, b *book) *judge {
	return &judge{
		stack: s, book: b,
		next: make([]int64, s.partitions), rows: make([][]expected, s.partitions),
		first: make(map[eventKey]place), invalid: make(map[place][]byte), letters: make(map[place][]byte),
		buckets: make(map[bucket]figures),
	}
}

// haltedError means that a partition stands still, so that nothing more will
// be counted.
type haltedError struct{ reason string }

func (e haltedError) Error() string { return "crash: halted: " + e.reason }

// waitCounted waits until every record in Kafka's log is confirmed. How long that
// takes depends on how much there is: it gives up when nothing more is confirmed.
func (j *judge) waitCounted(ctx context.Context) error {
	counted, since := int64(-1), time.Now()
	for {
		confirmed, err := j.confirmed(ctx)
		if err == nil || errors.As(err, new(haltedError)) {
			return err
		}
		if confirmed > counted {
			counted, since = confirmed, time.Now()
		}
		if time.Since(since) > patience || !pause.For(ctx, 20*time.Millisecond) {
			return fmt.Errorf("crash: nothing more was counted for %s: %w", time.Since(since).Round(time.Second), err)
		}
	}
}

// confirmed says how many records are, and what is left as an error.
func (j *judge) confirmed(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ends, err := j.stack.admin.ListEndOffsets(ctx, kafka.TopicEvents)
	if err != nil {
		return 0, err
	}
	positions, reason, err := j.positions(ctx)
	if err != nil {
		return 0, err
	}
	if reason != "" {
		return 0, haltedError{reason}
	}
	var sum int64
	var faults []error
	for partition := range j.stack.partitions {
		sum += positions[partition]
		end, ok := ends.Lookup(kafka.TopicEvents, partition)
		if !ok || end.Err != nil {
			faults = append(faults, fmt.Errorf("partition %d: no end", partition))
		} else if end.Offset > 0 && positions[partition] < end.Offset {
			faults = append(faults, fmt.Errorf("partition %d is confirmed to %d of %d", partition, positions[partition], end.Offset))
		}
	}
	return sum, errors.Join(faults...)
}

// positions reads how far each partition is confirmed, as the rollups say.
func (j *judge) positions(ctx context.Context) (positions map[int32]int64, halted string, err error) {
	text, err := j.stack.sql(ctx, progressSQL)
	if err != nil {
		return nil, "", err
	}
	positions = make(map[int32]int64)
	for fields := range rowsOf(text) {
		partition, position := integer(fields[0]), integer(fields[1])
		positions[int32(partition)] = position
		if fields[2] != "" {
			halted = fields[2]
		}
	}
	return positions, halted, nil
}

// verdict compares everything. The product must be at rest: everything counted,
// nobody sending.
func (j *judge) verdict(ctx context.Context) (*Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	v, err := j.figures(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.compareAnswers(ctx, v); err != nil {
		return nil, fmt.Errorf("crash: ask the dashboard: %w", err)
	}
	if err := j.audit(ctx, v); err != nil {
		return nil, fmt.Errorf("crash: audit: %w", err)
	}
	return v, nil
}

// figures compares what is stored, and asks nobody's opinion.
func (j *judge) figures(ctx context.Context) (*Verdict, error) {
	v := &Verdict{}
	if err := j.readLog(ctx, v); err != nil {
		return nil, fmt.Errorf("crash: read Kafka's log: %w", err)
	}
	if err := j.readLetters(ctx); err != nil {
		return nil, fmt.Errorf("crash: read dead letters: %w", err)
	}
	if err := j.compareLedger(ctx, v); err != nil {
		return nil, fmt.Errorf("crash: read the ledger: %w", err)
	}
	if err := j.compareTiers(ctx, v); err != nil {
		return nil, fmt.Errorf("crash: read the rollups: %w", err)
	}
	return v, nil
}

// readTopic reads a topic's records from the given offsets to its present end.
func (j *judge) readTopic(ctx context.Context, topic string, from []int64, each func(*kgo.Record)) error {
	ends, err := j.stack.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	offsets := make(map[int32]kgo.Offset)
	left := 0
	for partition := range from {
		end, ok := ends.Lookup(topic, int32(partition))
		if !ok || end.Err != nil {
			return fmt.Errorf("partition %d: no end: %w", partition, end.Err)
		}
		if end.Offset > from[partition] {
			offsets[int32(partition)] = kgo.NewOffset().At(from[partition])
			left++
		}
	}
	if left == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(j.stack.seeds()...), kgo.ClientID("crash-judge"),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < from[r.Partition] {
				return
			}
			each(r)
			from[r.Partition] = r.Offset + 1
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset+1 == end.Offset {
				left--
			}
		})
	}
	return nil
}

// readLog reads what is new in Kafka's log, and works out what each offset has
// to become: the first copy of an id counts, in the order of the log.
func (j *judge) readLog(ctx context.Context, v *Verdict) error {
	j.book.mu.Lock()
	defer j.book.mu.Unlock()
	var decoder schemas.EventDecoder
	err := j.readTopic(ctx, kafka.TopicEvents, j.next, func(r *kgo.Record) {
		row := expected{outcome: schemas.OutcomeInvalid}
		defer func() {
			j.rows[r.Partition] = append(j.rows[r.Partition], row)
			if row.outcome == schemas.OutcomeInvalid {
				j.invalid[place{r.Partition, r.Offset}] = r.Value
			}
		}()
		if int64(len(j.rows[r.Partition])) != r.Offset {
			v.note("partition %d: offset %d follows %d", r.Partition, r.Offset, len(j.rows[r.Partition])-1)
			v.WrongRows++
		}
		var e schemas.Event
		if err := decoder.Decode(r.Value, &e); err != nil {
			if j.book.poison[string(r.Value)] == nil {
				j.foreign++
				v.note("partition %d offset %d: a record that nobody sent", r.Partition, r.Offset)
			}
			return
		}
		key := eventKey{e.Workspace, e.ID}
		listed := j.book.entries[key]
		if listed == nil {
			j.foreign++
			v.note("partition %d offset %d: event %v, which nobody sent", r.Partition, r.Offset, key)
			return
		}
		row.event = &listed.event
		payload := e.PayloadHash()
		if payload != listed.event.PayloadHash() {
			known := slices.ContainsFunc(listed.others, func(other schemas.Event) bool { return other.PayloadHash() == payload })
			if !known {
				j.foreign++
				v.note("partition %d offset %d: event %v with a payload that nobody sent", r.Partition, r.Offset, key)
			}
			row.event = &e
			return // the first was acknowledged before this was sent
		}
		if listed.misplaced {
			return
		}
		if _, seen := j.first[key]; seen {
			row.outcome = schemas.OutcomeDuplicate
			return
		}
		j.first[key] = place{r.Partition, r.Offset}
		switch {
		case e.Adjustment != nil:
			row.outcome = schemas.OutcomeAdjustment
		case e.Playground():
			row.outcome = schemas.OutcomePlayground
		default:
			row.outcome = schemas.OutcomeCounted
		}
		j.tally(r.Partition, row)
	})
	if err != nil {
		return err
	}
	v.Foreign += j.foreign
	for _, rows := range j.rows {
		v.Offsets += len(rows)
	}
	return nil
}

// tally adds an accepted row to the buckets that it belongs to.
func (j *judge) tally(partition int32, row expected) {
	for _, tier := range tables.Rollups {
		if (row.outcome == schemas.OutcomePlayground) != (tier.Table == tables.Playground.Table) {
			continue
		}
		key := bucket{table: tier.Table, partition: partition, workspace: row.event.Workspace, at: tier.Step.Floor(row.event.OccurredAt).Unix()}
		if tier.ByAgent {
			key.agent = row.event.Agent
		}
		f := j.buckets[key]
		if tier.Credits {
			f.credits += int64(row.event.Credits)
		}
		f.messages += row.event.Messages
		f.events++
		j.buckets[key] = f
	}
}

func (j *judge) readLetters(ctx context.Context) error {
	from := []int64{j.dead}
	var faults []error
	err := j.readTopic(ctx, kafka.TopicDeadLetter, from, func(r *kgo.Record) {
		var letter usagev1.DeadLetter
		if err := letter.UnmarshalVT(r.Value); err != nil {
			faults = append(faults, fmt.Errorf("dead letter %d: %w", r.Offset, err))
			return
		}
		j.letters[place{letter.Partition, letter.Offset}] = letter.Value
	})
	j.dead = from[0]
	return errors.Join(append(faults, err)...)
}

// rowsOf are the rows of a TabSeparated answer.
func rowsOf(text string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(text) {
			if !yield(strings.Split(strings.TrimSuffix(line, "\n"), "\t")) {
				return
			}
		}
	}
}

// integer reads a number of the engine's.
func integer(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("crash: the engine answered %q for a number", text))
	}
	return n
}

// compareLedger holds the ledger to Kafka's log, and the producers' list to
// both.
func (j *judge) compareLedger(ctx context.Context, v *Verdict) error {
	text, err := j.stack.sql(ctx, ledgerSQL)
	if err != nil {
		return err
	}
	accepted := make(map[eventKey]int)
	seen := make([]int64, j.stack.partitions) // the next offset of each
	for fields := range rowsOf(text) {
		partition, offset, outcome := int32(integer(fields[0])), integer(fields[1]), schemas.Outcome(integer(fields[2]))
		key := eventKey{schemas.WorkspaceID(fields[5]), fields[6]}
		switch outcome {
		case schemas.OutcomeCounted, schemas.OutcomePlayground, schemas.OutcomeAdjustment:
			accepted[key]++
		default: // weighs nothing
		}
		if partition < 0 || partition >= j.stack.partitions {
			v.WrongRows++
			v.note("ledger: partition %d", partition)
			continue
		}
		if offset != seen[partition] {
			v.WrongRows++
			v.note("ledger: partition %d: offset %d where %d is due", partition, offset, seen[partition])
		}
		seen[partition] = offset + 1
		if offset < 0 || offset >= int64(len(j.rows[partition])) {
			v.WrongRows++
			v.note("ledger: partition %d: offset %d is not in Kafka's log", partition, offset)
			continue
		}
		if problem := j.rows[partition][offset].differs(outcome, fields); problem != "" {
			v.WrongRows++
			v.note("ledger: partition %d offset %d: %s", partition, offset, problem)
		}
	}
	for partition, rows := range j.rows {
		if missing := int64(len(rows)) - seen[partition]; missing > 0 {
			v.WrongRows += int(missing)
			v.note("ledger: partition %d ends at %d, Kafka's log at %d", partition, seen[partition], len(rows))
		}
	}
	j.compareIDs(v, accepted)
	for at, value := range j.invalid {
		if letter, ok := j.letters[at]; !ok || !bytes.Equal(letter, value) {
			v.DeadLetters++
			v.note("partition %d offset %d is invalid, and not in the dead-letter topic as it was sent", at.partition, at.offset)
		}
	}
	ids, err := j.stack.sql(ctx, idsSQL)
	if err != nil {
		return err
	}
	for fields := range rowsOf(ids) {
		if rows, distinct := integer(fields[0]), integer(fields[1]); rows != distinct || rows != int64(len(j.first)) {
			v.IDsAstray += int(max(rows-distinct, rows-int64(len(j.first)), int64(len(j.first))-rows))
			v.note("id look-up: %d rows of %d ids, %d due", rows, distinct, len(j.first))
		}
	}
	return nil
}

// compareIDs holds what was accepted to the producers' list.
func (j *judge) compareIDs(v *Verdict, accepted map[eventKey]int) {
	j.book.mu.Lock()
	defer j.book.mu.Unlock()
	for key, e := range j.book.entries {
		n := accepted[key]
		_, logged := j.first[key]
		switch {
		case e.misplaced && n > 0:
			v.Doubled += n
			v.note("event %v is accepted from the wrong partition", key)
		case e.misplaced:
		case e.acked && !logged:
			v.Lost++
			v.note("event %v was acknowledged and is not in Kafka's log", key)
		case n == 0 && (e.acked || logged):
			v.Lost++
			v.note("event %v was acknowledged (%t) and is not accepted", key, e.acked)
		}
		if n > 1 {
			v.Doubled += n - 1
			v.note("event %v is accepted %d times", key, n)
		}
		if n > 0 {
			v.Accepted++
		}
	}
	for key, n := range accepted {
		if j.book.entries[key] == nil {
			v.Foreign += n
			v.note("ledger: event %v, which nobody sent", key)
		}
	}
}

// differs says what is wrong with a ledger row, or "".
func (x expected) differs(outcome schemas.Outcome, fields []string) string {
	if outcome != x.outcome {
		return fmt.Sprintf("is %s (%s) and should be %s", outcome, fields[12], x.outcome)
	}
	var credits, messages int64
	switch outcome {
	case schemas.OutcomeCounted, schemas.OutcomeAdjustment:
		credits, messages = int64(x.event.Credits), x.event.Messages
	case schemas.OutcomePlayground:
		messages = x.event.Messages
	default:
		if fields[10] != "0" || fields[11] != "0" {
			return "weighs something and should not"
		}
		return ""
	}
	want := []string{string(x.event.Workspace), x.event.ID, string(x.event.Agent), x.event.Channel, fmt.Sprint(x.event.OccurredAt.UnixMicro()), fmt.Sprint(credits), fmt.Sprint(messages)}
	if got := fields[5:12]; !slices.Equal(got, want) {
		return fmt.Sprintf("is %q and should be %q", got, want)
	}
	return ""
}

// compareTiers holds every bucket of every rollup to the producers' list.
func (j *judge) compareTiers(ctx context.Context, v *Verdict) error {
	due := make(map[bucket]figures, len(j.buckets))
	// What is about to be deleted for its age is left out.
	oldest := time.Now().Add(-time.Duration(tables.Minute.RetentionDays-2) * 24 * time.Hour).Unix()
	outside := func(b bucket) bool { return b.table == tables.Minute.Table && b.at < oldest }
	for key, f := range j.buckets {
		if !outside(key) {
			due[key] = f
		}
	}
	v.Buckets = len(due)
	for _, tier := range tables.Rollups {
		var statement strings.Builder
		if err := tierSQL.Execute(&statement, tier); err != nil {
			return err
		}
		text, err := j.stack.sql(ctx, statement.String())
		if err != nil {
			return err
		}
		for fields := range rowsOf(text) {
			key := bucket{
				table: tier.Table, partition: int32(integer(fields[0])), workspace: schemas.WorkspaceID(fields[1]),
				at: integer(fields[2]), agent: schemas.AgentID(fields[3]),
			}
			if outside(key) {
				continue
			}
			v.compareBucket(key, due[key], figures{integer(fields[4]), integer(fields[5]), integer(fields[6])})
			delete(due, key)
		}
	}
	for key, f := range due {
		v.compareBucket(key, f, figures{})
	}
	return nil
}

func (v *Verdict) compareBucket(key bucket, want, got figures) {
	if got == want {
		return
	}
	v.WrongBuckets++
	if got.events < want.events {
		v.ViewsShort += int(want.events - got.events)
	} else {
		v.ViewsOver += int(got.events - want.events)
	}
	v.note("%s, partition %d, %s, %s, agent %q: %+v and should be %+v", key.table, key.partition, key.workspace,
		time.Unix(key.at, 0).UTC().Format(time.RFC3339), key.agent, got, want)
}

// audit asks the product's own audit for its opinion.
func (j *judge) audit(ctx context.Context, v *Verdict) error {
	text, err := j.stack.command(ctx, "audit", "--json", "--kafka", j.stack.addresses["broker"], "--clickhouse", "http://"+j.stack.addresses["engine"])
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	var report struct {
		Findings []struct {
			Check  string `json:"check"`
			Table  string `json:"table"`
			Detail string `json:"detail"`
		} `json:"findings"`
	}
	if json.Unmarshal([]byte(text), &report) != nil || len(report.Findings) == 0 {
		v.AuditFindings++
		v.note("audit: exit status %d: %v", exit.ExitCode(), err)
		return nil //nolint:nilerr // it is in the verdict
	}
	v.AuditFindings += len(report.Findings)
	for _, finding := range report.Findings {
		v.note("audit: %s of %s: %s", finding.Check, finding.Table, finding.Detail)
	}
	return nil
}

// creditsOf reads a decimal figure of the dashboard's into millionths.
func creditsOf(text string) (*big.Int, error) {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("credits %q", text)
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	if !r.IsInt() {
		return nil, fmt.Errorf("credits %q are finer than millionths", text)
	}
	return r.Num(), nil
}
