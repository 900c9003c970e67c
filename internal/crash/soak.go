package crash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"agentmeter/internal/pause"
)

// SoakConfig says how a soak goes.
type SoakConfig struct {
	Setup
	// For is how long it lasts, at least.
	For time.Duration
	// Out gets progress lines.
	Out io.Writer
}

// DefaultSoakConfig is a run of half an hour.
func DefaultSoakConfig() SoakConfig { return SoakConfig{For: 30 * time.Minute, Out: os.Stderr} }

// parts of a soak, each of which ends in a verdict.
const parts = 6

// SoakReport is what a soak did and found.
type SoakReport struct {
	Run   *Report        `json:"run"`
	Took  time.Duration  `json:"took_ns"`
	Asked map[string]int `json:"questions_by_answer"`
	// AtRest is what the survivors took up after each part.
	AtRest map[string][]Rest `json:"at_rest"`
	// Lines of each process's log, in a minute.
	Lines map[string]float64 `json:"log_lines_a_minute"`
	// Wrong is what is wrong beyond the verdicts, the first hundred.
	Wrong []string `json:"wrong"`
}

// Rest is what a process takes up while it has nothing to do.
type Rest struct {
	Goroutines int   `json:"goroutines"`
	Files      int   `json:"descriptors"`
	Memory     int64 `json:"resident_bytes"`
}

// Right reports whether nothing is wrong.
func (r *SoakReport) Right() bool { return len(r.Wrong) == 0 && r.Run.Right() }

// WriteTable writes the report's figures for a terminal.
func (r *SoakReport) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s; %d kills (%s), %d verdicts; %d ids, %d acknowledged\n\n", r.Took.Round(time.Second), r.Run.kills(), r.Run.killsLine(),
		len(r.Run.Verdicts), r.Run.Sent.IDs, r.Run.Sent.Acknowledged)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "at rest\tgoroutines\tdescriptors\tmemory (MiB)")
	for _, name := range slices.Sorted(maps.Keys(r.AtRest)) {
		for _, rest := range r.AtRest[name] {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\n", name, rest.Goroutines, rest.Files, rest.Memory>>20)
		}
	}
	fmt.Fprintln(table, "\nlog\tlines a minute")
	for _, name := range slices.Sorted(maps.Keys(r.Lines)) {
		fmt.Fprintf(table, "%s\t%.1f\n", name, r.Lines[name])
	}
	fmt.Fprintln(table, "\nanswer to a question\ttimes")
	for _, name := range slices.Sorted(maps.Keys(r.Asked)) {
		fmt.Fprintf(table, "%s\t%d\n", name, r.Asked[name])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, wrong := range r.Wrong {
		fmt.Fprintln(w, "wrong:", wrong)
	}
	r.Run.conclude(w)
	return nil
}

// soak is a run under way: broker, engine and one rollup die again and again;
// ingest, query and the other rollup live through all of it, so that what they leak
// adds up.
type soak struct {
	*run
	config   SoakConfig
	found    *SoakReport
	client   *http.Client
	victims  []*actor
	pausing  *rand.Rand
	asking   *rand.Rand
	findings sync.Mutex // guards found.Asked and found.Wrong
}

// Soak runs mixed load and faults for a while. An error means that it could not be
// carried out.
func Soak(ctx context.Context, config SoakConfig) (*SoakReport, error) {
	if config.For <= 0 {
		return nil, fmt.Errorf("crash: a soak of %s: give a positive time", config.For)
	}
	base := Config{Setup: config.Setup, Rollups: 2, VerdictEvery: 1, Out: config.Out}
	if err := base.Validate(); err != nil {
		return nil, err
	}
	r, err := startRun(ctx, base)
	if err != nil {
		return nil, err
	}
	defer r.stack.close()
	s := &soak{
		run: r, config: config, client: &http.Client{Timeout: 30 * time.Second}, pausing: r.rand(40), asking: r.rand(41),
		found: &SoakReport{Run: r.report, Asked: make(map[string]int), AtRest: make(map[string][]Rest), Lines: make(map[string]float64)},
	}
	defer s.client.CloseIdleConnections()
	for _, a := range s.actors() {
		if !slices.Contains(s.survivors(), a.process) {
			a.wait *= 4 // a soak is mostly work, and death now and then
			s.victims = append(s.victims, a)
		}
	}
	err = s.parts(ctx)
	r.report.finish(r)
	s.found.Took = r.report.Took
	s.found.judgeGrowth()
	return s.found, errors.Join(err, s.countLines())
}

