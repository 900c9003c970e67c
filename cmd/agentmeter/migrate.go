package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	tables "agentmeter/schemas/clickhouse"
)

// topicFlags say what the topics are like where they are created.
type topicFlags struct {
	EventPartitions   int32         `help:"Partitions of the events topic where it is created. It cannot change later but by a cut-over to a new topic." default:"${event_partitions=4}"`
	Replication       int16         `help:"Replication factor of the topics; -1 leaves it to the brokers." default:"-1"`
	MinInsyncReplicas int           `help:"In-sync replicas that must acknowledge; 0 leaves it to the brokers." default:"0"`
	EventRetention    time.Duration `help:"How long Kafka keeps events: how long the rollup may be down before any are lost." default:"168h"`
}

func (f topicFlags) plan() kafka.Plan {
	plan := kafka.DefaultPlan()
	plan.EventPartitions, plan.Replication = f.EventPartitions, f.Replication
	plan.MinInsyncReplicas, plan.EventRetention = f.MinInsyncReplicas, f.EventRetention
	return plan
}

func (f topicFlags) check() error { return f.plan().Validate() }

type migrateCommand struct {
	kafkaFlags
	clickhouseFlags
	topicFlags
	logFlags
}

func (*migrateCommand) Help() string {
	return example("agentmeter migrate --kafka kafka-1:9092 --clickhouse http://clickhouse:8123 --event-partitions 24 --replication 3 --min-insync-replicas 2").
		help("Creates what is missing and changes what is old, in ClickHouse and among the topics. Safe to run twice, and by two at once. Run it while the rollup is stopped. A topic that is there stays as it is; where it is not as the flags say, that is logged.")
}

func (c *migrateCommand) check() error { return check(c.kafkaFlags, c.clickhouseFlags, c.topicFlags) }

func (c *migrateCommand) Run(ctx context.Context, s streams) error {
	config, err := c.clickhouseFlags.config()
	if err != nil {
		return err
	}
	kafkaConfig, err := c.kafkaFlags.config("migrate")
	if err != nil {
		return err
	}
	if err := migrate(ctx, c.logger(s.err), kafkaConfig, c.plan(), config); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, "ClickHouse and the topics are at the current schema.")
	return err
}

// migrate brings both dependencies to the current schema.
func migrate(ctx context.Context, log *slog.Logger, kafkaConfig kafka.Config, plan kafka.Plan, config clickhouse.Config) error {
	if err := migrateTopics(ctx, log, kafkaConfig, plan); err != nil {
		return err
	}
	return migrateTables(ctx, log, config)
}

// migrateTopics makes the topics that are missing, and says in what others differ from
// the plan.
func migrateTopics(ctx context.Context, log *slog.Logger, config kafka.Config, plan kafka.Plan) error {
	client, err := kgo.NewClient(config.Options(log)...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	created, err := kafka.EnsureTopics(ctx, admin, plan)
	for _, topic := range created {
		log.InfoContext(ctx, "topic created", "topic", topic)
	}
	if err != nil || slices.Contains(created, kafka.TopicEvents) {
		return err
	}
	differences, err := kafka.LeftAsItIs(ctx, admin, plan)
	for _, difference := range differences {
		log.InfoContext(ctx, "topic left as it is", "difference", difference)
	}
	return err
}

func migrateTables(ctx context.Context, log *slog.Logger, config clickhouse.Config) error {
	applied, err := clickhouse.Migrate(ctx, config, tables.Migrations, func(progress string) { log.InfoContext(ctx, "moving ids", "progress", progress) })
	for _, number := range applied {
		log.InfoContext(ctx, "migration applied", "number", number)
	}
	return err
}
