package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/auth"
	"agentmeter/internal/embedded/broker"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// sampleEvents are events as an agents' runtime sends them.
func sampleEvents(n int) []schemas.Event {
	return randomEvents(rand.New(rand.NewPCG(7, 11)), n)
}

func randomEvents(random *rand.Rand, n int) []schemas.Event {
	channels := []string{"embed", "api", "whatsapp", "slack", "playground"}
	now := time.Now().UTC().Truncate(time.Microsecond)
	events := make([]schemas.Event, n)
	for i := range events {
		events[i] = schemas.Event{
			ID: fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", random.Uint32(), random.Uint32N(1<<16), random.Uint32N(1<<12),
				random.Uint32N(1<<12), random.Uint64N(1<<48)),
			Workspace:    schemas.WorkspaceID(fmt.Sprintf("ws_%04d", random.IntN(300))),
			Agent:        schemas.AgentID(fmt.Sprintf("agt_support_%03d", random.IntN(50))),
			Conversation: fmt.Sprintf("conv_%010d", random.IntN(1_000_000)),
			OccurredAt:   now.Add(-time.Duration(random.Int64N(int64(time.Hour)))).Truncate(time.Microsecond),
			Channel:      channels[random.IntN(len(channels))],
			Model:        "large-2026-05",
			Credits:      schemas.Credits(random.Int64N(20_000_000)),
			Messages:     1,
		}
	}
	return events
}

func jsonOf(e schemas.Event) string {
	return fmt.Sprintf(`{"id":%q,"workspace_id":%q,"agent_id":%q,"conversation_id":%q,"occurred_at":%q,"channel":%q,"model":%q,"credits":%q,"messages":%d}`,
		e.ID, e.Workspace, e.Agent, e.Conversation, e.OccurredAt.Format(time.RFC3339Nano), e.Channel, e.Model, e.Credits.String(), e.Messages)
}

func jsonArrayOf(events []schemas.Event) []byte {
	var body bytes.Buffer
	for i, e := range events {
		body.WriteByte("[,"[min(i, 1)])
		body.WriteString(jsonOf(e))
	}
	body.WriteByte(']')
	return body.Bytes()
}

func ndjsonOf(events []schemas.Event) []byte {
	var body bytes.Buffer
	for _, e := range events {
		body.WriteString(jsonOf(e))
		body.WriteByte('\n')
	}
	return body.Bytes()
}

func protobufOf(events []schemas.Event) []byte {
	var body []byte
	for i := range events {
		record := schemas.EncodeEvent(nil, &events[i])
		batch := usagev1.EventBatch{Events: []*usagev1.Event{{}}}
		if err := batch.Events[0].UnmarshalVT(record); err != nil {
			panic(err)
		}
		encoded, err := batch.MarshalVT()
		if err != nil {
			panic(err)
		}
		body = append(body, encoded...)
	}
	return body
}

func cloudEventsOf(events []schemas.Event) []byte {
	var body bytes.Buffer
	for i, e := range events {
		body.WriteByte("[,"[min(i, 1)])
		fmt.Fprintf(&body, `{"specversion":"1.0","type":"answered","source":%q,"id":%q,"time":%q,"data":{"workspace_id":%q,"conversation_id":%q,"channel":%q,"model":%q,"credits":%q,"messages":%d}}`,
			e.Agent, e.ID, e.OccurredAt.Format(time.RFC3339Nano), e.Workspace, e.Conversation, e.Channel, e.Model, e.Credits.String(), e.Messages)
	}
	body.WriteByte(']')
	return body.Bytes()
}

