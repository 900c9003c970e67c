package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"agentmeter/internal/pause"
	"agentmeter/schemas"
)

// load sends batches and asks questions, and keeps a list of what became of each
// batch.
type load struct {
	stack       *stack
	client      *http.Client
	connections int
	tokens      map[schemas.WorkspaceID]string

	mu      sync.Mutex // guards what follows
	batches []batch
	asked   uint64
}

func newLoad(s *stack, connections int) *load {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, IdleConnTimeout: 30 * time.Second}
	return &load{
		stack: s, client: &http.Client{Transport: transport, Timeout: time.Minute},
		connections: connections, tokens: make(map[schemas.WorkspaceID]string),
	}
}

// mint makes a token of each workspace's own: ingest shares itself out by them.
func (l *load) mint(ctx context.Context, key string, workspaces ...schemas.WorkspaceID) error {
	for _, workspace := range workspaces {
		token, err := l.stack.command(ctx, "token", "--token-key-file", key, "--workspace", string(workspace), "--ttl", "24h", "--scope", "events:write")
		if err != nil {
			return err
		}
		l.tokens[workspace] = strings.TrimSpace(token)
	}
	return nil
}

// batch is what a request held, and what its sender knows of it. The ids of its
// events begin with its number; each has one message and the same credits.
type batch struct {
	workspace schemas.WorkspaceID
	events    int
	credits   schemas.Credits // of an event
	fate      fate
}

type fate int

// What a sender knows of a request.
const (
	unknown  fate = iota // it may be counted: no answer came, or Kafka did not acknowledge in time
	accepted             // 202
	refused              // nothing of it may be counted
)

// outcome is what came of one request.
type outcome struct {
	status     int // 0: no answer
	code       string
	retryAfter bool
	took       time.Duration
}

func (o outcome) done() bool { return o.status == http.StatusAccepted || o.status == http.StatusOK }

// refused reports whether it was refused as the contract says.
func (o outcome) refused() bool {
	return o.retryAfter && (o.status == http.StatusTooManyRequests || o.status == http.StatusServiceUnavailable)
}

// fate is what the outcome says of a batch.
func (o outcome) fate() fate {
	switch {
	case o.status == http.StatusAccepted:
		return accepted
	case o.code == "kafka_slow", o.code == "kafka_unavailable", o.status == 0, o.status >= 500 && o.status != http.StatusServiceUnavailable:
		return unknown
	default:
		return refused
	}
}

// tally collects outcomes.
type tally struct {
	began, ended time.Time // of sending; answers may come later
	unsent       int       // due while all connections were busy

	mu  sync.Mutex // guards what follows
	all []outcome
}

func (t *tally) add(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, o)
}

// done are the times of the requests that were done, the shortest first.
func (t *tally) done() []time.Duration {
	var times []time.Duration
	for _, o := range t.all {
		if o.done() {
			times = append(times, o.took)
		}
	}
	slices.Sort(times)
	return times
}

// p99 is of the requests that were done.
func (t *tally) p99() time.Duration { return quantile(t.done(), 0.99) }

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// astray are the requests that were neither done nor refused as the contract says,
// with an example.
func (t *tally) astray() (n int, example string) {
	for _, o := range t.all {
		if !o.done() && !o.refused() {
			n++
			example = fmt.Sprintf("%d %s", o.status, o.code)
		}
	}
	return n, example
}

