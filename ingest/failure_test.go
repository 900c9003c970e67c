package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"agentmeter/internal/auth"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// refuse answers produce requests with an error for every partition.
func refuse(request kmsg.Request, why *kerr.Error) kmsg.Response {
	produce := request.(*kmsg.ProduceRequest)
	response := produce.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range produce.Topics {
		answered := kmsg.NewProduceResponseTopic()
		answered.Topic, answered.TopicID = topic.Topic, topic.TopicID
		for _, partition := range topic.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition, p.ErrorCode = partition.Partition, why.Code
			answered.Partitions = append(answered.Partitions, p)
		}
		response.Topics = append(response.Topics, answered)
	}
	return response
}

// hold keeps produce requests waiting until release is called.
func (s stand) hold(t testing.TB) (held <-chan struct{}, release func()) {
	t.Helper()
	arrived, open := make(chan struct{}, 100), make(chan struct{})
	var released atomic.Bool
	s.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		if released.Load() {
			s.cluster.DropControl()
			return nil, nil, false
		}
		s.cluster.KeepControl()
		arrived <- struct{}{}
		s.cluster.SleepControl(func() { <-open })
		return nil, nil, false
	})
	release = func() {
		if released.CompareAndSwap(false, true) {
			close(open)
		}
	}
	t.Cleanup(release)
	return arrived, release
}

// settled waits until nothing is in flight.
func (s stand) settled(t *testing.T) {
	t.Helper()
	if err := s.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := s.ingest.budget.InUse(); held != 0 {
		t.Errorf("%d bytes stay reserved", held)
	}
}

func TestARefusalByKafkaClaimsNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	events := sampleEvents(100)
	for _, why := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidRequiredAcks} {
		s.cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
			return refuse(request, why), nil, true
		})
		w := s.do(t, call{mediaType: "application/x-ndjson", body: ndjsonOf(events)})
		if problem := problemIn(t, w); w.Code != 503 || problem.Code != "kafka_unavailable" || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: %d %s", why, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "accepted\"") || strings.Contains(strings.ToUpper(w.Body.String()), why.Message) {
			t.Errorf("%v: it claims or tells too much: %s", why, w.Body)
		}
		s.settled(t)
	}
	if got := testutil.ToFloat64(s.ingest.metrics.accepted.WithLabelValues(kindEvent)); got != 0 {
		t.Errorf("%v events count as accepted", got)
	}
	acceptanceIn(t, s.do(t, call{mediaType: "application/x-ndjson", body: ndjsonOf(events)}))
}

// A broker whose disk is full or read-only answers so for as long as it is.
func TestABrokerThatCannotWriteIs503AndClaimsNothing(t *testing.T) {
	t.Parallel()
	for _, why := range []*kerr.Error{kerr.KafkaStorageError, kerr.NotEnoughReplicas, kerr.ThrottlingQuotaExceeded, kerr.TopicAuthorizationFailed} {
		s := newStand(t, func(c *Config) { c.AckTimeout = 100 * time.Millisecond })
		s.cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
			s.cluster.KeepControl()
			return refuse(request, why), nil, true
		})
		w := s.do(t, call{mediaType: "application/x-ndjson", body: ndjsonOf(sampleEvents(10))})
		if problem := problemIn(t, w); w.Code != 503 || !strings.HasPrefix(problem.Code, "kafka_") || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: %d %s", why, w.Code, w.Body)
		}
		if got := testutil.ToFloat64(s.ingest.metrics.accepted.WithLabelValues(kindEvent)); got != 0 {
			t.Errorf("%v: %v events count as accepted", why, got)
		}
		if err := s.client.AbortBufferedRecords(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.settled(t)
		if got := s.ingest.turns.InUse(); got != 0 {
			t.Errorf("%v: %d bytes of turns stay taken", why, got)
		}
	}
}

