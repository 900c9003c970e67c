package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"agentmeter/internal/auth"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

type runCommand struct {
	dataDirFlags
	httpFlags
	embeddedFlags
	Demo bool `help:"Add the demo workspace ws_demo: 90 days of seeded history and a trickle of live traffic."`
	accessFlags
	topicFlags `set:"event_partitions=2"` // one machine: docs/bench/system.md
	ingestFlags
	rollupFlags
	auditFlags
	queryFlags
	tracingFlags
	logFlags
}

func (*runCommand) Help() string {
	return example("agentmeter run --data-dir data --demo").
		help("Runs broker, engine, ingest, rollup, query and page with nothing else installed. The addresses in use stand in DIR/endpoints.json once it is ready. Ctrl-C drains and stops; a second one ends it at once. Everything is safe to kill at any time.")
}

func (c *runCommand) check() error {
	return check(c.httpFlags, c.embeddedFlags, c.accessFlags, c.topicFlags, c.ingestFlags, c.rollupFlags, c.auditFlags, c.queryFlags, c.tracingFlags)
}

func (c *runCommand) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	dir := dataDir(c.DataDir)
	release, err := dir.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := dir.identify(); err != nil {
		return err
	}
	key, err := loadKey(c.TokenKeyFile, dir)
	if err != nil {
		return err
	}
	p := newProcess(log)
	if err := p.trace(ctx, c.tracingFlags, "run"); err != nil {
		return err
	}
	p.registry.MustRegister(newDisk(string(dir)))
	e, err := startEmbedded(ctx, dir, c.embeddedFlags, log, p.registry)
	if err != nil {
		return err
	}
	p.gatherers = append(p.gatherers, e.engine)
	where := e.endpoints()
	kafkaConfig := kafka.Config{Brokers: []string{where.Kafka}, ClientID: "agentmeter"}
	config := clickhouse.Config{URL: where.ClickHouse, Database: clickhouse.DefaultDatabase}

	// From here on, the stages' stop is what ends broker and engine.
	p.stages = append(e.stages(), p.closeStage())
	if err := c.wire(ctx, p, key, dir, &where, kafkaConfig, config); err != nil {
		return errors.Join(err, p.close(), e.stop(context.WithoutCancel(ctx)))
	}
	// Who sees 200 at /readyz finds the addresses.
	var published atomic.Bool
	p.health.AddCheck(endpointsCheck, func(context.Context) error {
		if !published.Load() {
			return errors.New("the addresses are not published yet")
		}
		return nil
	})
	// The addresses are given up before the directory is.
	defer dir.removeEndpoints(log)
	return p.run(ctx, func(ctx context.Context) error {
		if err := dir.writeEndpoints(where); err != nil {
			return err
		}
		published.Store(true)
		return c.announce(ctx, s, log, dir, where)
	})
}

// wire brings both engines to the current schema and puts the stages on top.
func (c *runCommand) wire(ctx context.Context, p *process, key auth.Key, dir dataDir, where *endpoints, kafkaConfig kafka.Config, config clickhouse.Config) error {
	both, migrateCtx := errgroup.WithContext(ctx)
	both.Go(func() error { return migrateTopics(migrateCtx, p.log, kafkaConfig, c.plan()) })
	both.Go(func() error { return migrateTables(migrateCtx, p.log, config) })
	if err := both.Wait(); err != nil {
		return err
	}
	if err := c.mount(ctx, p, key, where, kafkaConfig, config); err != nil {
		return err
	}
	if c.Demo {
		p.stages = append(p.stages, demoStage(dir, *where, p.log.With("role", "demo")))
	}
	return nil
}

// mount adds the stages and their routes, up to the listeners.
func (c *runCommand) mount(ctx context.Context, p *process, key auth.Key, where *endpoints, kafkaConfig kafka.Config, config clickhouse.Config) error {
	client, err := p.openClickHouse(config)
	if err != nil {
		return err
	}
	if err := p.addRollup(c.rollupFlags.config(), c.auditFlags, kafkaConfig, client); err != nil {
		return err
	}
	guard, sessions, err := p.access(ctx, c.accessFlags, key)
	if err != nil {
		return err
	}
	sessions.MountLinks(guard.Mux(p.router))
	ingestConfig, err := c.ingestFlags.config()
	if err != nil {
		return err
	}
	if err := p.mountIngest(guard, ingestConfig, kafkaConfig); err != nil {
		return err
	}
	if err := p.mountQuery(guard, sessions, c.queryFlags.config(c.accessFlags), client); err != nil {
		return err
	}
	server, err := p.listen(ctx, c.httpFlags, guard)
	if err != nil {
		return err
	}
	where.HTTP, where.Certificate, where.TokenKeyFile = server.URL(), c.TLSCert, c.TokenKeyFile
	return nil
}

// announce tells the person at the terminal where to look.
func (c *runCommand) announce(ctx context.Context, s streams, log *slog.Logger, dir dataDir, where endpoints) error {
	fmt.Fprintf(s.out, "Agentmeter is ready at %s\n", where.HTTP)
	fmt.Fprintf(s.out, "Kafka protocol at %s, ClickHouse's HTTP protocol at %s\n", where.Kafka, where.ClickHouse)
	workspace := schemas.WorkspaceID("WORKSPACE")
	if c.Demo {
		workspace = demoWorkspace
		link, err := oneTimeLink(ctx, dir, where, workspace)
		if err != nil {
			// The instance is up; that it cannot be opened with a click is no
			// reason to stop it.
			log.WarnContext(ctx, "no link to the page", "error", err)
			return nil
		}
		fmt.Fprintf(s.out, "\nOpen the Usage page, signed in (once, within a minute):\n\n  %s\n", link)
	}
	fmt.Fprintf(s.out, "\nA new link at any time: agentmeter link --data-dir %s --workspace %s\nCtrl-C stops.\n", c.DataDir, workspace)
	return nil
}