func (t *tally) String() string {
	counts := make(map[string]int)
	for _, o := range t.all {
		counts[strings.TrimSpace(strconv.Itoa(o.status)+" "+o.code)]++
	}
	parts := make([]string, 0, len(counts))
	for what, n := range counts {
		parts = append(parts, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(parts)
	done := t.done()
	return fmt.Sprintf("%d requests (%s; %d not sent), done in p50 %s, p99 %s", len(t.all), strings.Join(parts, ", "), t.unsent,
		quantile(done, 0.5).Round(100*time.Microsecond), quantile(done, 0.99).Round(100*time.Microsecond))
}

// openLoop does something so many times a second for a while, at intervals drawn
// from random, whatever becomes of it: whoever is slow does not slow down the
// load. Times count from when it was due. It returns when all is answered.
func (l *load) openLoop(ctx context.Context, random *rand.Rand, rate float64, long time.Duration, do func(ctx context.Context) outcome) *tally {
	t := &tally{began: time.Now()}
	connections := make(chan struct{}, l.connections)
	var all sync.WaitGroup
	for at := time.Duration(0); at < long; at += time.Duration(random.ExpFloat64() / rate * float64(time.Second)) {
		due := t.began.Add(at)
		if !pause.For(ctx, time.Until(due)) {
			break
		}
		select {
		case connections <- struct{}{}:
		default:
			t.unsent++
			continue
		}
		all.Go(func() {
			o := do(ctx)
			o.took = time.Since(due)
			t.add(o)
			<-connections
		})
	}
	t.ended = time.Now()
	all.Wait()
	return t
}

// closedLoop does something again and again, by so many workers at once, for a
// while.
func (l *load) closedLoop(ctx context.Context, workers int, long time.Duration, do func(ctx context.Context) outcome) *tally {
	t := &tally{began: time.Now()}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for time.Since(t.began) < long && ctx.Err() == nil {
				began := time.Now()
				o := do(ctx)
				o.took = time.Since(began)
				t.add(o)
			}
		})
	}
	all.Wait()
	t.ended = time.Now()
	return t
}

// post sends a new batch of a workspace's.
func (l *load) post(ctx context.Context, workspace schemas.WorkspaceID, events int) outcome {
	l.mu.Lock()
	number := len(l.batches)
	b := batch{workspace: workspace, events: events, credits: schemas.Credits(1000 * (1 + number%7))}
	l.batches = append(l.batches, b)
	l.mu.Unlock()
	o := l.do(ctx, http.MethodPost, "http://"+l.stack.addresses["ingest"]+"/v1/events", l.tokens[workspace], bytes.NewReader(b.body(number)))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches[number].fate = o.fate()
	return o
}

// body is a batch as NDJSON, made at as little cost as possible: whoever brings the
// load has to be cheaper than whoever takes it.
func (b batch) body(number int) []byte {
	rest := fmt.Appendf(nil, `","workspace_id":%q,"agent_id":"agt_%d","occurred_at":%q,"channel":"api","credits":%q}`+"\n",
		b.workspace, number%10, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), b.credits)
	body := make([]byte, 0, b.events*(len(rest)+24))
	for i := range b.events {
		body = append(body, `{"id":"`...)
		body = strconv.AppendInt(body, int64(number), 10)
		body = append(body, '-')
		body = strconv.AppendInt(body, int64(i), 10)
		body = append(body, rest...)
	}
	return body
}

// ask asks for a dashboard of a range that was hardly asked for before.
func (l *load) ask(ctx context.Context, workspace schemas.WorkspaceID) outcome {
	l.mu.Lock()
	l.asked++
	n := l.asked
	l.mu.Unlock()
	start := time.Now().UTC().Truncate(time.Minute).Add(-time.Duration(n%997) * time.Minute)
	address := fmt.Sprintf("http://%s/v1/usage/dashboard?workspace=%s&start=%s&end=%s", l.stack.addresses["query"], workspace,
		start.Add(-24*time.Hour).Format(time.RFC3339), start.Add(24*time.Hour).Format(time.RFC3339))
	return l.do(ctx, http.MethodGet, address, l.stack.token, nil)
}

