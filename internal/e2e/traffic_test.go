package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"agentmeter/schemas"
)

// traffic is events of one workspace, which are added up on the side.
type traffic struct {
	t         *testing.T
	workspace string
	day       time.Time // that the events are of: one that is over

	mu   sync.Mutex // guards what follows
	sum  schemas.CreditsSum
	sent int

	end func() // of what begin began, where it did
}

func newTraffic(t *testing.T, workspace string) *traffic {
	t.Helper()
	return &traffic{t: t, workspace: workspace, day: schemas.StepDay.Floor(time.Now().UTC().AddDate(0, 0, -1))}
}

const trafficAgents = 5

// event is the n-th event of the workspace, always the same.
func (w *traffic) event(n int) (body string, credits schemas.Credits) {
	credits = schemas.Credits(1_000_001 + n%7*250_000)
	return fmt.Sprintf(`{"id":"%s-%d","workspace_id":"%s","agent_id":"agt_%d","conversation_id":"talk-%d","occurred_at":"%s","channel":"embed","credits":"%s"}`,
		w.workspace, n, w.workspace, n%trafficAgents, n/3, w.day.Add(time.Duration(n%86400)*time.Second).Format(time.RFC3339), credits), credits
}

// post sends the events [from, to) in one request.
func (w *traffic) post(ingest, token string, from, to int) error {
	var body strings.Builder
	for n := from; n < to; n++ {
		event, _ := w.event(n)
		body.WriteString(map[bool]string{true: "[", false: ","}[n == from] + event)
	}
	return expectStatus(w.t, http.MethodPost, ingest+"/v1/events", token, strings.NewReader(body.String()+"]"), http.StatusAccepted)
}

// send sends n more events.
func (w *traffic) send(ingest, token string, n int) {
	w.t.Helper()
	if err := w.sendMore(ingest, token, n); err != nil {
		w.t.Fatal(err)
	}
}

func (w *traffic) sendMore(ingest, token string, n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.post(ingest, token, w.sent, w.sent+n); err != nil {
		return err
	}
	for range n {
		_, credits := w.event(w.sent)
		w.sum, w.sent = w.sum.Plus(schemas.SumOf(credits)), w.sent+1
	}
	return nil
}

// begin goes on sending until end.
func (w *traffic) begin(ingest, token string) {
	ended, done := make(chan struct{}), make(chan struct{})
	w.end = sync.OnceFunc(func() {
		close(ended)
		<-done
	})
	w.t.Cleanup(w.end)
	ticker := time.NewTicker(10 * time.Millisecond)
	go func() {
		defer close(done)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				if err := w.sendMore(ingest, token, 10); err != nil {
					w.t.Error(err)
					return
				}
			}
		}
	}()
}

// passes waits until so many more events are sent.
func (w *traffic) passes(more int) {
	w.t.Helper()
	_, from := w.total()
	deadline := time.Now().Add(countPatience)
	for ticker := time.NewTicker(5 * time.Millisecond); ; <-ticker.C {
		if _, sent := w.total(); sent >= from+more {
			ticker.Stop()
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d events were not sent within %s", more, countPatience)
		}
	}
}

func (w *traffic) total() (schemas.CreditsSum, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sum, w.sent
}

func (w *traffic) parameters() string {
	date := w.day.Format(time.DateOnly)
	return "from=" + date + "&to=" + date
}

// counted waits until the day's figures are complete and all that was sent.
func (w *traffic) counted(p *process, query, token string) {
	w.t.Helper()
	p.waitFor("to count what was sent", countPatience, func() error { return w.isCounted(query, token) })
}

func (w *traffic) isCounted(query, token string) error {
	want, sent := w.total()
	d := readDashboard(w.t, query, token, w.workspace, w.parameters())
	if d.Summary.Credits != want.String() || d.RecordedEvents != fmt.Sprint(sent) || d.Completeness != "complete" {
		return notYetError{fmt.Sprintf("%s credits of %s, %s events of %d, %s", d.Summary.Credits, want, d.RecordedEvents, sent, d.Completeness)}
	}
	return nil
}