// BenchmarkDecode is the cost of a batch of 1,000 events from its bytes to its
// records: decoding, validation, encoding.
func BenchmarkDecode(b *testing.B) {
	const n = 1000
	events := sampleEvents(n)
	for _, format := range []struct {
		name      string
		mediaType string
		body      []byte
	}{
		{"json", "application/json", jsonArrayOf(events)},
		{"ndjson", "application/x-ndjson", ndjsonOf(events)},
		{"protobuf", "application/x-protobuf", protobufOf(events)},
		{"cloudevents", "application/cloudevents-batch+json", cloudEventsOf(events)},
	} {
		b.Run(format.name, func(b *testing.B) {
			in := bareIngest()
			access := auth.Access{Workspace: schemas.AllWorkspaces, Scopes: []auth.Scope{auth.EventsWrite}}
			b.ReportAllocs()
			b.SetBytes(int64(len(format.body)))
			for b.Loop() {
				batch := in.newBatch(auth.WithAccess(b.Context(), access))
				batch.expect(len(format.body), decoders[format.mediaType].usualEventBytes)
				if err := decoders[format.mediaType].decode(format.body, batch); err != nil {
					b.Fatal(err)
				}
				if len(batch.records) != n {
					b.Fatalf("%d records: %+v", len(batch.records), batch.rejected[:1])
				}
				batch.release()
			}
			perEvent := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / n
			b.ReportMetric(perEvent, "ns/event")
			b.ReportMetric(1e9/perEvent, "events/s")
		})
	}
}

// BenchmarkBatches is batches of 1,000 events over HTTP, each answered once the
// broker has acknowledged it, beside a bare producer of the very records that
// come of them: the same client with the same options on the same broker, the
// records made beforehand, as many batches under way. Both in turns. What sends
// the requests shares the processors, so it does no more than write prepared
// bytes and read the answer's status.
func BenchmarkBatches(b *testing.B) {
	const n, senders, bodies = 1000, 16, 8
	for _, format := range []struct {
		name, mediaType string
		encode          func([]schemas.Event) []byte
	}{{"ndjson", "application/x-ndjson", ndjsonOf}, {"protobuf", "application/x-protobuf", protobufOf}} {
		b.Run(format.name, func(b *testing.B) {
			s := newBenchServer(b)
			var requests [bodies][]byte
			var values [bodies][][]byte
			var keys [bodies][][]byte
			random := rand.New(rand.NewPCG(7, 11))
			for i := range bodies {
				events := randomEvents(random, n)
				requests[i] = s.request(format.mediaType, format.encode(events))
				for _, e := range events {
					keys[i] = append(keys[i], schemas.RecordKey(e.Workspace, e.ID))
					values[i] = append(values[i], schemas.EncodeEvent(nil, &e))
				}
			}
			none := newAcknowledged("")
			bare := func(_, i int) error {
				records := make([]kgo.Record, n)
				acks := newAcknowledgements(n, none, func() {})
				for j := range records {
					records[j] = kgo.Record{Topic: kafka.TopicEvents, Key: keys[i%bodies][j], Value: values[i%bodies][j]}
					s.client.Produce(b.Context(), &records[j], acks.one)
				}
				<-acks.done
				return acks.err()
			}
			connections := s.connect(b, s.address, senders)
			post := func(sender, i int) error { return connections[sender].post(requests[i%bodies]) }
			inTurns(b, "bare", senders, n, post, bare)
		})
	}
}