func (l *load) do(ctx context.Context, method, address, token string, body io.Reader) outcome {
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return outcome{code: err.Error()}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := l.client.Do(request)
	if err != nil {
		return outcome{code: "no answer: " + innermost(err)}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return outcome{code: "half an answer: " + innermost(err)}
	}
	o := outcome{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After") != ""}
	if o.status >= http.StatusBadRequest {
		_, after, _ := strings.Cut(string(content), `"code":"`)
		o.code, _, _ = strings.Cut(after, `"`)
	}
	return o
}

// innermost is what is wrong with a connection, without its addresses, so that
// errors can be counted by it.
func innermost(err error) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number):
		return number.Error()
	case os.IsTimeout(err):
		return "timeout"
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// buckets are those of a histogram, by their bounds.
func buckets(exposition, histogram string) (map[float64]float64, error) {
	counts := make(map[float64]float64)
	for line := range strings.Lines(exposition) {
		rest, ok := strings.CutPrefix(line, histogram)
		bound, count, found := strings.Cut(rest, `"} `)
		if !ok || !found {
			continue
		}
		le, err := strconv.ParseFloat(bound, 64) // +Inf, too
		n, err2 := strconv.ParseFloat(strings.TrimSpace(count), 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		counts[le] = n
	}
	return counts, nil
}

// bucketP99 is the bound of the bucket in which the 99th of a hundred lies, of
// those between two readings.
func bucketP99(before, after map[float64]float64) string {
	all := after[math.Inf(1)] - before[math.Inf(1)]
	for _, le := range slices.Sorted(maps.Keys(after)) {
		if after[le]-before[le] >= 0.99*all {
			return fmt.Sprintf("≤ %gs", le)
		}
	}
	return "unknown"
}

// requestSeconds is a role's histogram of a route, up to a bucket's bound.
func requestSeconds(route string) string {
	return fmt.Sprintf(`agentmeter_http_request_duration_seconds_bucket{route=%q,le="`, route)
}

// serverP99 is the p99 of a role's requests during some time, refused ones included,
// by the role's own histogram: on a machine that is busy with sending, a sender waits
// for itself, too.
func (l *load) serverP99(ctx context.Context, role, route string, during func()) (string, error) {
	read := func() (map[float64]float64, error) {
		var content []byte
		if err := l.stack.get(ctx, "http://"+l.stack.addresses[role]+"/metrics", &content); err != nil {
			return nil, err
		}
		return buckets(string(content), requestSeconds(route))
	}
	before, err := read()
	if err != nil {
		return "", err
	}
	during()
	after, err := read()
	if err != nil {
		return "", err
	}
	return bucketP99(before, after), nil
}

// comparison is what the list of batches and the ledger say of one another.
type comparison struct {
	Accepted int `json:"accepted_requests"`
	Events   int `json:"accepted_events"`
	Refused  int `json:"refused_requests"`
	Unknown  int `json:"requests_of_unknown_fate"`

	Lost    int `json:"lost_events"`    // of accepted requests
	Doubled int `json:"doubled_events"` // of any
	Leaked  int `json:"leaked_events"`  // of refused requests, or of nobody's
	Wrong   int `json:"wrong_requests"` // whose credits or messages are not what was sent

	// Notes say what was found, the first hundred.
	Notes []string `json:"notes"`
}

func (c *comparison) note(format string, args ...any) {
	if len(c.Notes) < 100 {
		c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
	}
}

// compare holds the ledger to the list of batches. Everything must be counted.
func (l *load) compare(ctx context.Context) (*comparison, error) {
	text, err := l.stack.sql(ctx, batchesSQL)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return compareBatches(l.batches, text), nil
}

// compareBatches compares batches with the ledger's rows of them; see
// sql/batches.sql.
func compareBatches(batches []batch, ledger string) *comparison {
	c := &comparison{}
	counted := make([]int, len(batches))
	for fields := range rowsOf(ledger) {
		number, err := strconv.Atoi(fields[1])
		events, ids := int(integer(fields[2])), int(integer(fields[3]))
		if err != nil || number < 0 || number >= len(batches) || string(batches[number].workspace) != fields[0] {
			c.Leaked += events
			c.note("%d events of %s, batch %q, which nobody sent", events, fields[0], fields[1])
			continue
		}
		b := batches[number]
		counted[number] = ids
		if events > ids {
			c.Doubled += events - ids
			c.note("batch %d: %d events of %d ids are counted", number, events, ids)
		}
		if b.fate == refused {
			c.Leaked += events
			c.note("batch %d was refused, and %d of its events are counted", number, events)
		}
		if integer(fields[4]) != int64(b.credits)*int64(events) || integer(fields[5]) != int64(events) || events > b.events {
			c.Wrong++
			c.note("batch %d: %q, of %+v", number, fields, b)
		}
	}
	for number, b := range batches {
		switch b.fate {
		case accepted:
			c.Accepted++
			c.Events += b.events
			if missing := b.events - counted[number]; missing > 0 {
				c.Lost += missing
				c.note("batch %d was accepted, and %d of its %d events are not counted", number, missing, b.events)
			}
		case refused:
			c.Refused++
		case unknown:
			c.Unknown++
		}
	}
	return c
}
