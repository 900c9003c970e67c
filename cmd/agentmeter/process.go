package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"agentmeter/ingest"
	"agentmeter/internal/auth"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/fault"
	"agentmeter/internal/httpapi"
	"agentmeter/internal/kafka"
	"agentmeter/internal/lifecycle"
	"agentmeter/internal/pause"
	"agentmeter/internal/tracing"
	"agentmeter/query"
	"agentmeter/rollup"
	"agentmeter/schemas/api"
)

// process is what every role has: a registry, health, one listener, and the
// stages that it runs.
type process struct {
	log      *slog.Logger
	registry *prometheus.Registry
	// gatherers are what /metrics shows: the registry, and what other
	// processes of ours export.
	gatherers prometheus.Gatherers
	health    *httpapi.Health
	router    *httpapi.Router
	metrics   *httpapi.Router      // of the listener for metrics; nil: there is none
	tracer    trace.TracerProvider // nil: nothing is traced
	stages    []lifecycle.Stage
	closers   []func() error
}

func newProcess(log *slog.Logger) *process {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(),
	)
	health := httpapi.NewHealth(log)
	return &process{
		log:       log,
		registry:  registry,
		gatherers: prometheus.Gatherers{registry},
		health:    health,
		router:    httpapi.NewRouter(health, log, registry),
	}
}

// trace makes spans of what the process does, where there is somewhere to send
// them. Call it before anything else is opened, so that it ends last.
func (p *process) trace(ctx context.Context, flags tracingFlags, role string) error {
	if flags.TraceEndpoint == "" {
		return nil
	}
	provider, end, err := tracing.Start(ctx, flags.config(role), p.log)
	if err != nil {
		return err
	}
	p.tracer = provider
	p.router.Trace(provider)
	p.closers = append(p.closers, end)
	return nil
}

// tracingFlags say whether requests are followed by OpenTelemetry.
type tracingFlags struct {
	TraceEndpoint string  `help:"Address of an OpenTelemetry collector (OTLP over HTTP) that traces are sent to. Empty: nothing is traced." placeholder:"URL"`
	TraceSample   float64 `help:"Which part of the requests is traced, 0 to 1, by their trace id." default:"0.01"`
}

func (f tracingFlags) check() error { return f.config("").Validate() }

func (f tracingFlags) config(role string) tracing.Config {
	return tracing.Config{Endpoint: f.TraceEndpoint, Sample: f.TraceSample, Service: "agentmeter-" + role, Version: release}
}

