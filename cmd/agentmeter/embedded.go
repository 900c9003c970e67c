package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/embedded/broker"
	"agentmeter/internal/embedded/engine"
	"agentmeter/internal/kafka"
	"agentmeter/internal/lifecycle"
)

// embeddedFlags tune the embedded broker and engine.
type embeddedFlags struct {
	KafkaListen string `help:"Loopback address of the embedded broker. Port 0 takes a free one." default:"127.0.0.1:9092" placeholder:"HOST:PORT"`
	engineFlags
}

// engineFlags tune the embedded engine.
type engineFlags struct {
	ClickhouseListen string `help:"Loopback address of the embedded ClickHouse engine. Port 0 takes a free one." default:"127.0.0.1:8123" placeholder:"HOST:PORT"`
	EngineLibrary    string `help:"The engine's library (libchdb.so). Empty: beside this program, or in the cache that make build fills." type:"path" placeholder:"FILE"`
	EngineMemory     int64  `help:"Bytes that the embedded engine may allocate, 256 MiB (268435456) or more." default:"1073741824"`
	EngineConfig     string `help:"ClickHouse configuration file for the engine, which is then used as its user default." type:"path" placeholder:"FILE"`
}

func (f embeddedFlags) check() error {
	return errors.Join(listenable("--kafka-listen", f.KafkaListen, true), f.engineFlags.check())
}

func (f engineFlags) check() error {
	faults := []error{
		listenable("--clickhouse-listen", f.ClickhouseListen, true),
		readable("--engine-library", f.EngineLibrary), readable("--engine-config", f.EngineConfig),
		engine.Config{Dir: ".", MemoryBytes: f.EngineMemory}.Validate(),
	}
	if f.EngineMemory == 0 {
		faults = append(faults, errors.New("--engine-memory: 0 is none; give at least 268435456 (256 MiB)"))
	}
	return errors.Join(faults...)
}

// embedded are a broker and an engine of our own.
type embedded struct {
	broker *broker.Broker
	engine *engine.Child
}

func (e *embedded) endpoints() endpoints {
	return endpoints{Kafka: e.broker.Addr(), ClickHouse: e.engine.URL()}
}

// startEmbedded starts both on a data directory that the caller holds.
func startEmbedded(ctx context.Context, dir dataDir, flags embeddedFlags, log *slog.Logger, registerer prometheus.Registerer) (*embedded, error) {
	var e embedded
	both, startCtx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		e.broker, err = startBroker(dir, flags.KafkaListen, log, registerer)
		return err
	})
	both.Go(func() (err error) {
		e.engine, err = startEngine(startCtx, dir, flags.engineFlags, log, registerer)
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, errors.Join(err, e.stop(context.WithoutCancel(ctx)))
	}
	return &e, nil
}

func startBroker(dir dataDir, listen string, log *slog.Logger, registerer prometheus.Registerer) (*broker.Broker, error) {
	b, err := broker.Open(broker.Config{Dir: dir.kafka(), Listen: listen, Logger: log.With("role", "broker"), Registerer: registerer})
	return b, inUse("--kafka-listen", err)
}

func startEngine(ctx context.Context, dir dataDir, flags engineFlags, log *slog.Logger, registerer prometheus.Registerer) (*engine.Child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	child, err := engine.Supervise(ctx, engine.ChildConfig{
		Config: engine.Config{
			Dir: dir.clickhouse(), Library: flags.EngineLibrary, ConfigFile: flags.EngineConfig, MemoryBytes: flags.EngineMemory,
			Logger: log.With("role", "engine"), Registerer: registerer,
		},
		Listen:  flags.ClickhouseListen,
		Command: []string{program, "engine-host"},
	})
	return child, inUse("--clickhouse-listen", err)
}

// stages keep both running until they are told to stop, the broker last.
func (e *embedded) stages() []lifecycle.Stage {
	return []lifecycle.Stage{
		{Name: "broker", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return e.broker.Close()
		}},
		{Name: "engine", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return e.engine.Stop(context.WithoutCancel(ctx))
		}},
	}
}

func (e *embedded) stop(ctx context.Context) error {
	var faults []error
	if e.engine != nil {
		faults = append(faults, e.engine.Stop(ctx))
	}
	if e.broker != nil {
		faults = append(faults, e.broker.Close())
	}
	return errors.Join(faults...)
}

