package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"agentmeter/internal/freeaddress"
	"agentmeter/internal/kafka"
	"agentmeter/internal/kafka/kafkatest"
	"agentmeter/internal/pause"
)

// stackConfig says what runs.
type stackConfig struct {
	binary     string
	dir        string
	rollups    int
	partitions int32
	blockRows  int
	linger     time.Duration
	limit      time.Duration // of a statement
	drain      time.Duration
	hotIDs     int
	variant    string
	random     *rand.Rand
	extra      []string // flags of every rollup
	asking     []string // flags of query
	sleeping   bool     // the rollups are started by somebody else
	jars       string   // of a real Apache Kafka, which then is the broker
	nodes      int      // of it
}

const group = "agentmeter-rollup"

// stack is the whole product as processes.
type stack struct {
	stackConfig
	broker, engine, ingest, query *process
	brokers                       []*process // the broker, and the other nodes where it is a cluster
	rebuild                       *process   // a command, not a service
	rollups                       []*process
	addresses                     map[string]string // host:port by role; a cluster's stand side by side
	proxies                       []*proxy          // one for each rollup
	token                         string
	http                          *http.Client
	kafka                         *kgo.Client
	admin                         *kadm.Client
}

// startStack starts everything and waits until it is ready.
func startStack(ctx context.Context, config stackConfig) (_ *stack, err error) {
	logs := filepath.Join(config.dir, "logs")
	if err := os.MkdirAll(logs, 0o750); err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	s := &stack{stackConfig: config, addresses: make(map[string]string), http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, role := range []string{"broker", "engine", "ingest", "query"} {
		s.addresses[role] = freeaddress.Find(config.random.IntN)
	}
	if err := s.prepareBrokers(ctx, logs); err != nil {
		return nil, err
	}
	key := filepath.Join(config.dir, "access.key")
	kafkaAt, engineAt := s.addresses["broker"], s.addresses["engine"]
	role := func(name string, args ...string) *process {
		return &process{name: name, binary: config.binary, args: args, dir: logs}
	}
	s.engine = role("engine", "engine", "--data-dir", config.dir, "--clickhouse-listen", engineAt)
	s.ingest = role("ingest", "ingest", "--kafka", kafkaAt, "--token-key-file", key, "--http-listen", s.addresses["ingest"])
	s.query = role("query", append([]string{"query", "--clickhouse", "http://" + engineAt, "--token-key-file", key, "--http-listen", s.addresses["query"]}, s.asking...)...)
	s.rebuild = role("rebuild", "rebuild", "--kafka", kafkaAt, "--clickhouse", "http://"+engineAt)
	for _, p := range append(s.brokers, s.engine) {
		if _, err := p.start(); err != nil {
			return nil, err
		}
	}
	if s.kafka, err = kgo.NewClient(kgo.SeedBrokers(s.seeds()...), kgo.ClientID("crash-harness"), kgo.MetadataMinAge(50*time.Millisecond),
		kgo.RetryTimeout(5*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond })); err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	s.admin = kadm.NewClient(s.kafka)
	if err := s.waitEngine(ctx); err != nil {
		return nil, err
	}
	if err := s.waitNodes(ctx); err != nil {
		return nil, err
	}
	if _, err := s.command(ctx, "migrate", "--kafka", kafkaAt, "--clickhouse", "http://"+engineAt, "--event-partitions", fmt.Sprint(config.partitions)); err != nil {
		return nil, err
	}
	if err := s.waitBroker(ctx); err != nil {
		return nil, err
	}
	token, err := s.command(ctx, "token", "--token-key-file", key, "--workspace", "*", "--ttl", "24h",
		"--scope", "events:write,events:import,adjustments:write,usage:read,directory:write,ops:read")
	if err != nil {
		return nil, err
	}
	s.token = strings.TrimSpace(token)
	for i := range config.rollups {
		if _, err := s.addRollup(i); err != nil {
			return nil, err
		}
	}
	starting := []*process{s.ingest, s.query}
	if !config.sleeping {
		starting = append(starting, s.rollups...)
	}
	for _, p := range starting {
		if _, err := p.start(); err != nil {
			return nil, err
		}
	}
	return s, s.waitReady(ctx)
}

// prepareBrokers makes the embedded broker, or a real Kafka's nodes; the caller
// starts them.
func (s *stack) prepareBrokers(ctx context.Context, logs string) error {
	if s.jars == "" {
		s.broker = &process{
			name: "broker", binary: s.binary, dir: logs,
			args: []string{"broker", "--data-dir", s.dir, "--kafka-listen", s.addresses["broker"], "--event-partitions", fmt.Sprint(s.partitions)},
		}
		s.brokers = []*process{s.broker}
		return nil
	}
	cluster, err := kafkatest.Prepare(ctx, kafkatest.Config{Jars: s.jars, Dir: filepath.Join(s.dir, "kafka"), Nodes: s.nodes, Properties: map[string]string{
		"log.retention.check.interval.ms": "1000",
		"log.initial.task.delay.ms":       "1000",
	}})
	if err != nil {
		return err
	}
	for _, node := range cluster.Nodes {
		s.brokers = append(s.brokers, &process{name: fmt.Sprintf("broker-%d", node.ID), binary: node.Command[0], args: node.Command[1:], dir: logs})
	}
	s.broker = s.brokers[0]
	s.addresses["broker"] = strings.Join(cluster.Addresses(), ",")
	return nil
}

