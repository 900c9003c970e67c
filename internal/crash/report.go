package crash

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"agentmeter/internal/fault"
)

// Report is what a run did and found.
type Report struct {
	Seed     uint64        `json:"seed"`
	Dir      string        `json:"dir"`
	Variant  string        `json:"variant,omitempty"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took_ns"`
	Verdicts []*Verdict    `json:"verdicts"`
	Sent     BookCounts    `json:"sent"`

	// Kills by process, and by how it came about (a point, or at random).
	Kills   map[string]map[string]int `json:"kills"`
	Stops   map[string]int            `json:"stops"`
	Longest time.Duration             `json:"longest_stop_ns"`
	Leaves  map[string]int            `json:"leaves"`
	// Points by name.
	Points    map[string]*PointCount `json:"points"`
	Proxy     map[proxyFault]int     `json:"proxy_faults"`
	Cuts      int64                  `json:"producer_connections_cut"`
	Rebuilds  int                    `json:"rebuilds_that_ended"`
	Alone     int                    `json:"lives_that_own_everything"`
	Evictions int                    `json:"evictions_of_dead"`
	Zombies   int                    `json:"evictions_of_living"`
	// Metrics are the rollups' counters, summed over all lives, as far as they
	// were read before the end.
	Metrics map[string]float64 `json:"rollup_counters"`
	Remarks []string           `json:"remarks"`

	mu    sync.Mutex // guards everything above while the run goes on
	noted map[string]bool
	lives map[string]map[string]float64
}

// PointCount is what became of a point.
type PointCount struct {
	Reached int `json:"lives_that_reached_it"`
	Kill    int `json:"kill"`
	Stop    int `json:"stop"`
	Wait    int `json:"wait"`
}

func newReport(c Config) *Report {
	return &Report{
		Seed: c.Seed, Dir: c.Dir, Variant: c.Variant, Started: time.Now(),
		Kills: make(map[string]map[string]int), Stops: make(map[string]int), Leaves: make(map[string]int),
		Points: make(map[string]*PointCount), Proxy: make(map[proxyFault]int), Metrics: make(map[string]float64),
		noted: make(map[string]bool), lives: make(map[string]map[string]float64),
	}
}

// Right reports whether every verdict found everything in order.
func (r *Report) Right() bool {
	for _, v := range r.Verdicts {
		if !v.Right() {
			return false
		}
	}
	return len(r.Verdicts) > 0
}

func (r *Report) kills() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, hows := range r.Kills {
		for _, k := range hows {
			n += k
		}
	}
	return n
}

// killsOf counts the kills of all processes whose names begin with role.
func (r *Report) killsOf(role string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for name, hows := range r.Kills {
		if strings.HasPrefix(name, role) {
			for _, k := range hows {
				n += k
			}
		}
	}
	return n
}

func (r *Report) killsLine() string {
	var parts []string
	for _, role := range []string{"rollup", "engine", "ingest", "broker", "query"} {
		parts = append(parts, fmt.Sprintf("%s %d", role, r.killsOf(role)))
	}
	return strings.Join(parts, ", ")
}

func (r *Report) killed(name, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Kills[name] == nil {
		r.Kills[name] = make(map[string]int)
	}
	r.Kills[name][how]++
}

func (r *Report) stopped(name string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Stops[name]++
	r.Longest = max(r.Longest, d)
}

func (r *Report) left(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Leaves[name]++
}

// rebuilt counts a rebuild that came to its end.
func (r *Report) rebuilt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Rebuilds++
}

// alone counts a life that believes it owns every partition, beside others.
func (r *Report) alone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Alone++
}

func (r *Report) evicted(n int, living bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if living {
		r.Zombies += n
	} else {
		r.Evictions += n
	}
}

func (r *Report) remark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.Remarks) < 200 {
		r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
	}
}

func (r *Report) judged(v *Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Verdicts = append(r.Verdicts, v)
}

// marked takes over what a life has written to its fault log, once.
func (r *Report) marked(name string, l *life) {
	marks := l.marks()
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fmt.Sprintf("%s-%d", name, l.number)
	if r.noted[id] || !l.over() {
		return
	}
	r.noted[id] = true
	reached := make(map[string]bool)
	for _, m := range marks {
		count := r.Points[m.point]
		if count == nil {
			count = &PointCount{}
			r.Points[m.point] = count
		}
		switch m.action {
		case "":
			if !reached[m.point] {
				count.Reached++
			}
			reached[m.point] = true
		case fault.ActionKill:
			count.Kill++
		case fault.ActionStop:
			count.Stop++
		case fault.ActionWait:
			count.Wait++
		}
	}
}