// survivors are the processes that are only stopped for a moment.
func (s *soak) survivors() []*process {
	return []*process{s.stack.ingest, s.stack.query, s.stack.rollups[0]}
}

func (s *soak) wrong(format string, args ...any) {
	s.findings.Lock()
	defer s.findings.Unlock()
	s.found.wrong(format, args...)
}

func (r *SoakReport) wrong(format string, args ...any) {
	if len(r.Wrong) < 100 {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

// parts works and judges in turns.
func (s *soak) parts(ctx context.Context) error {
	dying := make([]*process, len(s.victims))
	for i, a := range s.victims {
		dying[i] = a.process
	}
	// Two parts at least, or there is nothing to compare.
	for part := 1; part <= 2 || time.Since(s.report.Started) < s.config.For; part++ {
		err := s.underLoad(ctx, dying, func(ctx context.Context) error {
			return s.disturb(ctx, 10, s.victims, s.pause, s.ask, func(ctx context.Context) error {
				pause.For(ctx, s.config.For/parts)
				return errRoundOver
			})
		})
		if err != nil {
			return err
		}
		v, err := s.settle(ctx)
		if err != nil {
			return err
		}
		s.report.judged(v)
		s.say("part %d, after %d kills (%s): %s", part, s.report.kills(), s.report.killsLine(), v)
		if !v.Right() {
			return nil
		}
		if err := s.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause stops one of the survivors for a moment, now and then.
func (s *soak) pause(ctx context.Context) error {
	survivors := s.survivors()
	for pause.For(ctx, time.Second+time.Duration(s.pausing.ExpFloat64()*float64(5*time.Second))) {
		p := survivors[s.pausing.IntN(len(survivors))]
		stopped := time.Duration(100+s.pausing.IntN(900)) * time.Millisecond
		p.signal(syscall.SIGSTOP)
		pause.For(ctx, stopped)
		p.signal(syscall.SIGCONT)
		s.report.stopped(p.name, stopped)
	}
	return nil
}

// ask asks this and that, at most five times a second.
func (s *soak) ask(ctx context.Context) error {
	paths := []string{"dashboard", "agents", "export.csv", "breakdown", "reconcile"}
	ranges := []string{"today", "7d", "30d", "mtd"}
	for pause.For(ctx, time.Duration(s.asking.ExpFloat64()*float64(200*time.Millisecond))) {
		path := paths[s.asking.IntN(len(paths))]
		query := fmt.Sprintf("?workspace=%s&range=%s", workspaceName(s.asking.IntN(workspaces)), ranges[s.asking.IntN(len(ranges))])
		if path == "breakdown" {
			query += "&by=model"
		}
		s.question(ctx, path, query)
	}
	return nil
}

// question asks one, and requires an answer, or a refusal that says when to come
// again; 504 is for a question that took too long. An export may be cut off where the
// engine dies: half of it must not be taken for all.
func (s *soak) question(ctx context.Context, path, query string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.stack.addresses["query"]+"/v1/usage/"+path+query, http.NoBody)
	if err != nil {
		s.wrong("%s%s: %v", path, query, err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+s.stack.token)
	response, err := s.client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			s.wrong("%s%s: no answer: %v", path, query, err)
		}
		return
	}
	defer response.Body.Close()
	_, cutOff := io.Copy(io.Discard, response.Body)
	if ctx.Err() != nil {
		return // it was this side that cut it off
	}
	what := strconv.Itoa(response.StatusCode)
	if cutOff != nil {
		what += ", cut off"
	}
	switch retryAfter := response.Header.Get("Retry-After"); {
	case cutOff != nil && path != "export.csv":
		s.wrong("%s%s: %s: %v", path, query, what, cutOff)
	case response.StatusCode == http.StatusOK, response.StatusCode == http.StatusGatewayTimeout:
	case retryAfter != "" && (response.StatusCode == http.StatusServiceUnavailable || response.StatusCode == http.StatusTooManyRequests):
	default:
		s.wrong("%s%s: %s, Retry-After %q", path, query, what, retryAfter)
	}
	s.findings.Lock()
	defer s.findings.Unlock()
	s.found.Asked[what]++
}

// measure measures what the survivors take up when there is nothing to do: the least
// of some seconds, so that what works on for a moment is no growth.
func (s *soak) measure(ctx context.Context) error {
	s.client.CloseIdleConnections()
	least := make(map[string]Rest)
	for range 10 {
		if !pause.For(ctx, time.Second) {
			return context.Cause(ctx)
		}
		for _, p := range s.survivors() {
			l := p.current()
			if l.number > 1 || l.over() {
				s.wrong("%s did not live through it", p.name)
				return nil
			}
			rest, err := s.rest(ctx, p, l)
			if errors.Is(err, errors.ErrUnsupported) {
				s.report.remark("growth is not measured: this system does not tell")
				return nil
			}
			if err != nil {
				return err
			}
			if had, ok := least[p.name]; ok {
				rest = Rest{min(rest.Goroutines, had.Goroutines), min(rest.Files, had.Files), min(rest.Memory, had.Memory)}
			}
			least[p.name] = rest
		}
	}
	for name, rest := range least {
		s.found.AtRest[name] = append(s.found.AtRest[name], rest)
	}
	return nil
}

// rest is what a process takes up now.
func (s *soak) rest(ctx context.Context, p *process, l *life) (rest Rest, err error) {
	if rest.Memory, err = resident(l.cmd.Process.Pid); err != nil {
		return rest, err
	}
	if rest.Files, err = descriptors(l.cmd.Process.Pid); err != nil {
		return rest, err
	}
	var content []byte
	if err := s.stack.get(ctx, "http://"+s.stack.addresses[p.name]+"/metrics", &content); err != nil {
		return rest, err
	}
	for line := range strings.Lines(string(content)) {
		if n, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			rest.Goroutines, err = strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return rest, err
}

// judgeGrowth compares what survivors took up after the first part and at the end.
// What is allowed for is what connections to the dead and the garbage collector make
// of it by chance.
func (r *SoakReport) judgeGrowth() {
	const goroutines, files, memory = 30, 30, 64 << 20
	for _, name := range slices.Sorted(maps.Keys(r.AtRest)) {
		all := r.AtRest[name]
		first, last := all[0], all[len(all)-1]
		if last.Goroutines > first.Goroutines+goroutines || last.Files > first.Files+files || last.Memory > first.Memory+first.Memory/4+memory {
			r.wrong("%s has grown: %+v, then %+v", name, first, last)
		}
	}
}

// countLines counts what was logged, and calls it a flood from some four lines a
// second on.
func (s *soak) countLines() error {
	const flood = 240
	logs, err := filepath.Glob(filepath.Join(s.stack.dir, "logs", "*.log"))
	if err != nil {
		return err
	}
	for _, name := range logs {
		n, err := linesOf(name)
		if err != nil {
			return err
		}
		process := strings.TrimSuffix(filepath.Base(name), ".log")
		s.found.Lines[process] = float64(n) / s.found.Took.Minutes()
		if s.found.Lines[process] > flood {
			s.found.wrong("%s logs %.0f lines a minute", process, s.found.Lines[process])
		}
	}
	return nil
}

// linesOf counts a log's lines, but for those that the harness has written.
func linesOf(name string) (int, error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines := 0
	for reader := bufio.NewReader(file); ; {
		line, err := reader.ReadString('\n')
		if line != "" && !strings.HasPrefix(line, lifeLine) {
			lines++
		}
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
