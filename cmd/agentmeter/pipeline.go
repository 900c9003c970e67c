package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/alecthomas/kong"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
)

// pipelineFlags say which pipeline a command works on: that of a data
// directory, or that of a cluster.
type pipelineFlags struct {
	dataDirFlags
	Kafka      []string `help:"Kafka brokers, where it is about a cluster instead of a data directory." placeholder:"HOST:PORT"`
	Clickhouse string   `help:"ClickHouse's HTTP address, where it is about a cluster." placeholder:"URL"`
	kafkaSecurityFlags
	clickhouseAccessFlags
}

// AfterApply has a data directory that is named on the command line beat a cluster that
// the environment names. Kong calls it once it has set the flags.
func (f *pipelineFlags) AfterApply(parsed *kong.Context) error {
	switch {
	case !onCommandLine(parsed, "data-dir"):
	case !onCommandLine(parsed, "kafka", "clickhouse"):
		forgetEnvironment(parsed, "kafka", "clickhouse")
	case f.Clickhouse != "" && len(f.Kafka) > 0:
		return errors.New("--data-dir is one pipeline, and --kafka with --clickhouse another; give one of them")
	}
	return nil
}

func (f pipelineFlags) check() error {
	switch {
	case f.Clickhouse != "" && len(f.Kafka) > 0:
		return check(kafkaFlags{f.Kafka, f.kafkaSecurityFlags}, clickhouseFlags{f.Clickhouse, f.clickhouseAccessFlags})
	case f.Clickhouse != "" || len(f.Kafka) > 0:
		return errors.New("--clickhouse and --kafka go together; give both, or --data-dir alone")
	case f.kafkaSecurityFlags != kafkaSecurityFlags{}:
		return errors.New("--kafka-tls, --kafka-sasl and what belongs to them are about a cluster; give --kafka and --clickhouse, too")
	case f.ClickhousePasswordFile != "" || f.ClickhouseCA != "" || f.ClickhouseCluster != "" || len(f.ClickhouseShards) > 0:
		return errors.New("--clickhouse-password-file, --clickhouse-ca, --clickhouse-cluster and --clickhouse-shards are about a cluster; give --kafka and --clickhouse, too")
	}
	return nil
}

// pipeline is what such a command needs of it.
type pipeline struct {
	clickhouse *clickhouse.Client
	kafka      kafka.Config
	broker     *kgo.Client
	admin      *kadm.Client
	// stopped means that it is a data directory on which nothing else runs.
	stopped bool
	// http is where a running data directory answers HTTP, or "", and certificate the
	// file with the one that it serves there, or "".
	http, certificate string

	closers []func()
}

// open connects to both sides of the pipeline. On a stopped data directory it
// starts the embedded broker and engine for as long as the command takes.
func (f pipelineFlags) open(ctx context.Context, command string, log *slog.Logger) (*pipeline, error) {
	p := &pipeline{}
	if err := f.connect(ctx, p, command, log); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (f pipelineFlags) connect(ctx context.Context, p *pipeline, command string, log *slog.Logger) error {
	var config clickhouse.Config
	var err error
	switch {
	case f.Clickhouse != "" && len(f.Kafka) > 0:
		if p.kafka, err = f.kafkaSecurityFlags.to(f.Kafka, command); err != nil {
			return err
		}
		if config, err = f.clickhouseAccessFlags.to(f.Clickhouse); err != nil {
			return err
		}
	default:
		where, release, own, err := openEmbedded(ctx, dataDir(f.DataDir), log)
		if err != nil {
			return err
		}
		p.closers = append(p.closers, release)
		p.stopped = own
		p.kafka = kafka.Config{Brokers: []string{where.Kafka}, ClientID: "agentmeter-" + command}
		config.URL, config.Database, p.http = where.ClickHouse, f.ClickhouseDatabase, where.HTTP
		p.certificate = where.Certificate
	}
	if p.clickhouse, err = clickhouse.Open(config); err != nil {
		return misuse("%w", err)
	}
	p.closers = append(p.closers, func() { _ = p.clickhouse.Close() })
	if p.broker, err = kgo.NewClient(p.kafka.ProducerOptions(log)...); err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	p.closers = append(p.closers, p.broker.Close)
	p.admin = kadm.NewClient(p.broker)
	return nil
}

// close lets go of it, last first.
func (p *pipeline) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
	p.closers = nil
}