// finish adds what is known at the end.
func (r *Report) finish(run *run) {
	for _, p := range run.stack.processes() {
		p.kill()
		run.note(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Took = time.Since(r.Started)
	r.Sent = run.book.counts()
	r.Cuts = run.producers.kafka.cuts.Load()
	for _, px := range run.stack.proxies {
		for f, n := range px.tally() {
			r.Proxy[f] += n
		}
	}
	for _, counters := range r.lives {
		for name, value := range counters {
			r.Metrics[name] += value
		}
	}
}

// neverStruck lists the points that nothing struck, though the schedule deals
// them. A rebuild's are left out: it passes them only where it finds something
// to repair, which TestRebuildUnderLoad sees to.
func (r *Report) neverStruck() []string {
	var never []string
	for _, role := range []string{"rollup", "engine", "ingest", "broker"} {
		for _, point := range pointsOf(role) {
			if c := r.Points[point]; c == nil || c.Kill+c.Stop+c.Wait == 0 {
				never = append(never, point)
			}
		}
	}
	return never
}

// WriteMarkdown writes the report for people.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var out strings.Builder
	result := "Nothing lost, nothing doubled, every view equal to the ledger."
	if !r.Right() {
		result = "**Something is wrong.**"
	}
	total := r.kills()
	fmt.Fprintf(&out, "# Crash run, seed %d\n\n%s\n\n%d kills in %s, %d verdicts.\n\n", r.Seed, result, total, r.Took.Round(time.Second), len(r.Verdicts))
	if len(r.Verdicts) > 0 {
		last := r.Verdicts[len(r.Verdicts)-1]
		fmt.Fprintf(&out, "Last verdict: %s.\n\n", last)
		for _, note := range last.Notes {
			fmt.Fprintf(&out, "- %s\n", note)
		}
	}
	fmt.Fprintf(&out, "## What was sent\n\n| | |\n|---|---|\n| ids | %d |\n| of them acknowledged | %d |\n| acknowledged sends, copies included | %d |\n| sends of unknown fate | %d |\n| other payloads under a known id | %d |\n| records that are no events | %d |\n| events in a wrong partition | %d |\n\n",
		r.Sent.IDs, r.Sent.Acknowledged, r.Sent.Sends, r.Sent.SendsOfUnsure, r.Sent.Conflicts, r.Sent.Poison, r.Sent.Misplaced)
	fmt.Fprintf(&out, "## Kills\n\n| process | kills | at points | otherwise | stopped for a while | left in order |\n|---|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Kills)) {
		atPoints, otherwise := 0, 0
		for how, n := range r.Kills[name] {
			if slices.Contains(fault.Points, how) {
				atPoints += n
			} else {
				otherwise += n
			}
		}
		fmt.Fprintf(&out, "| %s | %d | %d | %d | %d | %d |\n", name, atPoints+otherwise, atPoints, otherwise, r.Stops[name], r.Leaves[name])
	}
	fmt.Fprintf(&out, "\nThe longest stop took %s. Rollup lives in a group of their own, which believe that they own every partition beside others who do: %d. Rebuilds that came to their end meanwhile: %d. Dead members taken from the group at once: %d; living ones: %d.\n\n", r.Longest.Round(100*time.Millisecond), r.Alone, r.Rebuilds, r.Evictions, r.Zombies)
	fmt.Fprintf(&out, "## Points\n\n| point | lives that reached it | killed there | stopped there | slowed there |\n|---|---|---|---|---|\n")
	for _, point := range fault.Points {
		c := r.Points[point]
		if c == nil {
			c = &PointCount{}
		}
		fmt.Fprintf(&out, "| `%s` | %d | %d | %d | %d |\n", point, c.Reached, c.Kill, c.Stop, c.Wait)
	}
	if never := r.neverStruck(); len(never) > 0 {
		fmt.Fprintf(&out, "\nNever struck: %s.\n", strings.Join(never, ", "))
	}
	fmt.Fprintf(&out, "\n## Between rollup and engine\n\n| fault | times |\n|---|---|\n")
	for _, f := range proxyFaults {
		fmt.Fprintf(&out, "| %s | %d |\n", f, r.Proxy[f])
	}
	fmt.Fprintf(&out, "| producer's connection to the broker cut | %d |\n", r.Cuts)
	fmt.Fprintf(&out, "\n## What the rollups said of it\n\nCounters, as far as they were read before each death.\n\n| counter | |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		fmt.Fprintf(&out, "| %s | %.0f |\n", name, r.Metrics[name])
	}
	if len(r.Remarks) > 0 {
		out.WriteString("\n## Remarks\n\n")
		for _, remark := range r.Remarks {
			fmt.Fprintf(&out, "- %s\n", remark)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// WriteTable writes the report's figures for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "process\tkills\tstops\tleft\n")
	for _, name := range slices.Sorted(maps.Keys(r.Kills)) {
		n := 0
		for _, k := range r.Kills[name] {
			n += k
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\n", name, n, r.Stops[name], r.Leaves[name])
	}
	fmt.Fprintf(table, "\npoint\treached\tkill\tstop\twait\n")
	for _, point := range fault.Points {
		c := r.Points[point]
		if c == nil {
			c = &PointCount{}
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", point, c.Reached, c.Kill, c.Stop, c.Wait)
	}
	fmt.Fprintf(table, "\nproxy\ttimes\n")
	for _, f := range proxyFaults {
		fmt.Fprintf(table, "%s\t%d\n", f, r.Proxy[f])
	}
	fmt.Fprintf(table, "\nrollup counter\tsum\n")
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		fmt.Fprintf(table, "%s\t%.0f\n", name, r.Metrics[name])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if never := r.neverStruck(); len(never) > 0 {
		fmt.Fprintf(w, "\nnever struck: %s\n", strings.Join(never, ", "))
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(w, "remark: %s\n", remark)
	}
	r.conclude(w)
	return nil
}

// conclude writes what the last verdict found.
func (r *Report) conclude(w io.Writer) {
	if len(r.Verdicts) == 0 {
		return
	}
	last := r.Verdicts[len(r.Verdicts)-1]
	for _, note := range last.Notes {
		fmt.Fprintln(w, "wrong:", note)
	}
	fmt.Fprintf(w, "\nlast verdict: %s\n", last)
}