func TestABrokerThatRecoversInTimeIsNoFailure(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, why := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend} {
		s.cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
			return refuse(request, why), nil, true
		})
		acceptanceIn(t, s.sendJSON(t, eventJSON(map[string]any{"id": why.Message})))
	}
	// The connection breaks after the broker has stored the batch.
	var once atomic.Bool
	s.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		if once.CompareAndSwap(false, true) {
			return nil, fmt.Errorf("the connection breaks"), true
		}
		return nil, nil, false
	})
	acceptanceIn(t, s.sendJSON(t, eventJSON(map[string]any{"id": "broken connection"})))
	if got := len(eventsByID(s.events(t))); got != 4 {
		t.Errorf("%d events arrived, 4 were accepted", got)
	}
}

func TestASlowKafkaIs503AndItsBytesStayCounted(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) {
		c.AckTimeout = 50 * time.Millisecond
		c.MaxBodyBytes, c.MaxEventBytes, c.MaxInFlightBytes = 64<<10, 1<<10, 1<<20
	})
	_, release := s.hold(t)
	body := ndjsonOf(sampleEvents(200))
	send := func(token string) string {
		w := s.do(t, call{token: token, mediaType: "application/x-ndjson", body: body})
		problem := problemIn(t, w)
		want := 503
		if problem.Code == "too_much_in_flight" {
			want = 429
		}
		if w.Code != want || w.Header().Get("Retry-After") != "1" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return problem.Code
	}
	codes := map[string]int{}
	for range 20 {
		code := send("")
		codes[code]++
		if code == "kafka_slow" && len(codes) > 1 {
			t.Error("room came back while Kafka held everything")
		}
	}
	if codes["kafka_slow"] == 0 || codes["kafka_slow"]+codes["too_much_in_flight"] != 20 {
		t.Errorf("%v: one sender is to get its share, and no more", codes)
	}
	another := func(subject string) string {
		token, err := s.key.Mint(auth.Grant{Subject: subject, Workspace: schemas.AllWorkspaces, Scopes: []auth.Scope{auth.EventsWrite}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	// There is room for others, until they are too many.
	if code := send(another("b")); code != "kafka_slow" {
		t.Errorf("another sender: %s", code)
	}
	free := s.ingest.config.MaxInFlightBytes - s.ingest.budget.InUse()
	if err := s.ingest.budget.Take("all the rest", free); err != nil {
		t.Fatal(err)
	}
	if code := send(another("c")); code != "overloaded" {
		t.Errorf("where nothing is left: %s", code)
	}
	s.ingest.budget.Give("all the rest", free)
	release()
	s.settled(t)
	s.ingest.producer.timeout = time.Minute
	acceptanceIn(t, s.do(t, call{mediaType: "application/x-ndjson", body: body}))
}

func TestASenderWhoGoesAwayChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	held, release := s.hold(t)
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan int, 1)
	events := sampleEvents(300)
	go func() {
		answered <- s.do(t, call{mediaType: "application/x-ndjson", body: ndjsonOf(events), ctx: ctx}).Code
	}()
	<-held
	leave()
	release()
	<-answered
	s.settled(t)
	if got := len(s.events(t)); got != 300 {
		t.Errorf("%d of 300 events arrived", got)
	}
}

