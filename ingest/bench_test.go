package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// sampleEvents are events as an agents' runtime sends them.
func sampleEvents(n int) []schemas.Event {
	random := rand.New(rand.NewPCG(7, 11))
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
			in := &Ingest{config: DefaultConfig(), log: slog.New(slog.DiscardHandler), metrics: newMetrics(prometheus.NewRegistry())}
			access := auth.Access{Workspace: auth.AllWorkspaces, Scopes: []auth.Scope{auth.EventsWrite}}
			b.ReportAllocs()
			b.SetBytes(int64(len(format.body)))
			for b.Loop() {
				batch := in.newBatch(access)
				batch.expect(len(format.body), decoders[format.mediaType].usualEventBytes)
				if err := decoders[format.mediaType].decode(format.body, batch); err != nil {
					b.Fatal(err)
				}
				if len(batch.records) != n {
					b.Fatalf("%d records: %+v", len(batch.records), batch.rejected[:1])
				}
			}
			perEvent := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / n
			b.ReportMetric(perEvent, "ns/event")
			b.ReportMetric(1e9/perEvent, "events/s")
		})
	}
}

// BenchmarkPost is a batch of 1,000 events over HTTP until its durable
// acknowledgement, beside a bare producer of the same records on the same
// broker.
func BenchmarkPost(b *testing.B) {
	const n = 1000
	events := sampleEvents(n)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(b.TempDir()),
		kfake.SeedTopics(eventPartitions, kafka.TopicEvents), kfake.SeedTopics(1, kafka.TopicDirectory))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	log := slog.New(slog.DiscardHandler)
	client, err := kgo.NewClient(kafka.Config{Brokers: cluster.ListenAddrs(), ClientID: "bench"}.ProducerOptions(log)...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	registry := prometheus.NewRegistry()
	in, err := New(DefaultConfig(), client, log, registry)
	if err != nil {
		b.Fatal(err)
	}
	key, err := auth.LoadOrCreateKey(filepath.Join(b.TempDir(), auth.KeyFile))
	if err != nil {
		b.Fatal(err)
	}
	token, err := key.Mint(auth.Grant{Workspace: auth.AllWorkspaces, Scopes: auth.Scopes, TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	router := httpapi.NewRouter(httpapi.NewHealth(log), log, registry)
	in.Mount(auth.NewGuard(key.Verifier(), nil).Mux(router))
	server := httptest.NewServer(router)
	defer server.Close()
	server.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 64

	measure := func(name string, send func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(4)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := send(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	measure("bare producer", func() error {
		records := make([]*kgo.Record, n)
		for i := range records {
			records[i] = &kgo.Record{
				Topic: kafka.TopicEvents, Key: schemas.RecordKey(events[i].Workspace, events[i].ID), Value: schemas.EncodeEvent(nil, &events[i]),
			}
		}
		return client.ProduceSync(b.Context(), records...).FirstErr()
	})
	for _, format := range formats[1:] {
		body := format.encode(events)
		measure(format.mediaType, func() error {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL+"/v1/events", bytes.NewReader(body))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", format.mediaType)
			r.Header.Set("Authorization", "Bearer "+token)
			answer, err := server.Client().Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, answer.Body)
			if answer.StatusCode != http.StatusAccepted {
				return fmt.Errorf("answered %d", answer.StatusCode)
			}
			return errors.Join(err, answer.Body.Close())
		})
	}
}
