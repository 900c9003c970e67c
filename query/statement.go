package query

import (
	"embed"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/template"
	"time"

	"agentmeter/query/tiers"
	"agentmeter/schemas"
	schema "agentmeter/schemas/clickhouse"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// statements are the SQL templates. They are filled with names of tables and
// columns, which are constants of the program, and with names of parameters;
// every value is bound.
var statements = template.Must(template.New("sql").Delims("[[", "]]").ParseFS(sqlFiles, "sql/*.sql"))

// part tells the rows of one statement apart.
type part uint8

const (
	partRange      part = iota // the range by bar and agent; in merged branches the comparison too
	partComparison             // what the range is compared with, by bar and agent
	partHistory                // the weeks before, by bar
	partPlayground             // Playground tests of the range
	partSeen                   // agents that have sent events
	partLast                   // the last bucket with usage
	partTotals                 // what the whole workspace used
)

// minuteRetention is how far back minutes are read from their tier. It reaches
// over the longest billing period and a change of clocks, since an open period
// is compared with as much of the period before, to the minute. The tier keeps
// its rows for 32 days, so that a clock that is off by less than the rest reads
// no hole.
const minuteRetention = 31*24*time.Hour + 6*time.Hour

// family says in which tables a kind of figures is kept.
type family struct {
	steps    []schemas.Step // the tiers, the coarsest first
	tables   map[schemas.Step]string
	outcomes string // the ledger rows of the kind
	credits  bool   // carries credits
}

func familyOf(rollups ...schema.Rollup) family {
	f := family{
		tables:   make(map[schemas.Step]string, len(rollups)),
		outcomes: rollups[0].Outcomes,
		credits:  rollups[0].Credits,
	}
	for _, rollup := range rollups {
		f.steps = append(f.steps, rollup.Step)
		f.tables[rollup.Step] = rollup.Table
	}
	return f
}

var (
	usageByAgent     = familyOf(schema.Day, schema.Hour, schema.Quarter, schema.Minute)
	usageByWorkspace = familyOf(schema.WorkspaceHour, schema.Quarter, schema.Minute)
	playgroundTests  = familyOf(schema.Playground)
)

// branch is one SELECT of a statement: what one tier contributes.
type branch struct {
	Part     part
	Table    string
	Time     string // the column that a row's instant or bucket is in
	Seconds  string // the same as Unix seconds
	Outcomes string // the ledger rows that count; "" for a rollup
	OneAgent bool   // only the chosen agent's rows
	Edges    string // the parameter with the edges of the bars; "" for one bar
	Who      string // the expression that names the agent; "" for none
	Credits  string
	Messages string
	Events   string
	Reads    []branchRead
}

// branchRead is one stretch of a branch, with the name of its parameters.
type branchRead struct {
	Name       string
	Step       int64 // seconds
	Skip       bool
	Inside     bool
	InsideStep int64 // seconds
	planned    tiers.Read
}

// builder gathers the branches and parameters of one statement, for readRows.
type builder struct {
	branches []branch
	params   map[string]string
	reads    int
	tiers    []string     // of each read, for the metric
	finest   schemas.Step // of the reads; the ledger is the finest
}

func newBuilder(workspace schemas.WorkspaceID, agent string) *builder {
	b := &builder{params: map[string]string{"workspace": string(workspace)}}
	if agent != "" {
		b.params["agent"] = agent
	}
	return b
}

// How rows are told apart by agent.
const (
	whoEach   = "agent"
	whoChosen = "if(agent = {agent:String}, agent, '')" // the chosen one, and the others as one
	whoNone   = ""
)

// span is a stretch of time with its bars.
type span struct {
	part  part
	edges []time.Time
}

// selection says what is read of a family.
type selection struct {
	spans       []span    // sorted, and none overlaps another
	minutesFrom time.Time // from when on minutes are in their tier; zero: always
	who         string    // how rows are told apart by agent
	oneAgent    bool      // the chosen agent's rows alone
	byBar       bool      // rows are told apart by bar
}

// add reads a selection from the tiers of a family. One branch reads all spans
// from one tier: a branch costs the engine more than the rows that it saves.
func (b *builder) add(f family, of selection) {
	type group struct {
		branch branch
		reads  []tiers.Read
	}
	var order []schemas.Step
	groups := map[schemas.Step]*group{}
	for _, s := range of.spans {
		for _, r := range tiers.Plan(s.edges, of.minutesFrom, f.steps) {
			g := groups[r.Step]
			if g == nil {
				g = &group{branch: f.branch(r.Step)}
				groups[r.Step] = g
				order = append(order, r.Step)
			}
			if n := len(g.reads); n > 0 && continues(g.reads[n-1], r) {
				g.reads[n-1].To = r.To
				continue
			}
			g.reads = append(g.reads, r)
		}
	}
	edges := ""
	if of.byBar && len(order) > 0 {
		edges = "edges_" + strconv.Itoa(int(of.spans[0].part))
		var all []time.Time
		for _, s := range of.spans {
			all = append(all, s.edges...)
		}
		b.params[edges] = edgeList(all)
	}
	for _, step := range order {
		g := groups[step]
		g.branch.Part, g.branch.Edges, g.branch.Who, g.branch.OneAgent = of.spans[0].part, edges, of.who, of.oneAgent
		for _, r := range joinHours(g.reads) {
			g.branch.Reads = append(g.branch.Reads, b.bind(r))
		}
		b.branches = append(b.branches, g.branch)
	}
}

// joinHours makes one read of those that are of whole hours with gaps between
// them: hours that the edges of bars cut, each day. A list of hours costs the
// engine next to nothing, and a condition for each of them is tried on each row.
func joinHours(reads []tiers.Read) []tiers.Read {
	var hours []time.Time
	joined := tiers.Read{InsideStep: schemas.StepHour}
	left := reads[:0:0]
	for _, r := range reads {
		own, ok := hoursOfRead(r)
		if !ok {
			left = append(left, r)
			continue
		}
		joined.Step = r.Step
		hours = append(hours, own...)
	}
	if len(left) >= len(reads)-1 {
		return reads // nothing to join
	}
	joined.Inside = hours
	joined.From, joined.To = hours[0], hours[len(hours)-1].Add(time.Duration(schemas.StepHour))
	return append(left, joined)
}

// maxJoined is how many hours one stretch may have to be listed one by one.
const maxJoined = 24

// hoursOfRead lists the hours that a read is made of, in order; ok is false where
// it is made of something else, or of very many.
func hoursOfRead(r tiers.Read) (hours []time.Time, ok bool) {
	hour := time.Duration(schemas.StepHour)
	switch {
	case r.Skip != nil || r.Step == tiers.Ledger || r.Step >= schemas.StepHour:
		return nil, false
	case r.Inside != nil:
		first, last := r.Inside[0], r.Inside[len(r.Inside)-1]
		return r.Inside, r.InsideStep == schemas.StepHour && r.From.Equal(first) && r.To.Equal(last.Add(hour))
	case !schemas.StepHour.Aligned(r.From) || !schemas.StepHour.Aligned(r.To) || r.To.Sub(r.From) > maxJoined*hour:
		return nil, false
	}
	for at := r.From; at.Before(r.To); at = at.Add(hour) {
		hours = append(hours, at)
	}
	return hours, true
}

// continues reports whether one stretch begins where another ends, both whole.
func continues(first, second tiers.Read) bool {
	return first.To.Equal(second.From) && first.Skip == nil && second.Skip == nil && first.Inside == nil && second.Inside == nil
}

// branch is the family's on one tier, without what is read of it.
func (f family) branch(step schemas.Step) branch {
	own := branch{
		Table: f.tables[step], Time: "time", Seconds: "toUInt32(time)",
		Credits: "sum(credits)", Messages: "sum(messages)", Events: "sum(events)",
	}
	if step == tiers.Ledger {
		own = branch{ //nolint:gosec // these are sums of columns, and no credentials
			Table: schema.Ledger, Time: "occurred_at", Seconds: "toUInt32(toUnixTimestamp(occurred_at))",
			Outcomes: f.outcomes, Credits: "sum(toInt128(credits))", Messages: "sum(messages)", Events: "toInt64(count())",
		}
	}
	if !f.credits {
		own.Credits = "toInt128(0)"
	}
	return own
}

// bind names a read, and binds the parameters of that name to its stretch.
func (b *builder) bind(r tiers.Read) branchRead {
	own := branchRead{Name: "r" + strconv.Itoa(b.reads), Step: seconds(r.Step), InsideStep: seconds(r.InsideStep), planned: r}
	b.reads++
	b.noteTier(r.Step)
	b.params[own.Name+"_from"] = unix(r.From)
	b.params[own.Name+"_to"] = unix(r.To)
	if r.Skip != nil {
		own.Skip = true
		b.params[own.Name+"_skip"] = cellList(r.Skip, r.Step)
	}
	if r.Inside != nil {
		own.Inside = true
		b.params[own.Name+"_inside"] = cellList(r.Inside, r.InsideStep)
	}
	return own
}

// noteTier notes that a tier is read, for the metrics.
func (b *builder) noteTier(step schemas.Step) {
	if len(b.tiers) == 0 || step < b.finest { // the ledger's is 0
		b.finest = step
	}
	b.tiers = append(b.tiers, tierName(step))
}

func tierName(step schemas.Step) string {
	if step == tiers.Ledger {
		return "ledger"
	}
	return step.String()
}

func seconds(step schemas.Step) int64 { return int64(time.Duration(step) / time.Second) }

// clampUnix is the Unix time of an instant, kept within what the tables hold:
// 1970 to 2106. A range may begin earlier, in a zone ahead of UTC.
func clampUnix(at time.Time) int64 { return min(max(at.Unix(), 0), math.MaxUint32) }

func unix(at time.Time) string { return strconv.FormatInt(clampUnix(at), 10) }

// edgeList formats edges for roundDown, which takes a sorted list. Those that
// are one after clamping are named once.
func edgeList(edges []time.Time) string {
	var list strings.Builder
	list.WriteByte('[')
	last := int64(-1)
	for _, edge := range edges {
		if at := clampUnix(edge); at > last {
			if last >= 0 {
				list.WriteByte(',')
			}
			list.WriteString(strconv.FormatInt(at, 10))
			last = at
		}
	}
	list.WriteByte(']')
	return list.String()
}

// cellList formats cells by their numbers, counted from 1970 in steps. Before
// 1970 there is nothing to read or to leave out.
func cellList(cells []time.Time, step schemas.Step) string {
	var list strings.Builder
	list.WriteByte('[')
	for _, cell := range cells {
		if cell.Unix() < 0 {
			continue
		}
		if list.Len() > 1 {
			list.WriteByte(',')
		}
		list.WriteString(strconv.FormatInt(cell.Unix()/seconds(step), 10))
	}
	list.WriteByte(']')
	return list.String()
}

// sql is the text of a statement that reads the branches and nothing else.
func (b *builder) sql() string { return render("usage", map[string]any{"Branches": b.branches}) }

// render fills a template. The templates are constants and so is the shape of
// what they are filled with, so it cannot fail.
func render(name string, data any) string {
	var sql strings.Builder
	if err := statements.ExecuteTemplate(&sql, name+".sql", data); err != nil {
		panic(fmt.Sprintf("query: render %s: %v", name, err))
	}
	return sql.String()
}
