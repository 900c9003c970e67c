package rollup

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/google/uuid"

	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// fakeEngine answers, over HTTP, the statements that the rollup sends, with the
// semantics that counting rests on: the guard of the conditional insert, views
// within the statement, one statement at a time under a query id until it has
// ended, whatever became of its client. It can be told to misbehave (mishap). A
// statement that it does not know fails the test: what it imitates cannot
// drift from what the rollup sends unseen.
type fakeEngine struct {
	t testing.TB
	// published is called for every progress row, with the engine at rest.
	published func(progressRow)

	inside sync.WaitGroup // statements, whether their clients are there or not

	mu         sync.Mutex
	down       bool
	generation int // statements of an earlier one are void
	running    map[string]bool
	faults     []*mishap
	log        []*statement
	streams    []streamRow
	ledgers    map[ledgerKey][]fakeRow
	views      map[string]map[bucket]sums
	ids        map[schemas.IDHash][]logPlace
	progress   []progressRow
}

type ledgerKey struct {
	stream    string
	partition int32
}

type streamRow struct {
	stream     uuid.UUID
	topic      string
	partitions int32
	starts     []int64
	at         time.Time
}

type progressRow struct {
	stream         uuid.UUID
	partition      int32
	position       int64
	logEnd         int64
	countedThrough time.Time
	halted         string
	haltedFrom     time.Time
	updatedAt      time.Time
	by             string
}

// fakeRow is a ledger row. inViews says, view by view, whether it has it.
type fakeRow struct {
	offset, lo, hi int64
	kafkaTime      time.Time
	outcome        schemas.Outcome
	event          schemas.Event
	inViews        map[string]bool
}

// viewNames are the views in the order in which an insert fills them.
func viewNames() []string {
	names := make([]string, 0, len(tables.Rollups)+1)
	for _, r := range tables.Rollups {
		names = append(names, r.Table)
	}
	return append(names, tables.IDs)
}

type kind string

const (
	kindAppend       kind = "append"
	kindEnd          kind = "end"
	kindShort        kind = "short rollups"
	kindReconcile    kind = "reconcile"
	kindFindIDs      kind = "find ids"
	kindFindPayloads kind = "find payloads"
	kindCountIDs     kind = "count ids"
	kindLoadIDs      kind = "load ids"
	kindProgress     kind = "progress"
	kindConfirmed    kind = "confirmed position"
	kindOther        kind = "other"
)

// statement is one that arrived.
type statement struct {
	kind      kind
	by        string // the user that sent it: which rollup
	table     string
	stream    string
	partition int32
	lo, hi    int64
	params    map[string]string
	mutex     string
	sql       string
	data      []byte

	arrived, began, ended time.Time
	result                string // waiting (216), applied, refused, failed, void
	clientLeft            bool   // before it ended
}

// mishap is how one statement misbehaves.
type mishap struct {
	match func(*statement) bool
	times int // how many statements it strikes; 0 is one

	travels  time.Duration   // before it reaches the engine
	runs     time.Duration   // before its effect
	lingers  time.Duration   // after its effect, still running
	until    <-chan struct{} // instead of runs: it runs for as long
	code     int             // fails with it and without effect
	views    *int            // a view throws after so many have been filled
	drop     bool            // the answer is lost
	stranger bool            // something between answers 200 in the engine's stead
	interior func()          // called with nothing locked, when it begins to run

	struck  int
	reached chan struct{} // closed when it first begins to run
}

func (e *fakeEngine) inject(f *mishap) *mishap {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.times = max(f.times, 1)
	f.reached = make(chan struct{})
	e.faults = append(e.faults, f)
	return f
}

func ofKind(k kind) func(*statement) bool {
	return func(s *statement) bool { return s.kind == k }
}

func ofKindBy(k kind, by string) func(*statement) bool {
	return func(s *statement) bool { return s.kind == k && s.by == by }
}

func newFakeEngine(t testing.TB) *fakeEngine {
	e := &fakeEngine{
		t: t, running: make(map[string]bool), ledgers: make(map[ledgerKey][]fakeRow),
		views: make(map[string]map[bucket]sums), ids: make(map[schemas.IDHash][]logPlace),
	}
	for _, r := range tables.Rollups {
		e.views[r.Table] = make(map[bucket]sums)
	}
	return e
}

// goAway makes the engine vanish: what runs has no effect any more, and nobody
// is answered until it comes back.
func (e *fakeEngine) goAway() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = true
	e.generation++
	clear(e.running)
}