func TestReadinessNeedsKafkaAndItsTopics(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	if err := s.ingest.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	empty, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, kafka.TopicEvents))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(empty.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(empty.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	log := slog.New(slog.DiscardHandler)
	for name, tt := range map[string]struct {
		client *kgo.Client
		within time.Duration
		want   string
	}{"no directory topic": {client, 30 * time.Second, kafka.TopicDirectory}, "no broker": {failingClient(t), time.Second, ""}} {
		in, err := New(DefaultConfig(), tt.client, log, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), tt.within)
		if err := in.Ready(ctx); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

func TestOnlyWhoMayWriteWrites(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	adjustment := `{"id":"a-1","workspace_id":"ws_acme","agent_id":"x","occurred_at":"2026-01-01T00:00:00Z","credits":"-1","reason":"r"}`
	routes := map[string]struct {
		scope auth.Scope
		body  string
		topic string
		away  int // status for a workspace out of reach
	}{
		"POST /v1/events":                         {auth.EventsWrite, eventJSON(nil), kafka.TopicEvents, 422},
		"POST /v1/adjustments":                    {auth.AdjustmentsWrite, adjustment, kafka.TopicEvents, 404},
		"PUT /v1/workspaces/ws_acme":              {auth.DirectoryWrite, `{"name":"Acme"}`, kafka.TopicDirectory, 404},
		"PUT /v1/workspaces/ws_acme/agents/a":     {auth.DirectoryWrite, `{"name":"A"}`, kafka.TopicDirectory, 404},
		"DELETE /v1/workspaces/ws_acme/agents/a":  {auth.DirectoryWrite, ``, kafka.TopicDirectory, 404},
		"PUT /v1/workspaces/ws_acme/members/a":    {auth.DirectoryWrite, `{"name":"A"}`, kafka.TopicDirectory, 404},
		"DELETE /v1/workspaces/ws_acme/members/a": {auth.DirectoryWrite, ``, kafka.TopicDirectory, 404},
	}
	secret, err := os.ReadFile(s.keyPath)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "agentmeter", "aud": "agentmeter", "exp": time.Now().Add(-time.Second).Unix(), "workspace": "*",
		"scope": "events:write adjustments:write directory:write",
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	others := func(scope auth.Scope) []auth.Scope {
		var rest []auth.Scope
		for _, other := range auth.Scopes {
			if other != scope {
				rest = append(rest, other)
			}
		}
		return rest
	}
	good := s.mint(t, "*", auth.Scopes...)
	for route, tt := range routes {
		for _, attempt := range []struct {
			name, token string
			status      int
		}{
			{"nobody", "-", 401},
			{"nonsense", "x.y.z", 401},
			{"expired", expired, 401},
			{"forged", good[:len(good)-2], 401},
			{"every other scope", s.mint(t, "*", others(tt.scope)...), 403},
			{"another workspace", s.mint(t, "ws_other", tt.scope), tt.away},
			{"the very workspace", s.mint(t, "ws_acme", tt.scope), 202},
			{"every workspace", s.mint(t, "*", tt.scope), 202},
		} {
			t.Run(route+" "+attempt.name, func(t *testing.T) {
				before := len(s.records(t, tt.topic))
				mediaType := "application/json"
				if tt.body == "" {
					mediaType = ""
				}
				w := s.do(t, call{route: route, token: attempt.token, mediaType: mediaType, body: []byte(tt.body)})
				if w.Code != attempt.status {
					t.Errorf("%d, want %d: %s", w.Code, attempt.status, w.Body)
				}
				arrived := len(s.records(t, tt.topic)) - before
				if (arrived == 1) != (attempt.status == 202) || arrived > 1 {
					t.Errorf("answered %d, and %d records arrived", w.Code, arrived)
				}
			})
		}
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{MaxEventSkew: -1}.Validate()
	for _, want := range []string{"topic", "--max-body-bytes", "--max-events", "--max-event-age", "--max-event-skew", "ack timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	config := DefaultConfig()
	config.MaxEventBytes = int(config.MaxBodyBytes) + 1
	if config.Validate() == nil {
		t.Error("events may be larger than a body")
	}
	config = DefaultConfig()
	config.MaxInFlightBytes = config.MaxBodyBytes
	if config.Validate() == nil {
		t.Error("a budget that the largest request does not fit in was taken")
	}
	if _, err := New(config, nil, nil, nil); err == nil {
		t.Error("New takes a bad configuration")
	}
	for name, options := range map[string][]kgo.Opt{
		"acks of the leader": {kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()},
		"not idempotent":     {kgo.DisableIdempotentWrite()},
	} {
		client, err := kgo.NewClient(append(options, kgo.SeedBrokers("127.0.0.1:1"))...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(DefaultConfig(), client, nil, prometheus.NewRegistry()); err == nil {
			t.Errorf("%s: a producer that can lose or double events was taken", name)
		}
		client.Close()
	}
}

func TestNoTwoChangesOfTheDirectoryShareAnInstant(t *testing.T) {
	t.Parallel()
	var clock directoryClock
	last := clock.now()
	for range 10_000 {
		next := clock.now()
		if !next.After(last) || !next.Equal(next.Truncate(time.Microsecond)) {
			t.Fatalf("%v after %v", next, last)
		}
		last = next
	}
	clock.last = time.Now().Add(time.Hour).Truncate(time.Microsecond) // the clock was set back
	if ahead := clock.last; !clock.now().After(ahead) {
		t.Error("a change lies before the one that it follows")
	}
}