// BenchmarkSingle is one event a request over 256 connections, beside the same
// server with a handler that reads the body and answers as much. The events
// wait for the broker's acknowledgement, the other handler for nothing.
func BenchmarkSingle(b *testing.B) {
	const senders, bodies = 256, 64
	s := newBenchServer(b)
	idle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"accepted":1,"rejected":[]}`))
	}))
	b.Cleanup(idle.Close)
	var requests [bodies][]byte
	for i, e := range sampleEvents(bodies) {
		requests[i] = s.request("application/json", []byte(jsonOf(e)))
	}
	ours, theirs := s.connect(b, s.address, senders), s.connect(b, idle.Listener.Addr().String(), senders)
	inTurns(b, "read_only", senders, 1,
		func(sender, i int) error { return ours[sender].post(requests[i%bodies]) },
		func(sender, i int) error { return theirs[sender].post(requests[i%bodies]) })
}

// inTurns lets senders do one thing and then the other for a while, several
// times, and reports the medians of events a second and of the pairs' ratios.
func inTurns(b *testing.B, reference string, senders, events int, ours, theirs func(sender, i int) error) {
	b.Helper()
	const rounds, length = 7, 1500 * time.Millisecond
	rate := func(do func(sender, i int) error) float64 {
		var all sync.WaitGroup
		var done atomic.Int64
		began := time.Now()
		for sender := range senders {
			all.Go(func() {
				for i := sender; time.Since(began) < length; i++ {
					if err := do(sender, i); err != nil {
						b.Error(err)
						return
					}
					done.Add(int64(events))
				}
			})
		}
		all.Wait()
		return float64(done.Load()) / time.Since(began).Seconds()
	}
	rate(ours) // warms up both
	rate(theirs)
	for b.Loop() {
		var our, their, ratios []float64
		for round := range rounds {
			if round%2 == 0 {
				our, their = append(our, rate(ours)), append(their, rate(theirs))
			} else {
				their, our = append(their, rate(theirs)), append(our, rate(ours))
			}
			ratios = append(ratios, our[round]/their[round])
		}
		slices.Sort(our)
		slices.Sort(their)
		slices.Sort(ratios)
		b.ReportMetric(our[rounds/2], "events/s")
		b.ReportMetric(their[rounds/2], reference+"_events/s")
		b.ReportMetric(ratios[rounds/2], "ratio")
		b.ReportMetric(ratios[rounds-1]-ratios[0], "ratio-spread")
	}
}

// benchServer is ingest as it runs in production, over the embedded broker.
type benchServer struct {
	client  *kgo.Client
	address string
	token   string
}

func newBenchServer(b *testing.B) *benchServer {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	embedded, err := broker.Open(broker.Config{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = embedded.Close() })
	client, err := kgo.NewClient(kafka.Config{Brokers: []string{embedded.Addr()}, ClientID: "bench"}.ProducerOptions(log)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	if _, err := kafka.EnsureTopics(b.Context(), kadm.NewClient(client), kafka.DefaultPlan()); err != nil {
		b.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	in, err := New(DefaultConfig(), client, log, registry)
	if err != nil {
		b.Fatal(err)
	}
	key, err := auth.LoadOrCreateKey(filepath.Join(b.TempDir(), auth.KeyFile))
	if err != nil {
		b.Fatal(err)
	}
	token, err := key.Mint(auth.Grant{Workspace: schemas.AllWorkspaces, Scopes: auth.Scopes, TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	router := httpapi.NewRouter(httpapi.NewHealth(log), log, registry)
	in.Mount(auth.NewGuard(key.Verifier(), nil).Mux(router))
	server := httptest.NewServer(router)
	b.Cleanup(server.Close)
	return &benchServer{client: client, address: server.Listener.Addr().String(), token: token}
}

// request is the bytes of a request.
func (s *benchServer) request(mediaType string, body []byte) []byte {
	head := fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: ingest\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		s.token, mediaType, len(body))
	return append([]byte(head), body...)
}

// connection is a client that costs next to nothing.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

func (s *benchServer) connect(b *testing.B, address string, n int) []connection {
	b.Helper()
	connections := make([]connection, n)
	for i := range connections {
		c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		connections[i] = connection{Conn: c, answers: bufio.NewReader(c)}
	}
	return connections
}

// post sends a request and reads its answer, which has to be 202.
func (c connection) post(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	status, err := c.answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	accepted := bytes.HasPrefix(status, []byte("HTTP/1.1 202 "))
	length := 0
	for {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == len("\r\n") {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if _, err := c.answers.Discard(length); err != nil {
		return err
	}
	if !accepted {
		return errors.New("an answer was not 202")
	}
	return nil
}