func (e *fakeEngine) comeBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = false
}

// statements returns those that arrived so far and match.
func (e *fakeEngine) statements(match func(*statement) bool) []statement {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []statement
	for _, s := range e.log {
		if match(s) {
			list = append(list, *s)
		}
	}
	return list
}

var (
	insertTable = regexp.MustCompile(`^INSERT INTO (?:\w+\.)?(\w+)`)
	listed      = regexp.MustCompile(`base64Decode\('([^']*)'\)`)
)

// heading is the first line of one of the rollup's statements, by which the
// fake knows it.
func heading(file string) string {
	text, err := sqlFiles.ReadFile("sql/" + file)
	if err != nil {
		panic(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	first, _, _ = strings.Cut(first, "{{")
	return first
}

var directoryEnd, _, _ = strings.Cut(selectDirectoryEnd, "?")

var headings = map[string]kind{
	heading("append_block.sql"):     kindAppend,
	heading("ledger_end.sql"):       kindEnd,
	heading("short_rollups.sql"):    kindShort,
	heading("reconcile_rollup.sql"): kindReconcile,
	heading("reconcile_ids.sql"):    kindReconcile,
	heading("find_ids.sql"):         kindFindIDs,
	heading("find_payloads.sql"):    kindFindPayloads,
	heading("count_ids.sql"):        kindCountIDs,
	heading("load_ids.sql"):         kindLoadIDs,

	heading("confirmed_position.sql"): kindConfirmed,
}

func parseStatement(r *http.Request, body []byte) *statement {
	query := r.URL.Query()
	s := &statement{sql: query.Get("query"), data: body, mutex: query.Get("query_id"), params: make(map[string]string), kind: kindOther}
	if s.sql == "" {
		s.sql, s.data = string(body), nil
	}
	s.by = r.Header.Get("X-ClickHouse-User")
	if user, _, ok := r.BasicAuth(); ok {
		s.by = user
	}
	for name, values := range query {
		if name, ok := strings.CutPrefix(name, "param_"); ok {
			s.params[name] = values[0]
		}
	}
	s.stream = s.params["stream"]
	number := func(name string) int64 { n, _ := strconv.ParseInt(s.params[name], 10, 64); return n }
	s.partition, s.lo, s.hi = int32(number("partition")), number("lo"), number("hi")
	rest := s.sql
	for text, k := range headings {
		if strings.HasPrefix(s.sql, text) {
			s.kind = k
			_, rest, _ = strings.Cut(s.sql, "\n")
		}
	}
	if m := insertTable.FindStringSubmatch(rest); m != nil {
		s.table = m[1]
		if s.table == tables.Progress {
			s.kind = kindProgress
		}
	}
	return s
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.inside.Add(1)
	defer e.inside.Done()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client left while it was sending
	}
	s := parseStatement(r, body)
	s.arrived = time.Now()

	e.mu.Lock()
	e.log = append(e.log, s)
	var f *mishap
	for _, candidate := range e.faults {
		if candidate.struck < candidate.times && candidate.match(s) {
			f = candidate
			break
		}
	}
	if f == nil {
		f = &mishap{reached: make(chan struct{})}
	} else if f.travels > 0 {
		f.struck++
		e.mu.Unlock()
		pass(f.travels)
		e.mu.Lock()
		f.struck--
	}
	generation := e.generation
	if e.down {
		s.result = "down"
		e.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	if s.mutex != "" {
		if e.running[s.mutex] {
			s.result = "waiting"
			e.mu.Unlock()
			answerException(w, 216, "Query with id = "+s.mutex+" is already running.")
			return
		}
		e.running[s.mutex] = true
	}
	if f.struck++; f.struck == 1 {
		close(f.reached)
	}
	s.began = time.Now()
	// What it reads, it reads as it begins; what it writes is there when it ends.
	work := e.prepare(s, r.URL.Query())
	e.mu.Unlock()

	if f.interior != nil {
		f.interior()
	}
	if f.until != nil {
		<-f.until
	} else {
		pass(f.runs)
	}

	e.mu.Lock()
	void := generation != e.generation
	result := work.result
	switch {
	case void:
		s.result = "void"
	case f.code != 0:
		result = outcome{code: f.code, message: "as the test wants it"}
	case result.code == 0 && work.apply != nil:
		views := len(viewNames())
		if f.views != nil {
			views = *f.views
			result = outcome{code: 395, message: "a view threw"}
		}
		work.apply(views)
	}
	if f.lingers > 0 && !void { // else whoever sees its effect sees that it has ended, too
		e.mu.Unlock()
		pass(f.lingers)
		e.mu.Lock()
	}
	if generation != e.generation {
		s.result = "void"
		e.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.ended = time.Now()
	s.clientLeft = r.Context().Err() != nil
	switch {
	case result.code == 0:
		s.result = "applied"
	case f.views != nil && work.result.code == 0:
		s.result = "threw in a view"
	case f.code != 0:
		s.result = "failed"
	default:
		s.result = "refused"
	}
	delete(e.running, s.mutex)
	e.mu.Unlock()
	switch {
	case f.drop:
		panic(http.ErrAbortHandler)
	case result.code != 0:
		answerException(w, result.code, result.message)
	case f.stranger:
		_, _ = io.WriteString(w, "<html>It works!</html>")
	default:
		w.Header().Set("X-ClickHouse-Query-Id", cmp.Or(s.mutex, "of its own"))
		w.Header().Set("Content-Length", strconv.Itoa(len(result.body)))
		_, _ = w.Write(result.body)
	}
}

func answerException(w http.ResponseWriter, code int, message string) {
	w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "Code: %d. DB::Exception: %s\n", code, message)
}

type outcome struct {
	body    []byte
	code    int
	message string
}

// work is a statement that has read what it reads. apply, where there is
// anything to write, fills the first so many views.
type work struct {
	result outcome
	apply  func(views int)
}

// prepare is called with the lock held; so is the apply that it returns.
func (e *fakeEngine) prepare(s *statement, query url.Values) work {
	revision, _ := strconv.Atoi(query.Get("client_protocol_version"))
	switch {
	case s.kind == kindAppend:
		return e.prepareAppend(s)
	case s.kind == kindEnd:
		return work{result: e.answerEnd(s)}
	case s.kind == kindShort:
		return work{result: e.answerShort(s)}
	case s.kind == kindReconcile:
		return e.prepareReconcile(s)
	case s.kind == kindFindIDs:
		return work{result: e.answerIDs(s)}
	case s.kind == kindFindPayloads:
		return work{result: e.answerPayloads(s)}
	case s.kind == kindCountIDs, s.sql == sqlStatements.sizeIDs:
		return work{result: native(e.t, 0, 1, proto.Input{{Name: "ids", Data: &proto.ColInt64{int64(len(e.idsOf(s)))}}})}
	case s.kind == kindLoadIDs:
		return work{result: e.answerLoad(s)}
	case s.kind == kindConfirmed:
		return work{result: native(e.t, 0, 1, proto.Input{{Name: "confirmed", Data: &proto.ColInt64{e.confirmed(s)}}})}
	case s.kind == kindProgress:
		rows := e.decodeProgress(s)
		return work{apply: func(int) {
			e.progress = append(e.progress, rows...)
			for _, row := range rows {
				e.published(row)
			}
		}}
	case strings.HasPrefix(s.sql, "SELECT max(adopted_at)"):
		var last proto.ColDateTime64
		last.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
		last.Append(time.Unix(0, 0).UTC())
		return work{result: native(e.t, revision, 1, proto.Input{{Name: "max(adopted_at)", Data: &last}})}
	case s.table == tables.Streams:
		rows := e.decodeStreams(s)
		return work{apply: func(int) { e.streams = append(e.streams, rows...) }}
	case strings.HasPrefix(s.sql, "SELECT displayName()"):
		return work{result: native(e.t, revision, 1, proto.Input{
			{Name: "displayName()", Data: text("fake")},
			{Name: "version()", Data: text("26.7.2.1")},
			{Name: "revision()", Data: &proto.ColUInt32{uint32(revision)}},
			{Name: "timezone()", Data: text("UTC")},
		})}
	case strings.HasPrefix(s.sql, "DESCRIBE TABLE "):
		return work{result: e.describe(revision, strings.TrimPrefix(s.sql, "DESCRIBE TABLE "))}
	case s.sql == selectStream:
		return work{result: e.answerStream(revision, s.params["topic"])}
	case strings.HasPrefix(s.sql, selectErased):
		return work{} // nothing was erased
	case strings.HasPrefix(s.sql, directoryEnd):
		return work{} // it holds no directory
	}
	e.t.Errorf("the fake engine does not know this statement: %s", s.sql)
	return work{result: outcome{code: 62, message: "not known to the fake"}}
}

func text(values ...string) *proto.ColStr {
	column := new(proto.ColStr)
	for _, value := range values {
		column.Append(value)
	}
	return column
}

func native(t testing.TB, revision, rows int, columns proto.Input) outcome {
	var buffer proto.Buffer
	block := proto.Block{Columns: len(columns), Rows: rows}
	encode := block.EncodeRawBlock
	if revision > 0 {
		encode = block.EncodeBlock
	}
	if err := encode(&buffer, revision, columns); err != nil {
		t.Errorf("fake engine: %v", err)
		return outcome{code: 1, message: err.Error()}
	}
	return outcome{body: buffer.Buf}
}

func (e *fakeEngine) decode(s *statement, columns proto.Results) int {
	var block proto.Block
	if err := block.DecodeRawBlock(proto.NewReader(bytes.NewReader(s.data)), 0, columns); err != nil {
		e.t.Errorf("fake engine: body of %s: %v", s.kind, err)
	}
	return block.Rows
}

var described = map[string][][2]string{
	tables.Streams: {{"stream", "UUID"}, {"topic", "String"}, {"partitions", "Int32"}, {"starts", "Array(Int64)"}, {"adopted_at", "DateTime64(3, 'UTC')"}},
}

func (e *fakeEngine) describe(revision int, table string) outcome {
	columns, ok := described[table]
	if !ok {
		e.t.Errorf("the fake engine does not know table %q", table)
	}
	fields := make([]*proto.ColStr, 7)
	for i := range fields {
		fields[i] = new(proto.ColStr)
	}
	for _, column := range columns {
		for i, field := range fields {
			value := ""
			if i < 2 {
				value = column[i]
			}
			field.Append(value)
		}
	}
	var input proto.Input
	for i, name := range []string{"name", "type", "default_type", "default_expression", "comment", "codec_expression", "ttl_expression"} {
		input = append(input, proto.InputColumn{Name: name, Data: fields[i]})
	}
	return native(e.t, revision, len(columns), input)
}

func (e *fakeEngine) decodeStreams(s *statement) []streamRow {
	var stream proto.ColUUID
	var topic proto.ColStr
	var partitions proto.ColInt32
	starts := proto.NewArrInt64()
	var at proto.ColDateTime64
	at.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	n := e.decode(s, proto.Results{
		{Name: "stream", Data: &stream},
		{Name: "topic", Data: &topic},
		{Name: "partitions", Data: &partitions},
		{Name: "starts", Data: starts},
		{Name: "adopted_at", Data: &at},
	})
	var rows []streamRow
	for i := range n {
		rows = append(rows, streamRow{stream.Row(i), topic.Row(i), partitions.Row(i), slices.Clone(starts.Row(i)), at.Row(i)})
	}
	return rows
}

func (e *fakeEngine) answerStream(revision int, topic string) outcome {
	for _, row := range slices.Backward(e.streams) {
		if row.topic == topic {
			starts := proto.NewArrInt64()
			starts.Append(row.starts)
			var at proto.ColDateTime64
			at.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
			at.Append(row.at)
			return native(e.t, revision, 1, proto.Input{
				{Name: "stream", Data: &proto.ColUUID{row.stream}},
				{Name: "partitions", Data: &proto.ColInt32{row.partitions}},
				{Name: "starts", Data: starts},
				{Name: "adopted_at", Data: &at},
			})
		}
	}
	return outcome{}
}

// confirmed is the position that was published last.
func (e *fakeEngine) confirmed(s *statement) int64 {
	var last progressRow
	for _, row := range e.progress {
		if row.stream.String() == s.stream && row.partition == s.partition && row.position >= 0 && !row.updatedAt.Before(last.updatedAt) {
			last = row
		}
	}
	return last.position
}

func (e *fakeEngine) decodeProgress(s *statement) []progressRow {
	var stream proto.ColUUID
	var partition, partitions proto.ColInt32
	var position, logEnd proto.ColInt64
	var halted proto.ColStr
	var through, from, at proto.ColDateTime64
	for _, column := range []*proto.ColDateTime64{&through, &from, &at} {
		column.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	}
	n := e.decode(s, proto.Results{
		{Name: "stream", Data: &stream},
		{Name: "partition", Data: &partition},
		{Name: "partitions", Data: &partitions},
		{Name: "position", Data: &position},
		{Name: "log_end", Data: &logEnd},
		{Name: "counted_through", Data: &through},
		{Name: "halted", Data: &halted},
		{Name: "halted_from", Data: &from},
		{Name: "updated_at", Data: &at},
	})
	var rows []progressRow
	for i := range n {
		rows = append(rows, progressRow{
			stream: stream.Row(i), partition: partition.Row(i), position: position.Row(i), logEnd: logEnd.Row(i),
			countedThrough: through.Row(i), halted: halted.Row(i), haltedFrom: from.Row(i), updatedAt: at.Row(i), by: s.by,
		})
	}
	return rows
}

func (e *fakeEngine) prepareAppend(s *statement) work {
	if s.mutex == "" {
		e.t.Error("a block was sent without the partition's mutex")
	}
	key := ledgerKey{s.stream, s.partition}
	joins := s.params["lo"] == s.params["start"]
	for _, row := range e.ledgers[key] {
		if row.offset >= s.lo {
			return work{result: outcome{code: 395, message: "the ledger does not end where this block begins"}}
		}
		joins = joins || row.offset == s.lo-1
	}
	if !joins {
		return work{result: outcome{code: 395, message: "the ledger does not end where this block begins"}}
	}
	c := newColumns()
	results := make(proto.Results, len(c.input))
	for i, column := range c.input {
		results[i] = proto.ResultColumn{Name: column.Name, Data: column.Data.(proto.ColResult)}
	}
	rows := make([]fakeRow, e.decode(s, results))
	for i := range rows {
		rows[i] = fakeRow{
			offset: c.offset.Row(i), lo: s.lo, hi: s.hi, kafkaTime: c.kafkaTime.Row(i), outcome: schemas.Outcome(c.outcome.Row(i)),
			event: schemas.Event{
				ID: c.eventID.Row(i), Workspace: schemas.WorkspaceID(c.workspace.Row(i)), Agent: schemas.AgentID(c.agent.Row(i)),
				OccurredAt: c.occurredAt.Row(i), Channel: c.channel.Row(i), Credits: schemas.Credits(c.credits.Row(i)), Messages: c.messages.Row(i),
			},
			inViews: make(map[string]bool),
		}
		if rows[i].outcome == schemas.OutcomeAdjustment {
			rows[i].event.Adjustment = &schemas.Adjustment{}
		}
	}
	if int64(len(rows)) != s.hi-s.lo {
		e.t.Errorf("block [%d, %d) was sent with %d rows", s.lo, s.hi, len(rows))
	}
	return work{apply: func(views int) {
		for _, view := range viewNames()[:views] {
			e.fill(view, s.partition, rows)
		}
		e.ledgers[key] = append(e.ledgers[key], rows...)
	}}
}

// fill puts the rows into a view, and marks that they are there.
func (e *fakeEngine) fill(view string, partition int32, rows []fakeRow) {
	for i := range rows {
		row := &rows[i]
		row.inViews[view] = true
		for _, rollup := range tables.Rollups {
			if rollup.Table != view {
				continue
			}
			if key, add, ok := bucketOf(rollup, partition, &row.event, row.outcome); ok {
				e.views[view][key] = e.views[view][key].plus(add)
			}
		}
		if view == tables.IDs && recorded(row.outcome) {
			hash := schemas.HashID(row.event.Workspace, row.event.ID)
			e.ids[hash] = append(e.ids[hash], logPlace{partition, row.offset})
		}
	}
}

func recorded(outcome schemas.Outcome) bool {
	return outcome == schemas.OutcomeCounted || outcome == schemas.OutcomePlayground || outcome == schemas.OutcomeAdjustment
}

func (e *fakeEngine) answerEnd(s *statement) outcome {
	rows := e.ledgers[ledgerKey{s.stream, s.partition}]
	if len(rows) == 0 {
		return outcome{}
	}
	last := rows[0]
	for _, row := range rows {
		if row.offset > last.offset {
			last = row
		}
	}
	type bounds struct{ lo, hi int64 }
	type block struct {
		rows        int64
		offsets     map[int64]bool
		first, last time.Time
	}
	blocks := make(map[bounds]*block)
	var order []bounds
	for _, row := range rows {
		if row.offset < last.lo {
			continue
		}
		at := bounds{row.lo, row.hi}
		b := blocks[at]
		if b == nil {
			b = &block{offsets: make(map[int64]bool), first: row.kafkaTime, last: row.kafkaTime}
			blocks[at] = b
			order = append(order, at)
		}
		b.rows++
		b.offsets[row.offset] = true
		if row.kafkaTime.Before(b.first) {
			b.first = row.kafkaTime
		}
		if row.kafkaTime.After(b.last) {
			b.last = row.kafkaTime
		}
	}
	var lo, hi, count, offsets proto.ColInt64
	var first, latest proto.ColDateTime64
	var detail proto.ColStr
	first.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	latest.WithPrecision(proto.PrecisionMilli).WithLocation(time.UTC)
	for _, at := range order {
		b := blocks[at]
		lo.Append(at.lo)
		hi.Append(at.hi)
		count.Append(b.rows)
		offsets.Append(int64(len(b.offsets)))
		first.Append(b.first)
		latest.Append(b.last)
		detail.Append("") // nothing here closes or loses anything
	}
	return native(e.t, 0, len(order), proto.Input{
		{Name: "block_lo", Data: &lo},
		{Name: "block_hi", Data: &hi},
		{Name: "rows", Data: &count},
		{Name: "offsets", Data: &offsets},
		{Name: "first_time", Data: &first},
		{Name: "last_time", Data: &latest},
		{Name: "last_detail", Data: &detail},
	})
}

// prepareReconcile computes ledger minus view for the touched buckets as the
// statement begins; the difference is added as it ends.
// answerShort names the rollups whose sums are not the ledger's. The others have
// all that it holds.
func (e *fakeEngine) answerShort(s *statement) outcome {
	if s.mutex == "" {
		e.t.Error("what rollups lack was asked without the partition's mutex")
	}
	rows := e.ledgers[ledgerKey{s.stream, s.partition}]
	short := new(proto.ColStr)
	for _, rollup := range tables.Rollups {
		var difference sums
		for _, row := range rows {
			if _, add, ok := bucketOf(rollup, s.partition, &row.event, row.outcome); ok {
				difference = difference.plus(add)
			}
		}
		for key, value := range e.views[rollup.Table] {
			if key.partition == s.partition {
				difference = difference.plus(sums{-value.credits, -value.messages, -value.events})
			}
		}
		if difference != (sums{}) {
			short.Append(rollup.Table)
			continue
		}
		for i := range rows {
			rows[i].inViews[rollup.Table] = true
		}
	}
	return native(e.t, 0, short.Rows(), proto.Input{{Name: "rollup", Data: short}})
}

func (e *fakeEngine) prepareReconcile(s *statement) work {
	if s.mutex == "" {
		e.t.Error("a reconcile was sent without the partition's mutex")
	}
	rows := e.ledgers[ledgerKey{s.stream, s.partition}]
	inBlock := func(row fakeRow) bool { return row.offset >= s.lo && row.offset < s.hi }
	if s.table == tables.IDs {
		var missing []int
		for i, row := range rows {
			if inBlock(row) && recorded(row.outcome) && !slices.Contains(e.ids[schemas.HashID(row.event.Workspace, row.event.ID)], logPlace{s.partition, row.offset}) {
				missing = append(missing, i)
			}
		}
		return work{apply: func(int) {
			for _, i := range missing {
				e.fill(tables.IDs, s.partition, rows[i:i+1])
			}
			for i := range rows {
				if inBlock(rows[i]) {
					rows[i].inViews[tables.IDs] = true
				}
			}
		}}
	}
	for _, rollup := range tables.Rollups {
		if rollup.Table != s.table {
			continue
		}
		withoutAgent := func(b bucket) bucket { b.agent = ""; return b }
		touched := make(map[bucket]bool)
		for _, row := range rows {
			if key, _, ok := bucketOf(rollup, s.partition, &row.event, row.outcome); ok && inBlock(row) {
				touched[withoutAgent(key)] = true
			}
		}
		difference := make(map[bucket]sums)
		for _, row := range rows {
			if key, add, ok := bucketOf(rollup, s.partition, &row.event, row.outcome); ok && touched[withoutAgent(key)] {
				difference[key] = difference[key].plus(add)
			}
		}
		for key, value := range e.views[rollup.Table] {
			if key.partition == s.partition && touched[withoutAgent(key)] {
				difference[key] = difference[key].plus(sums{-value.credits, -value.messages, -value.events})
			}
		}
		return work{apply: func(int) {
			for key, add := range difference {
				e.views[rollup.Table][key] = e.views[rollup.Table][key].plus(add)
			}
			for i := range rows {
				key, _, ok := bucketOf(rollup, s.partition, &rows[i].event, rows[i].outcome)
				if inBlock(rows[i]) || ok && touched[withoutAgent(key)] {
					rows[i].inViews[rollup.Table] = true
				}
			}
		}}
	}
	e.t.Errorf("the fake engine does not know the rollup %q", s.table)
	return work{}
}

// unlist returns the base64 list in a statement's text.
func (e *fakeEngine) unlist(s *statement) []byte {
	list, err := base64.StdEncoding.DecodeString(listed.FindStringSubmatch(s.sql)[1])
	if err != nil {
		e.t.Errorf("fake engine: list of %s: %v", s.kind, err)
	}
	return list
}

func (e *fakeEngine) answerIDs(s *statement) outcome {
	wanted := make(map[schemas.IDKey]bool)
	for digits := range slices.Chunk(e.unlist(s), keyBytes) {
		var whole [8]byte
		copy(whole[:], digits)
		wanted[schemas.IDKey(binary.LittleEndian.Uint64(whole[:]))] = true
	}
	var key proto.ColUInt64
	var stream proto.ColUUID
	var partition proto.ColInt32
	var offset proto.ColInt64
	n := 0
	for id, places := range e.ids {
		if !wanted[id.Key()] {
			continue
		}
		for _, at := range places {
			key.Append(uint64(id.Key()))
			stream.Append(e.streams[len(e.streams)-1].stream)
			partition.Append(at.partition)
			offset.Append(at.offset)
			n++
		}
	}
	if n == 0 {
		return outcome{}
	}
	return native(e.t, 0, n, proto.Input{
		{Name: "id_key", Data: &key}, {Name: "stream", Data: &stream}, {Name: "partition", Data: &partition}, {Name: "offset", Data: &offset},
	})
}

// idsOf are the ids that the statement's partition recorded.
func (e *fakeEngine) idsOf(s *statement) []schemas.IDHash {
	var ids []schemas.IDHash
	for id, places := range e.ids {
		if slices.ContainsFunc(places, func(at logPlace) bool { return at.partition == s.partition }) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (e *fakeEngine) answerLoad(s *statement) outcome {
	from, _ := strconv.ParseUint(s.params["from"], 10, 64)
	through, _ := strconv.ParseUint(s.params["through"], 10, 64)
	var key proto.ColUInt64
	n := 0
	for _, id := range e.idsOf(s) {
		if k := uint64(id.Key()); k >= from && k <= through {
			key.Append(k)
			n++
		}
	}
	if n == 0 {
		return outcome{}
	}
	return native(e.t, 0, n, proto.Input{{Name: "id_key", Data: &key}})
}

func (e *fakeEngine) answerPayloads(s *statement) outcome {
	var offset, credits, messages proto.ColInt64
	var workspace, id, agent, channel proto.ColStr
	var occurredAt proto.ColDateTime64
	occurredAt.WithPrecision(proto.PrecisionMicro).WithLocation(time.UTC)
	var outcomes proto.ColInt8
	n := 0
	for item := range slices.Chunk(e.unlist(s), 8) {
		wanted := int64(binary.LittleEndian.Uint64(item))
		for _, row := range e.ledgers[ledgerKey{s.stream, s.partition}] {
			if row.offset != wanted {
				continue
			}
			offset.Append(row.offset)
			workspace.Append(string(row.event.Workspace))
			id.Append(row.event.ID)
			agent.Append(string(row.event.Agent))
			channel.Append(row.event.Channel)
			occurredAt.Append(row.event.OccurredAt)
			credits.Append(int64(row.event.Credits))
			messages.Append(row.event.Messages)
			outcomes.Append(int8(row.outcome))
			n++
		}
	}
	if n == 0 {
		return outcome{}
	}
	return native(e.t, 0, n, proto.Input{
		{Name: "offset", Data: &offset},
		{Name: "workspace_id", Data: &workspace},
		{Name: "event_id", Data: &id},
		{Name: "agent_id", Data: &agent},
		{Name: "channel_name", Data: &channel},
		{Name: "occurred_at", Data: &occurredAt},
		{Name: "credits", Data: &credits},
		{Name: "messages", Data: &messages},
		{Name: "outcome_number", Data: &outcomes},
	})
}