// seeds are the brokers' addresses.
func (s *stack) seeds() []string { return strings.Split(s.addresses["broker"], ",") }

// addRollup makes a rollup, with a proxy of its own; the caller starts it.
func (s *stack) addRollup(i int, flags ...string) (*process, error) {
	px, err := newProxy(s.addresses["engine"], rand.New(rand.NewPCG(s.random.Uint64(), s.random.Uint64())), s.limit) //nolint:gosec // reproducible on purpose
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("rollup-%d", i+1)
	s.addresses[name] = freeaddress.Find(s.random.IntN)
	args := []string{
		"rollup", "--kafka", s.addresses["broker"], "--clickhouse", px.url(), "--http-listen", s.addresses[name],
		"--token-key-file", filepath.Join(s.dir, "access.key"),
		"--block-rows", fmt.Sprint(s.blockRows), "--block-linger", s.linger.String(),
		"--drain-timeout", s.drain.String(), "--statement-timeout", s.limit.String(), "--hot-ids", fmt.Sprint(s.hotIDs),
	}
	p := &process{name: name, binary: s.binary, args: append(append(args, s.extra...), flags...), dir: filepath.Join(s.dir, "logs")}
	if s.variant != "" {
		p.env = []string{"AGENTMETER_VARIANT=" + s.variant}
	}
	s.proxies = append(s.proxies, px)
	s.rollups = append(s.rollups, p)
	return p, nil
}

// close kills everything.
func (s *stack) close() {
	for _, p := range s.processes() {
		p.signal(syscall.SIGCONT)
		p.kill()
	}
	for _, px := range s.proxies {
		px.close()
	}
	if s.kafka != nil {
		s.kafka.Close()
	}
}

func (s *stack) processes() []*process {
	var all []*process
	for _, p := range slices.Concat([]*process{s.query, s.ingest, s.engine, s.rebuild}, s.rollups, s.brokers) {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// command runs agentmeter to its end and returns its standard output.
func (s *stack) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...) //nolint:gosec // the product under test
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("agentmeter %s: %w: %s", args[0], err, stderr.String())
	}
	return stdout.String(), nil
}

// patience is how long a step may take, or counting may stand still.
const patience = 90 * time.Second

// poll asks condition again and again until it returns nil.
func poll(ctx context.Context, what string, most time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if !pause.For(ctx, 20*time.Millisecond) {
			return fmt.Errorf("crash: waited %s for %s: %w", most, what, err)
		}
	}
}

func (s *stack) waitEngine(ctx context.Context) error {
	return poll(ctx, "the engine", patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := s.sql(ctx, "SELECT 1")
		return err
	})
}

// waitNodes waits until every node of Kafka is there.
func (s *stack) waitNodes(ctx context.Context) error {
	return poll(ctx, "the brokers", patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		nodes, err := s.admin.ListBrokers(ctx)
		if err == nil && len(nodes) < len(s.brokers) {
			err = fmt.Errorf("%d of %d are there", len(nodes), len(s.brokers))
		}
		return err
	})
}

func (s *stack) waitBroker(ctx context.Context) error {
	return poll(ctx, "the broker", patience, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		ends, err := s.admin.ListEndOffsets(ctx, kafka.TopicEvents)
		if err != nil {
			return err
		}
		return ends.Error()
	})
}

func (s *stack) waitReady(ctx context.Context) error {
	for _, role := range []string{"ingest", "query"} {
		err := poll(ctx, role+" to be ready", patience, func(ctx context.Context) error {
			return s.get(ctx, "http://"+s.addresses[role]+"/readyz", nil)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// get reads an address; a nil content only asks for status 200.
func (s *stack) get(ctx context.Context, address string, content *[]byte) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d: %.300s", address, response.StatusCode, body)
	}
	if content != nil {
		*content = body
	}
	return nil
}

// sql asks the engine directly, as curl would, and returns the answer's text.
func (s *stack) sql(ctx context.Context, statement string) (string, error) {
	values := url.Values{"database": {"agentmeter"}, "wait_end_of_query": {"1"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addresses["engine"]+"/?"+values.Encode(), strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("engine: status %d: %.300s", response.StatusCode, body)
	}
	return string(body), nil
}

// evict removes members whose process is gone from the consumer group, as its
// session's end would, only at once. With everyone, living members are thrown
// out too, and go on for up to a heartbeat in the belief that they own their
// partitions.
func (s *stack) evict(ctx context.Context, everyone bool) (evicted int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	described, err := s.admin.DescribeGroups(ctx, group)
	if err == nil {
		err = described[group].Err
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group = group
	for _, member := range described[group].Members {
		_, portText, err := net.SplitHostPort(member.ClientHost)
		port := 0
		if err == nil {
			_, _ = fmt.Sscan(portText, &port) // 0 where it is no number
		}
		if alive, known := connected(port); everyone || !known || !alive {
			leaving := kmsg.NewLeaveGroupRequestMember()
			leaving.MemberID = member.MemberID
			request.Members = append(request.Members, leaving)
		}
	}
	if len(request.Members) == 0 {
		return 0, nil
	}
	left, err := request.RequestWith(ctx, s.kafka)
	if err == nil {
		err = kerr.ErrorForCode(left.ErrorCode)
	}
	return len(request.Members), err
}
