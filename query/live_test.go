package query

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/twmb/franz-go/pkg/kfake"

	"agentmeter/internal/auth"
	"agentmeter/internal/clickhouse"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// liveWire is the service and what it asks of ClickHouse for the live stream, on
// a network in memory, within a bubble whose clock passes only while everybody
// waits.
type liveWire struct {
	*service

	t       *testing.T
	network *kfake.VirtualNetwork
	client  *http.Client

	mu      sync.Mutex // guards what follows
	through time.Time
	at      int64 // the position of each partition
	counted map[string]tally
	broken  bool
}

const (
	servicePort    = "8080"
	clickhousePort = "8123"
)

// onLiveWire runs a test in a bubble of its own.
func onLiveWire(t *testing.T, config Config, test func(t *testing.T, w *liveWire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &liveWire{t: t, network: &kfake.VirtualNetwork{}, through: frozen, counted: map[string]tally{}}
		w.listen(clickhousePort, http.HandlerFunc(w.answer))
		client, err := clickhouse.Open(clickhouse.Config{URL: "http://localhost:" + clickhousePort, Dial: w.network.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
		var handler http.Handler
		w.service, handler = newService(t, client, frozen.Add(time.Minute), config)
		w.listen(servicePort, handler)
		w.client = &http.Client{Transport: &http.Transport{DialContext: w.network.DialContext}}
		t.Cleanup(w.client.CloseIdleConnections)
		test(t, w)
	})
}

// listen serves a handler until the test ends.
func (w *liveWire) listen(port string, handler http.Handler) {
	w.t.Helper()
	listener, err := w.network.Listen("tcp", "localhost:"+port)
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Hour}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w.t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
}

// answer is ClickHouse, as far as the live stream goes.
func (w *liveWire) answer(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked has left
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var (
		rows    int
		columns proto.Input
	)
	switch sql := string(body); {
	case w.broken:
		out.Header().Set("X-ClickHouse-Exception-Code", "241")
		out.WriteHeader(http.StatusInternalServerError)
		return
	case strings.Contains(sql, "FROM rollup_progress"):
		var (
			partition, partitions        proto.ColInt32
			position, through, nowhere   proto.ColInt64
			halted                       proto.ColUInt8
			counted                      = w.through.UnixMilli()
			everyPartition, noneIsHalted = int32(ledgerPartitions), uint8(0)
		)
		for p := range everyPartition {
			partition.Append(p)
			partitions.Append(everyPartition)
			position.Append(w.at)
			through.Append(counted)
			halted.Append(noneIsHalted)
			nowhere.Append(0)
		}
		rows = int(everyPartition)
		columns = proto.Input{
			{Name: "partition", Data: partition},
			{Name: "partitions", Data: partitions},
			{Name: "position", Data: position},
			{Name: "counted_through", Data: through},
			{Name: "halted", Data: halted},
			{Name: "halted_from", Data: nowhere},
		}
	case strings.Contains(sql, "FROM usage_workspace_hour"):
		sum := w.counted[r.URL.Query().Get("param_workspace")]
		// All of it occurred at one hour.
		rows = 1
		columns = totalColumns(partTotals, uint32(frozen.Truncate(time.Hour).Unix()), sum)
	case strings.Contains(sql, "FROM usage_playground"):
		rows = 1
		columns = totalColumns(partPlayground, 0, tally{})
	default:
		w.t.Errorf("the live stream asks for %s", sql)
		return
	}
	block, err := clickhouse.EncodeBlock(nil, rows, columns)
	if err != nil {
		w.t.Error(err)
		return
	}
	out.Header().Set("X-ClickHouse-Query-Id", "of its own")
	_, _ = out.Write(block)
}

func totalColumns(of part, bar uint32, sum tally) proto.Input {
	var nobody proto.ColStr
	nobody.Append("")
	return proto.Input{
		{Name: "part", Data: proto.ColUInt8{uint8(of)}},
		{Name: "bar", Data: proto.ColUInt32{bar}},
		{Name: "who", Data: nobody},
		{Name: "spent", Data: proto.ColInt128{{Low: sum.credits.Lo, High: uint64(sum.credits.Hi)}}},
		{Name: "answered", Data: proto.ColInt64{sum.messages}},
		{Name: "recorded", Data: proto.ColInt64{sum.events}},
	}
}

// count says that so many events of a workspace, of a credit each, have been
// counted, and how far everything has been by then.
func (w *liveWire) count(workspace string, events int64, through time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := w.counted[workspace]
	sum.add(tally{credits: schemas.SumOf(schemas.Credits(events * 1e6)), messages: events, events: events})
	w.counted[workspace] = sum
	w.at += events
	w.through = through
}

// said is one thing that a stream said.
type said struct {
	after   time.Duration // since the stream was opened
	comment string
	id      string
	update  *api.LiveUpdate
	ended   bool
}

