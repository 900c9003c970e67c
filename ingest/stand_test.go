package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"agentmeter/internal/auth"
	"agentmeter/internal/fair"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/httpapi/contracttest"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const eventPartitions = 4

// stand is the write side as it is wired in production, before a broker that
// speaks the Kafka protocol.
type stand struct {
	cluster *kfake.Cluster
	client  *kgo.Client
	ingest  *Ingest
	router  *httpapi.Router
	key     auth.Key
	keyPath string
	reg     *prometheus.Registry
	token   string // may do everything, everywhere
}

func newStand(t testing.TB, edit ...func(*Config)) stand {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(eventPartitions, kafka.TopicEvents), kfake.SeedTopics(1, kafka.TopicDirectory))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(append(kafka.Config{Brokers: cluster.ListenAddrs(), ClientID: "test"}.ProducerOptions(log),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	config := DefaultConfig()
	for _, e := range edit {
		e(&config)
	}
	s := stand{cluster: cluster, client: client, reg: prometheus.NewRegistry()}
	s.ingest, err = New(config, client, log, s.reg)
	if err != nil {
		t.Fatal(err)
	}
	s.keyPath = filepath.Join(t.TempDir(), auth.KeyFile)
	s.key, err = auth.LoadOrCreateKey(s.keyPath)
	if err != nil {
		t.Fatal(err)
	}
	s.router = httpapi.NewRouter(httpapi.NewHealth(log), log, s.reg)
	s.ingest.Mount(auth.NewGuard(s.key.Verifier(), nil).Mux(s.router))
	s.token = s.mint(t, schemas.AllWorkspaces, auth.EventsWrite, auth.AdjustmentsWrite, auth.DirectoryWrite)
	return s
}

// bareIngest is a write side that can decode, and nothing more.
func bareIngest() *Ingest {
	config := DefaultConfig()
	return &Ingest{
		config: config, metrics: newMetrics(prometheus.NewRegistry()),
		budget: fair.New(fair.Config{Capacity: config.MaxInFlightBytes}),
	}
}

func (s stand) mint(t testing.TB, workspace schemas.WorkspaceID, scopes ...auth.Scope) string {
	t.Helper()
	token, err := s.key.Mint(auth.Grant{Workspace: workspace, Scopes: scopes, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// call is one request.
type call struct {
	route     string // "POST /v1/events" by default
	token     string // the stand's by default; "-" for none
	mediaType string
	encoding  string
	body      []byte
	ctx       context.Context
}

// do sends a request and holds the answer against the contract.
func (s stand) do(t testing.TB, c call) *httptest.ResponseRecorder {
	t.Helper()
	if c.route == "" {
		c.route = "POST /v1/events"
	}
	if c.ctx == nil {
		c.ctx = t.Context()
	}
	method, path, _ := strings.Cut(c.route, " ")
	r := httptest.NewRequestWithContext(c.ctx, method, path, bytes.NewReader(c.body))
	if c.mediaType != "" {
		r.Header.Set("Content-Type", c.mediaType)
	}
	if c.encoding != "" {
		r.Header.Set("Content-Encoding", c.encoding)
	}
	switch c.token {
	case "":
		r.Header.Set("Authorization", "Bearer "+s.token)
	case "-":
	default:
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	if c.ctx.Err() == nil {
		contracttest.Check(t, r, w.Result())
	}
	return w
}

func (s stand) sendJSON(t testing.TB, body string) *httptest.ResponseRecorder {
	t.Helper()
	return s.do(t, call{mediaType: "application/json", body: []byte(body)})
}

func acceptanceIn(t testing.TB, w *httptest.ResponseRecorder) api.Acceptance {
	t.Helper()
	if w.Code != http.StatusAccepted {
		t.Fatalf("answered %d: %s", w.Code, w.Body)
	}
	var acceptance api.Acceptance
	if err := json.Unmarshal(w.Body.Bytes(), &acceptance); err != nil {
		t.Fatal(err)
	}
	return acceptance
}

func problemIn(t testing.TB, w *httptest.ResponseRecorder) api.Problem {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("answered %d with %q: %s", w.Code, got, w.Body)
	}
	var problem api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
		t.Fatal(err)
	}
	return problem
}

// records reads the whole topic.
func (s stand) records(t testing.TB, topic string) []*kgo.Record {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	options := kafka.Config{Brokers: s.cluster.ListenAddrs(), ClientID: "reader"}.Options(log)
	consumer, err := kgo.NewClient(append(options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	ends, err := kadm.NewClient(consumer).ListEndOffsets(t.Context(), topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	var want int64
	ends.Each(func(end kadm.ListedOffset) { want += end.Offset })
	var records []*kgo.Record
	for int64(len(records)) < want {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// events decodes the events topic and checks what every record must be.
func (s stand) events(t testing.TB) []schemas.Event {
	t.Helper()
	var decoder schemas.EventDecoder
	records := s.records(t, kafka.TopicEvents)
	events := make([]schemas.Event, len(records))
	for i, record := range records {
		if err := decoder.Decode(record.Value, &events[i]); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if key := schemas.RecordKey(events[i].Workspace, events[i].ID); !bytes.Equal(record.Key, key) {
			t.Errorf("event %s has the key %q, not %q", events[i].ID, record.Key, key)
		}
		if want := schemas.PartitionOf(record.Key, eventPartitions); record.Partition != want {
			t.Errorf("event %s lies in partition %d, not %d", events[i].ID, record.Partition, want)
		}
	}
	return events
}

func eventsByID(events []schemas.Event) map[string]schemas.Event {
	byID := make(map[string]schemas.Event, len(events))
	for _, e := range events {
		byID[e.ID] = e
	}
	return byID
}

// failingClient is a client that no broker answers.
func failingClient(t testing.TB) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"), kgo.Dialer(
		func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no broker") }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func compress(t testing.TB, encoding string, plain []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	var writer io.WriteCloser
	switch encoding {
	case "", "identity":
		return plain
	case "gzip", "x-gzip":
		writer = gzip.NewWriter(&packed)
	case "zstd":
		encoder, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		writer = encoder
	default:
		t.Fatalf("no encoding %q", encoding)
	}
	if _, err := writer.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// eventJSON is a good event with members added or replaced; a nil value
// removes one.
func eventJSON(edits map[string]any) string {
	members := map[string]any{
		"id": "m-1", "workspace_id": "ws_acme", "agent_id": "agt_support", "channel": "embed", "credits": "1.5",
		"occurred_at": time.Now().UTC().Format(time.RFC3339Nano),
	}
	for name, value := range edits {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		panic(fmt.Sprintf("test event: %v", err))
	}
	return string(text)
}

type raw = json.RawMessage
