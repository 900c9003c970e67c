package e2e

import (
	"bytes"
	"context"
	bits "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/eventclient"
	"agentmeter/schemas"
)

const (
	loadBatch      = 1000 // events of a request
	loadWorkspaces = 20
	loadAgents     = 50 // of each workspace
	loadSenders    = 4
	loadTemplates  = 128
)

// load is live traffic of a thousand agents of twenty workspaces over HTTP. It
// costs next to nothing to make, since it shares the machine with what is
// measured: a request is a body that was encoded before, with new ids, times
// and conversations written over the old.
type load struct {
	b         *testing.B
	http      *http.Client
	templates []template
	senders   []*sender
	// at is when the n-th event of all occurred.
	at func(n int64) time.Time

	made     atomic.Int64 // events that were given an id
	accepted atomic.Int64 // events that were answered with 202
	killed   atomic.Bool  // who does not answer is dead, as it should be
	running  sync.WaitGroup
	stop     context.CancelFunc
}

// template is a request's body, and where in it stands what differs.
type template struct {
	body   []byte
	places [loadBatch]place
	ndjson int // bytes of the same events as JSON, one a line
}

type place struct{ id, at, conversation int }

// conversationDigits is how many digits a conversation's number has.
const conversationDigits = 9

// sender keeps the request that it was not answered, and sends it again first.
type sender struct {
	random  *rand.Rand
	body    []byte
	pending bool
}

func newLoad(b *testing.B) *load {
	l := &load{
		b: b, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loadSenders}, Timeout: time.Minute},
		at: func(int64) time.Time { return time.Now() },
	}
	random := rand.New(rand.NewPCG(21, 22))
	for range loadTemplates {
		l.templates = append(l.templates, newTemplate(random))
	}
	for n := range loadSenders {
		l.senders = append(l.senders, &sender{random: rand.New(rand.NewPCG(23, uint64(n)))})
	}
	b.Cleanup(l.halt)
	return l
}

func newTemplate(random *rand.Rand) template {
	var t template
	at := time.Date(2026, 11, 24, 9, 31, 47, 123_456_000, time.UTC)
	var line []byte
	for i := range t.places {
		var id uuid.UUID
		bits.NativeEndian.PutUint64(id[:8], random.Uint64())
		bits.NativeEndian.PutUint64(id[8:], random.Uint64())
		workspace := random.IntN(loadWorkspaces)
		conversation := fmt.Sprintf("%0*d", conversationDigits, i/5)
		event := schemas.Event{
			ID: id.String(), Workspace: schemas.WorkspaceID(fmt.Sprintf("ws_%d", workspace)),
			Agent:        schemas.AgentID(fmt.Sprintf("agt_%d_%d", workspace, random.IntN(loadAgents))),
			Conversation: "conv_" + conversation, Model: "large", Channel: "embed", OccurredAt: at,
			Credits: schemas.Credits(random.IntN(8) * 250_000), Messages: 1,
		}
		record := schemas.EncodeEvent(nil, &event)
		t.body = append(t.body, 1<<3|2) // EventBatch.events
		t.body = bits.AppendUvarint(t.body, uint64(len(record)))
		find := func(what []byte) int { return len(t.body) + bytes.Index(record, what) }
		t.places[i] = place{
			id:           find(id[:]),
			at:           find(bits.LittleEndian.AppendUint64(nil, uint64(at.UnixMicro()))),
			conversation: find([]byte(conversation)),
		}
		t.body = append(t.body, record...)
		line = eventclient.AppendEvent(line[:0], &event)
		t.ndjson += len(line) + len("\n")
	}
	return t
}

// bytesAsJSON is what an event takes as a line of JSON, on average.
func (l *load) bytesAsJSON() float64 {
	sum := 0
	for i := range l.templates {
		sum += l.templates[i].ndjson
	}
	return float64(sum) / float64(len(l.templates)*loadBatch)
}

// fill makes the sender's next request, of events that nobody has seen.
func (l *load) fill(s *sender) {
	t := &l.templates[s.random.IntN(len(l.templates))]
	s.body = append(s.body[:0], t.body...)
	first := l.made.Add(loadBatch) - loadBatch
	for i := range t.places {
		p, n := &t.places[i], first+int64(i)
		bits.NativeEndian.PutUint64(s.body[p.id:], s.random.Uint64())
		bits.NativeEndian.PutUint64(s.body[p.id+8:], s.random.Uint64())
		bits.LittleEndian.PutUint64(s.body[p.at:], uint64(l.at(n).UnixMicro()))
		conversation := n / 5
		for digit := conversationDigits - 1; digit >= 0; digit-- {
			s.body[p.conversation+digit] = byte('0' + conversation%10)
			conversation /= 10
		}
	}
	s.pending = true
}

// post sends the sender's request until it is accepted.
func (l *load) post(ctx context.Context, base, token string, s *sender) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/events", bytes.NewReader(s.body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := l.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Accepted int `json:"accepted"`
	}
	if err := json.Unmarshal(content, &answer); response.StatusCode != http.StatusAccepted || err != nil || answer.Accepted != loadBatch {
		return fmt.Errorf("status %d, accepted %d of %d: %.300s", response.StatusCode, answer.Accepted, loadBatch, content)
	}
	l.accepted.Add(loadBatch)
	s.pending = false
	return nil
}

// begin sends until halt, at so many events a second; 0: as many as are
// accepted, up to limit in all where it is not 0.
func (l *load) begin(base, token string, rate float64, limit int64) {
	l.halt()
	l.killed.Store(false)
	ctx, stop := context.WithCancel(l.b.Context())
	l.stop = stop
	turn := make(chan struct{}, 1000) // of requests that are due
	if rate > 0 {
		l.running.Go(func() {
			ticker := time.NewTicker(time.Duration(loadBatch / rate * float64(time.Second)))
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
				select {
				case turn <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		})
	} else {
		close(turn)
	}
	var due atomic.Int64
	due.Store(l.made.Load())
	for _, s := range l.senders {
		l.running.Go(func() {
			for ctx.Err() == nil {
				if !s.pending {
					if limit > 0 && due.Add(loadBatch) > limit {
						return
					}
					select {
					case <-turn:
					case <-ctx.Done():
						return
					}
					l.fill(s)
				}
				// Not given up when the load is halted: what was sent is answered.
				if err := l.post(context.WithoutCancel(ctx), base, token, s); err != nil {
					if !l.killed.Load() {
						l.b.Error(err)
					}
					return
				}
			}
		})
	}
}

// halt ends the load and waits until all requests are answered.
func (l *load) halt() {
	if l.stop != nil {
		l.stop()
	}
	l.running.Wait()
}

// wait waits until the load has reached its limit, and says so every few
// seconds.
func (l *load) wait(say func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.running.Wait()
	}()
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			say()
		}
	}
}

// finish sends what was not answered when everything was killed.
func (l *load) finish(base, token string) {
	l.halt()
	for _, s := range l.senders {
		if s.pending {
			if err := l.post(l.b.Context(), base, token, s); err != nil {
				l.b.Fatal(err)
			}
		}
	}
}