// listener is a reader of the live stream.
type listener struct {
	t     *testing.T
	said  chan said
	leave func()
}

// open opens the live stream; header are names and values.
func (w *liveWire) open(token, workspace string, header ...string) *listener {
	w.t.Helper()
	began := time.Now()
	response, leave := w.request(token, workspace, header...)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("%d, %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	l := &listener{t: w.t, said: make(chan said, 1000), leave: leave}
	go func() {
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		var one said
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case lines.Text() == "" && (one != said{}):
				one.after = time.Since(began)
				l.said <- one
				one = said{}
			case name == "":
				one.comment = value
			case name == "id":
				one.id = value
			case name == "data":
				one.update = &api.LiveUpdate{}
				if err := json.Unmarshal([]byte(value), one.update); err != nil {
					w.t.Errorf("%q: %v", value, err)
				}
			}
		}
		l.said <- said{after: time.Since(began), ended: true}
	}()
	w.t.Cleanup(leave)
	return l
}

func (w *liveWire) request(token, workspace string, header ...string) (*http.Response, func()) {
	w.t.Helper()
	ctx, leave := context.WithCancel(w.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+servicePort+"/v1/usage/live?workspace="+workspace, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	return response, leave
}

// next is what the stream says next, at whatever time.
func (l *listener) next() said {
	l.t.Helper()
	select {
	case one := <-l.said:
		return one
	case <-time.After(time.Hour):
		l.t.Fatal("an hour of silence")
		return said{}
	}
}

// event expects an event.
func (l *listener) event() said {
	l.t.Helper()
	one := l.next()
	if one.update == nil || one.id == "" {
		l.t.Fatalf("got %+v, want an event with an id", one)
	}
	return one
}

func TestASilentLiveStreamIsKeptOpenByComments(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.LiveInterval = time.Second }), func(t *testing.T, w *liveWire) {
		stream := w.open(w.token, "ws")
		stream.event()
		for _, at := range []time.Duration{15 * time.Second, 30 * time.Second} {
			if one := stream.next(); one.comment == "" || one.after != at {
				t.Errorf("got %+v, want a comment after %s", one, at)
			}
		}
		<-time.After(5 * time.Second)
		w.count("ws", 1, frozen.Add(time.Second))
		news := stream.event()
		if news.after < 35*time.Second || news.after > 36*time.Second {
			t.Errorf("news came after %s, want a second after 35s at most", news.after)
		}
		// The silence begins with the last word, whatever that was.
		if one := stream.next(); one.comment == "" || one.after != news.after+15*time.Second {
			t.Errorf("got %+v, want a comment 15s after %s", one, news.after)
		}
	})
}

func TestALiveStreamEndsWithItsAccess(t *testing.T) {
	onLiveWire(t, DefaultConfig(), func(t *testing.T, w *liveWire) {
		token := w.mint(t, time.Minute, auth.UsageRead)
		stream := w.open(token, "ws")
		one := stream.next()
		for ; !one.ended; one = stream.next() {
			w.count("ws", 1, w.through.Add(time.Second))
		}
		if one.after != time.Minute {
			t.Errorf("ended after %s, want a minute", one.after)
		}
		response, _ := w.request(token, "ws")
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("whoever comes back with it: %d", response.StatusCode)
		}
	})
}

func TestALiveStreamEndsAtOnceWhenTheServerDrains(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.LiveInterval = time.Hour }), func(t *testing.T, w *liveWire) {
		stream := w.open(w.token, "ws")
		stream.event()
		<-time.After(10 * time.Second)
		w.health.Drain()
		if one := stream.next(); !one.ended || one.after != 10*time.Second {
			t.Errorf("got %+v, want the end after 10s", one)
		}
	})
}

func TestALiveStreamEndsWhenThereIsNobodyToAsk(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.LiveInterval = time.Second }), func(t *testing.T, w *liveWire) {
		stream := w.open(w.token, "ws")
		heard := stream.event()
		w.mu.Lock()
		w.broken = true
		w.mu.Unlock()
		if one := stream.next(); !one.ended || one.after != time.Second {
			t.Errorf("got %+v, want the end after 1s", one)
		}
		response, _ := w.request(w.token, "ws", lastEventID, heard.id)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Errorf("whoever comes back: %d, %v", response.StatusCode, response.Header)
		}
	})
}

func TestSoManyLiveStreamsAreOpenAndNoMore(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.MaxLive = 2 }), func(t *testing.T, w *liveWire) {
		first, second := w.open(w.token, "ws"), w.open(w.token, "other")
		first.event()
		second.event()
		response, _ := w.request(w.token, "ws")
		var problem api.Problem
		if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
			t.Error(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "2" || problem.Code != "busy" {
			t.Errorf("a stream too many: %d, Retry-After %q, %q", response.StatusCode, response.Header.Get("Retry-After"), problem.Code)
		}
		first.leave()
		if one := first.next(); !one.ended {
			t.Errorf("got %+v, want the end", one)
		}
		synctest.Wait()
		w.open(w.token, "ws").event() // where one has left there is room
	})
}