// openEmbedded gives access to the broker and engine of a data directory: those
// of the instance that runs on it, or, where none does, ones started for the
// occasion (own).
func openEmbedded(ctx context.Context, dir dataDir, log *slog.Logger) (where endpoints, release func(), own bool, err error) {
	held, err := dir.held()
	if err != nil {
		return endpoints{}, nil, false, err
	}
	if held {
		where, err := dir.readEndpoints()
		return where, func() {}, false, err
	}
	if _, err := os.Stat(dir.clickhouse()); err != nil {
		return endpoints{}, nil, false, fmt.Errorf("data directory %s holds no data: %w", string(dir), err)
	}
	unlock, err := dir.hold(ctx)
	if err != nil {
		return endpoints{}, nil, false, err
	}
	anywhere := embeddedFlags{KafkaListen: "127.0.0.1:0", engineFlags: engineFlags{ClickhouseListen: "127.0.0.1:0"}}
	e, err := startEmbedded(ctx, dir, anywhere, log, prometheus.NewRegistry())
	if err != nil {
		unlock()
		return endpoints{}, nil, false, err
	}
	return e.endpoints(), sync.OnceFunc(func() {
		if err := e.stop(context.WithoutCancel(ctx)); err != nil {
			log.WarnContext(ctx, "stop embedded broker and engine", "error", err)
		}
		unlock()
	}), true, nil
}

// engineHostCommand is the engine's own process: run starts it, nobody else.
type engineHostCommand struct{}

func (engineHostCommand) Run(ctx context.Context, s streams) error {
	stdin, err := engine.TakeStdin()
	if err != nil {
		return err
	}
	return engine.ServeChild(context.WithoutCancel(ctx), stdin, s.out, s.err)
}

type brokerCommand struct {
	dataDirFlags
	KafkaListen string                     `help:"Loopback address to listen on. Port 0 takes a free one." default:"127.0.0.1:9092" placeholder:"HOST:PORT"`
	topicFlags  `set:"event_partitions=2"` // one machine: docs/bench/system.md
	logFlags
}

func (*brokerCommand) Help() string {
	return example("agentmeter broker --data-dir broker-data --kafka-listen 127.0.0.1:9092").
		help("Runs the embedded broker alone and creates the topics. It prints its address and serves until it is interrupted.")
}

func (c *brokerCommand) check() error {
	return errors.Join(listenable("--kafka-listen", c.KafkaListen, true), c.topicFlags.check())
}

func (c *brokerCommand) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	dir := dataDir(c.DataDir)
	if err := dir.make(); err != nil {
		return err
	}
	b, err := startBroker(dir, c.KafkaListen, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	config := kafka.Config{Brokers: []string{b.Addr()}, ClientID: "agentmeter-broker"}
	if err := migrateTopics(ctx, log, config, c.plan()); err != nil {
		return errors.Join(err, b.Close())
	}
	fmt.Fprintln(s.out, b.Addr())
	<-ctx.Done()
	return b.Close()
}

type engineCommand struct {
	dataDirFlags
	engineFlags
	ClickhouseDatabase string `help:"Database whose tables are brought to the current schema." default:"agentmeter"`
	logFlags
}

func (*engineCommand) Help() string {
	return example("agentmeter engine --data-dir engine-data --clickhouse-listen 127.0.0.1:8123").
		help("Runs the embedded ClickHouse engine alone, with the current schema, behind ClickHouse's HTTP protocol. It prints its address and serves until it is interrupted. With --engine-config the tables are left to agentmeter migrate.")
}

func (c *engineCommand) check() error {
	database := clickhouse.Config{URL: "http://127.0.0.1:8123", Database: c.ClickhouseDatabase} // of its address the engine's flags know
	return errors.Join(c.engineFlags.check(), database.Validate())
}

func (c *engineCommand) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	dir := dataDir(c.DataDir)
	if err := dir.make(); err != nil {
		return err
	}
	child, err := startEngine(ctx, dir, c.engineFlags, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	config, err := clickhouseAccessFlags{ClickhouseDatabase: c.ClickhouseDatabase}.to(child.URL())
	if err == nil && c.EngineConfig == "" {
		err = migrateTables(ctx, log, config)
	}
	if err != nil {
		return errors.Join(err, child.Stop(context.WithoutCancel(ctx)))
	}
	fmt.Fprintln(s.out, child.URL())
	<-ctx.Done()
	return child.Stop(context.WithoutCancel(ctx))
}