func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "agentmeter_build_info", Help: "1, with what was built as labels.",
		ConstLabels: prometheus.Labels{"version": release, "revision": revision(), "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// close releases what the process opened, last first.
func (p *process) close() error {
	var faults []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		faults = append(faults, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(faults...)
}

// closeStage closes what the process opened once every later stage has
// stopped, and before any earlier one does.
func (p *process) closeStage() lifecycle.Stage {
	return lifecycle.Stage{Name: "clients", Run: func(ctx context.Context) error {
		<-ctx.Done()
		return p.close()
	}}
}

// access prepares the guard in front of the routes.
func (p *process) access(ctx context.Context, flags accessFlags, key auth.Key) (*auth.Guard, *auth.Sessions, error) {
	key.Log(p.log)
	verifier := key.Verifier()
	if jwks := flags.jwks(); jwks.Enabled() {
		keySet, err := auth.NewJWKSVerifier(ctx, jwks, p.log)
		if err != nil {
			return nil, nil, err
		}
		verifier = auth.ByAlgorithm(verifier, keySet)
	}
	sessions, err := auth.NewSessions(flags.sessionConfig(), key)
	if err != nil {
		return nil, nil, err
	}
	return auth.NewGuard(verifier, sessions), sessions, nil
}

func (p *process) mountIngest(guard *auth.Guard, config ingest.Config, kafkaConfig kafka.Config) error {
	kafkaConfig.Metrics = kafka.NewMetrics("ingest", p.registry)
	producer, err := kgo.NewClient(kafkaConfig.ProducerOptions(p.log)...)
	if err != nil {
		return fmt.Errorf("ingest: connect: %w", err)
	}
	p.closers = append(p.closers, func() error { producer.Close(); return nil })
	in, err := ingest.New(config, producer, p.log.With("role", "ingest"), p.registry)
	if err != nil {
		return misuse("%w", err)
	}
	in.Mount(guard.Mux(p.router))
	p.health.AddCheck("ingest", in.Ready)
	return nil
}

func (p *process) mountQuery(guard *auth.Guard, sessions *auth.Sessions, config query.Config, client *clickhouse.Client) error {
	service, err := query.New(config, query.Deps{
		ClickHouse: client.Reads(), Log: p.log.With("role", "query"), Registerer: p.registry, Clock: fault.Now,
		Mutex: auditMutex(client),
	})
	if err != nil {
		return misuse("%w", err)
	}
	guard.DenyPage(service.DeniedPage)
	mux := guard.Mux(p.router)
	service.Mount(mux, p.router)
	sessions.MountPages(mux)
	p.health.AddCheck("query", service.Ready)
	return nil
}

func (p *process) addRollup(config rollup.Config, audits auditFlags, kafkaConfig kafka.Config, client *clickhouse.Client) error {
	config.Tracer = p.tracer
	kafkaConfig.Metrics = kafka.NewMetrics("rollup", p.registry)
	counter, err := rollup.New(config, kafkaConfig, client, p.log.With("role", "rollup"), p.registry)
	if err != nil {
		return misuse("%w", err)
	}
	p.health.AddCheck("rollup", counter.Ready)
	p.stages = append(p.stages, lifecycle.Stage{Name: "rollup", Run: counter.Run, Grace: config.DrainTimeout + 5*time.Second})
	return p.addAudit(audits, counter, kafkaConfig, client)
}

func (p *process) openClickHouse(config clickhouse.Config) (*clickhouse.Client, error) {
	client, err := clickhouse.Open(config)
	if err != nil {
		return nil, misuse("%w", err)
	}
	p.closers = append(p.closers, client.Close)
	if at, err := url.Parse(config.URL); err == nil && at.Scheme == "http" && config.Password != "" && !httpapi.IsLoopbackHost(at.Hostname()) {
		p.log.Warn("the password for ClickHouse goes over the network in the clear; give an https address", "host", at.Host)
	}
	return client, nil
}

// listen binds the listener and adds its stage, which is stopped first.
func (p *process) listen(ctx context.Context, flags httpFlags, guard *auth.Guard) (*httpapi.Server, error) {
	httpapi.MountOperations(guard.Mux(p.router), p.health, p.gatherers)
	proxies, err := flags.proxies()
	if err != nil {
		return nil, err
	}
	if flags.AttemptRate > 0 {
		p.router.LimitAttempts(flags.AttemptRate, proxies, p.registry)
	}
	config, metrics, err := flags.listeners(p.log)
	if err != nil {
		return nil, err
	}
	if flags.MetricsListen != "" {
		if err := p.listenForMetrics(ctx, metrics); err != nil {
			return nil, err
		}
	}
	server, err := httpapi.Listen(ctx, config, p.router, p.health, p.log)
	if err != nil {
		return nil, inUse("--http-listen", err)
	}
	p.stages = append(p.stages, lifecycle.Stage{
		Name: "http", Run: server.Run, Grace: config.DrainDelay + config.DrainTimeout + 5*time.Second,
	})
	return server, nil
}

// listenForMetrics adds the listener that needs no tokens, where one is asked
// for. It stops after the other one, so that a drain can be watched.
func (p *process) listenForMetrics(ctx context.Context, config httpapi.Config) error {
	log := p.log.With("listener", "metrics")
	p.metrics = httpapi.NewRouter(p.health, log, p.registry)
	httpapi.MountOperations(p.metrics, p.health, p.gatherers)
	server, err := httpapi.Listen(ctx, config, p.metrics, p.health, log)
	if err != nil {
		return inUse("--metrics-listen", err)
	}
	p.stages = append(p.stages, lifecycle.Stage{Name: "metrics", Run: server.Run, Grace: config.DrainTimeout + 5*time.Second})
	return nil
}

// run starts the stages and blocks until they have stopped.
func (p *process) run(ctx context.Context, onReady func(context.Context) error) error {
	limitMemory(memoryLimitFile)
	go returnMemory(ctx)
	err := lifecycle.Run(ctx, p.log, func(ctx context.Context) error {
		if err := p.waitReady(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		p.log.InfoContext(ctx, "ready")
		if onReady == nil {
			return nil
		}
		return onReady(ctx)
	}, p.stages...)
	return errors.Join(err, p.close())
}

// endpointsCheck is the check of /readyz that fails until the addresses are
// published, which happens once all others pass.
const endpointsCheck = "endpoints"

// maxReadyWait lies at most between two looks at a dependency that is not there yet.
const maxReadyWait = time.Second

// waitReady waits until the checks of /readyz pass. It has no deadline: a
// stage whose dependency is not there yet says so and waits.
func (p *process) waitReady(ctx context.Context) error {
	began := time.Now()
	failing := func(c api.ReadinessCheck) bool { return !c.Ok && c.Name != endpointsCheck }
	for {
		readiness := p.health.Readiness(ctx)
		if len(readiness.Checks) > 0 && !slices.ContainsFunc(readiness.Checks, failing) {
			return nil
		}
		if !pause.For(ctx, min(max(time.Since(began)/20, 10*time.Millisecond), maxReadyWait)) {
			return nil
		}
	}
}

// httpFlags say where a role listens.
type httpFlags struct {
	HTTPListen      string        `help:"Address of the HTTP listener. Port 0 takes a free one. Beyond loopback, anyone who reaches it can try tokens." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	MetricsListen   string        `help:"Address of a listener of its own for /metrics, /healthz and /readyz, without tokens: for Prometheus and probes, in a network that they share. Empty: none; beyond loopback the HTTP listener's /metrics needs a token with ops:read." placeholder:"HOST:PORT"`
	HTTPMaxConns    int           `help:"Open connections at most. While more than half of them are open, each is closed with its answer; while more than all are, requests are refused with 503." default:"4096"`
	AttemptRate     int           `help:"How many requests a second without a valid token one address may send; ten times as many in a burst. More are refused with 429, valid ones never. 0: no limit." default:"10"`
	TrustedProxies  []string      `help:"Addresses or networks of the proxies in front, whose X-Forwarded-For says where a request comes from. Empty: it comes from who connects." placeholder:"CIDR"`
	TLSCert         string        `name:"tls-cert" help:"Certificate by which the listeners encrypt, PEM with what it was issued by. Read again when it changes. Empty: they do not encrypt." type:"path" placeholder:"FILE"`
	TLSKey          string        `name:"tls-key" help:"Key of that certificate." type:"path" placeholder:"FILE"`
	MetricsClientCA string        `name:"metrics-client-ca" help:"Certificates of the authorities that have to have issued the certificate of whoever asks the metrics listener. Needs --tls-cert. Empty: it asks for none." type:"path" placeholder:"FILE"`
	DrainDelay      time.Duration `help:"Between failing readiness and closing the listener, so that a load balancer can look away." default:"0s"`
}

func (f httpFlags) check() error {
	_, proxiesErr := f.proxies()
	config, _, err := f.listeners(slog.New(slog.DiscardHandler))
	faults := []error{proxiesErr, err, listenable("--http-listen", f.HTTPListen, false), notBelow("--attempt-rate", f.AttemptRate, 0)}
	if f.MetricsListen != "" {
		faults = append(faults, listenable("--metrics-listen", f.MetricsListen, false))
	}
	config.Listen = httpapi.DefaultConfig().Listen // that was looked at
	return errors.Join(append(faults, config.Validate())...)
}

// proxies reads --trusted-proxies.
func (f httpFlags) proxies() (httpapi.Proxies, error) {
	proxies := make(httpapi.Proxies, 0, len(f.TrustedProxies))
	for _, text := range f.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, misuse("--trusted-proxies: %q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}

// listeners describes both: the one with all routes, and the one for metrics.
func (f httpFlags) listeners(log *slog.Logger) (config, metrics httpapi.Config, err error) {
	config = httpapi.DefaultConfig()
	config.Listen, config.MaxConnections, config.DrainDelay = f.HTTPListen, f.HTTPMaxConns, f.DrainDelay
	metrics = config
	metrics.Listen, metrics.DrainDelay = f.MetricsListen, 0
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return config, metrics, misuse("--tls-cert and --tls-key go together")
	case f.MetricsClientCA != "" && (f.TLSCert == "" || f.MetricsListen == ""):
		return config, metrics, misuse("--metrics-client-ca is about a metrics listener that encrypts; give --metrics-listen, --tls-cert and --tls-key, too")
	case f.TLSCert == "":
		return config, metrics, nil
	}
	if config.TLS, err = httpapi.ServerTLS(f.TLSCert, f.TLSKey, "", log); err != nil {
		return config, metrics, misuse("--tls-cert: %w", err)
	}
	if metrics.TLS, err = httpapi.ServerTLS(f.TLSCert, f.TLSKey, f.MetricsClientCA, log.With("listener", "metrics")); err != nil {
		return config, metrics, misuse("--metrics-client-ca: %w", err)
	}
	return config, metrics, nil
}