func TestAReaderThatComesBackIsToldWhetherAnythingIsNew(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.LiveInterval = time.Second }), func(t *testing.T, w *liveWire) {
		back := func(header ...string) said {
			t.Helper()
			stream := w.open(w.token, "ws", header...)
			one := stream.event()
			if one.after != 0 {
				t.Errorf("the first word came after %s", one.after)
			}
			stream.leave()
			if end := stream.next(); !end.ended {
				t.Errorf("got %+v, want the end", end)
			}
			return one
		}
		w.count("ws", 3, frozen)
		first := back()
		if !first.update.Changed {
			t.Error("a reader that has heard nothing is told that nothing has changed")
		}
		if got := back(lastEventID, first.id); got.update.Changed || got.id != first.id {
			t.Errorf("nothing is new: %+v, id %s after %s", got.update, got.id, first.id)
		}
		w.count("other", 5, frozen.Add(time.Second))
		if got := back(lastEventID, first.id); got.update.Changed || got.id != first.id || !got.update.CountedThrough.After(frozen) {
			t.Errorf("new for another workspace: %+v, id %s after %s", got.update, got.id, first.id)
		}
		w.count("ws", 0, frozen.Add(2*time.Second))
		w.count("ws", 1, frozen.Add(2*time.Second))
		second := back(lastEventID, first.id)
		if !second.update.Changed || second.id == first.id {
			t.Errorf("an event: %+v, id %s after %s", second.update, second.id, first.id)
		}
		if got := back(lastEventID, second.id); got.update.Changed {
			t.Errorf("what was heard is new: %+v", got.update)
		}
		// A correction that takes back what an event brought leaves the sums as they
		// were, and is news nevertheless.
		w.mu.Lock()
		w.counted["ws"] = tally{credits: schemas.SumOf(3e6), messages: 3, events: 5}
		w.mu.Unlock()
		if got := back(lastEventID, first.id); !got.update.Changed {
			t.Error("the sums that were, of other events, are not told")
		}
	})
}

func TestAnUnknownLastEventIDIsNews(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.LiveInterval = time.Second }), func(t *testing.T, w *liveWire) {
		// The same has been counted of both.
		w.count("ws", 3, frozen)
		w.count("other", 3, frozen)
		known := w.open(w.token, "ws").event().id
		for name, header := range map[string][]string{
			"nothing":                {lastEventID, ""},
			"another workspace's":    {lastEventID, w.open(w.token, "other").event().id},
			"garbage":                {lastEventID, "'; DROP TABLE usage_ledger --"},
			"no UTF-8":               {lastEventID, "\x80\xff"},
			"a long one":             {lastEventID, strings.Repeat("z", 100_000)},
			"a list":                 {lastEventID, known + "," + known},
			"a part":                 {lastEventID, known[:len(known)-1]},
			"one and another header": {lastEventID, "garbage", lastEventID, known},
		} {
			stream := w.open(w.token, "ws", header...)
			if got := stream.event(); !got.update.Changed || got.id != known {
				t.Errorf("%s: %+v, id %q, want %q", name, got.update, got.id, known)
			}
			stream.leave()
		}
	})
}

// The id moves with the figures alone. News are said once more at each of the next
// two moves of the partitions: by then all of them are in every rollup.
func TestALiveStreamsIDMovesWithTheFiguresAlone(t *testing.T) {
	onLiveWire(t, with(func(c *Config) { c.LiveInterval = time.Second }), func(t *testing.T, w *liveWire) {
		stream := w.open(w.token, "ws")
		heard := stream.event().id
		const others = 4
		for i := range int64(20) {
			workspace, since := "other", i%(others+1)
			if since == 0 {
				workspace = "ws"
			}
			w.count(workspace, 1, frozen.Add(time.Duration(i+1)*time.Second))
			got := stream.event()
			if (got.id != heard) != (workspace == "ws") || got.update.Changed != (since <= surelyAfter) {
				t.Errorf("event %d, of %s: %+v, id %s after %s", i, workspace, got.update, got.id, heard)
			}
			heard = got.id
		}
	})
}

func TestNoLastEventIDIsAnError(t *testing.T) {
	w := newWorld(t)
	w.progress(t, frozen)
	s := w.serve(t, frozen, DefaultConfig())
	for _, ids := range [][]string{{""}, {"garbage"}, {"\x80\xff"}, {"one", "another"}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+"/v1/usage/dashboard?workspace=ws", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+s.token)
		request.Header[http.CanonicalHeaderKey(lastEventID)] = ids
		response, err := s.server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var answer api.Dashboard
		err = json.NewDecoder(response.Body).Decode(&answer)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || len(answer.Series) == 0 {
			t.Errorf("%q: %s, %+v, %v", ids, response.Status, answer, err)
		}
	}
}
