package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"agentmeter/ingest"
	"agentmeter/internal/auth"
	"agentmeter/query"
	"agentmeter/query/page"
	"agentmeter/rollup"
)

// ingestFlags tune the write side.
type ingestFlags struct {
	MaxEventAge  time.Duration `help:"How old an event may be without events:import." default:"840h"`
	MaxEventSkew time.Duration `help:"How far ahead of our clock an event may be." default:"5m"`
	MaxBodyBytes int64         `help:"Bytes of a request's body at most, after decompression: 1 KiB to 1 GiB." default:"16777216"`
	MaxEvents    int           `help:"Events of a request at most." default:"10000"`
	IngestRate   int           `help:"How many events a second each key (workspace and subject of a token) may send; twice as many in a burst. More are refused with 429. 0: as many as it can, since one key is often a whole platform's." default:"0"`
	// Both are shared out between senders; see docs/operations/limits.md.
	MaxInFlightBytes    int64  `help:"Bytes of memory that requests may hold between a body's arrival and its answer, and what waits for Kafka after it. A sender that has its share is refused with 429, all others with 503 where none is left." default:"201326592"`
	MaxTurnBytes        int64  `help:"Bytes of bodies that are decoded and sent to Kafka at once; others wait for their turn, a second at most. 0: 4 MiB for each processor." default:"0"`
	ConversationKeyFile string `help:"File with a key (16 bytes or more) by which ids of conversations are hashed before they are stored anywhere. Empty: they are stored as they were sent." type:"path" placeholder:"FILE"`
}

func (f ingestFlags) check() error {
	config, err := f.config()
	if err != nil {
		return err
	}
	return config.Validate()
}

func (f ingestFlags) config() (ingest.Config, error) {
	config := ingest.DefaultConfig()
	config.MaxEventAge, config.MaxEventSkew = f.MaxEventAge, f.MaxEventSkew
	config.MaxBodyBytes, config.MaxEvents, config.RateLimit = f.MaxBodyBytes, f.MaxEvents, f.IngestRate
	config.MaxEventBytes = int(min(int64(config.MaxEventBytes), f.MaxBodyBytes))
	config.MaxInFlightBytes, config.MaxTurnBytes = f.MaxInFlightBytes, f.MaxTurnBytes
	if f.ConversationKeyFile != "" {
		key, err := readSecret(f.ConversationKeyFile)
		if err == nil && key == "" {
			err = fmt.Errorf("%s is empty", f.ConversationKeyFile)
		}
		if err != nil {
			return config, misuse("--conversation-key-file: %w", err)
		}
		config.ConversationKey = []byte(key)
	}
	return config, nil
}

// rollupFlags tune counting.
type rollupFlags struct {
	RollupGroup  string        `help:"Consumer group that shares out the partitions." default:"agentmeter-rollup"`
	BlockRows    int           `help:"Records of a block at most." default:"50000"`
	BlockLinger  time.Duration `help:"How long a block waits for more records: freshness against the number of parts that ClickHouse merges." default:"200ms"`
	HotIDs       int           `name:"hot-ids" help:"Ids of each partition that a filter in memory (3 to 6 MB a million, growing with the ids) knows precisely, so that new ids need no look-up; beyond them it loses precision. 0: look up every id." default:"20000000"`
	DrainTimeout time.Duration `help:"How long a block under way may take to finish when stopping." default:"10s"`
	// A timeout is never guessed from: what became of the statement is read from the ledger.
	StatementTimeout time.Duration `help:"How long an insert may take before its outcome counts as unknown and is looked up." default:"1m"`
}

func (f rollupFlags) check() error { return f.config().Validate() }

func (f rollupFlags) config() rollup.Config {
	config := rollup.DefaultConfig()
	config.Group, config.MaxBlockRows, config.BlockLinger = f.RollupGroup, f.BlockRows, f.BlockLinger
	config.HotIDs, config.DrainTimeout, config.StatementTimeout = f.HotIDs, f.DrainTimeout, f.StatementTimeout
	return config
}

// queryFlags tune the read side.
type queryFlags struct {
	QueryConcurrency int           `help:"Questions that run in ClickHouse at once; more wait for a moment and are then refused with 503." default:"8"`
	QueryTimeout     time.Duration `help:"How long a question may take." default:"30s"`
	QueryRate        int           `help:"How many questions a second each workspace may ask; twice as many in a burst. More are refused with 429. 0: as many as it likes." default:"1000"`
	QueryHeldFigures int           `help:"How many figures (what one agent used in one bar; some 100 bytes) are held in memory, so that only what changed is read again. 0: none." default:"1000000"`
	PageTimeFormat   string        `help:"Hours on the page: 12h, 24h, or auto, as each reader's browser has them." enum:"auto,12h,24h" default:"auto"`
	PageAccent       string        `help:"Colour of links and of what is chosen on the page, in light mode. Empty: the page's own." placeholder:"#RRGGBB"`
	PageAccentDark   string        `help:"The same in dark mode." placeholder:"#RRGGBB"`
}

func (f queryFlags) check() error { return f.config(accessFlags{}).Validate() }

func (f queryFlags) config(access accessFlags) query.Config {
	config := query.DefaultConfig()
	config.MaxConcurrent, config.QueryTimeout = f.QueryConcurrency, f.QueryTimeout
	config.RateLimit, config.MaxHeld = f.QueryRate, f.QueryHeldFigures
	config.Page = page.Options{
		FrameAncestors: access.PageEmbed, TimeFormat: f.PageTimeFormat,
		Accent: f.PageAccent, AccentDark: f.PageAccentDark,
	}
	return config
}

// newRole is how each single role begins: a process whose routes are guarded.
func newRole(ctx context.Context, role string, log *slog.Logger, traces tracingFlags, access accessFlags, dir dataDirFlags) (*process, *auth.Guard, *auth.Sessions, error) {
	p := newProcess(log)
	if err := p.trace(ctx, traces, role); err != nil {
		return nil, nil, nil, err
	}
	key, err := loadKey(access.TokenKeyFile, dataDir(dir.DataDir))
	if err != nil {
		return nil, nil, nil, err
	}
	guard, sessions, err := p.access(ctx, access, key)
	return p, guard, sessions, err
}

type ingestCommand struct {
	httpFlags
	kafkaFlags
	accessFlags
	dataDirFlags
	ingestFlags
	tracingFlags
	logFlags
}

func (*ingestCommand) Help() string {
	return example("agentmeter ingest --kafka kafka-1:9092,kafka-2:9092 --token-key-file /run/secrets/access.key").
		help("Accepts events, adjustments and directory changes, and answers once Kafka has acknowledged them.")
}

func (c *ingestCommand) check() error {
	return check(c.httpFlags, c.kafkaFlags, c.accessFlags, c.ingestFlags, c.tracingFlags)
}

func (c *ingestCommand) Run(ctx context.Context, s streams) error {
	p, err := c.wire(ctx, c.logger(s.err))
	if err != nil {
		return err
	}
	return p.run(ctx, nil)
}

// wire puts the role together, up to its listeners.
func (c *ingestCommand) wire(ctx context.Context, log *slog.Logger) (*process, error) {
	p, guard, sessions, err := newRole(ctx, "ingest", log, c.tracingFlags, c.accessFlags, c.dataDirFlags)
	if err != nil {
		return nil, err
	}
	sessions.MountLinks(guard.Mux(p.router))
	kafkaConfig, err := c.kafkaFlags.config("ingest")
	if err != nil {
		return nil, err
	}
	config, err := c.ingestFlags.config()
	if err != nil {
		return nil, err
	}
	if err := p.mountIngest(guard, config, kafkaConfig); err != nil {
		return nil, err
	}
	if _, err := p.listen(ctx, c.httpFlags, guard); err != nil {
		return nil, err
	}
	return p, nil
}

type queryCommand struct {
	httpFlags
	clickhouseFlags
	accessFlags
	dataDirFlags
	queryFlags
	tracingFlags
	logFlags
}

func (*queryCommand) Help() string {
	return example("agentmeter query --clickhouse http://clickhouse:8123 --token-key-file /run/secrets/access.key").
		help("Serves the dashboard, its API and CSV.")
}

func (c *queryCommand) check() error {
	return check(c.httpFlags, c.clickhouseFlags, c.accessFlags, c.queryFlags, c.tracingFlags)
}

func (c *queryCommand) Run(ctx context.Context, s streams) error {
	p, err := c.wire(ctx, c.logger(s.err))
	if err != nil {
		return err
	}
	return p.run(ctx, nil)
}

// wire puts the role together, up to its listeners.
func (c *queryCommand) wire(ctx context.Context, log *slog.Logger) (*process, error) {
	p, guard, sessions, err := newRole(ctx, "query", log, c.tracingFlags, c.accessFlags, c.dataDirFlags)
	if err != nil {
		return nil, err
	}
	sessions.MountLinks(guard.Mux(p.router))
	config, err := c.clickhouseFlags.config()
	if err != nil {
		return nil, err
	}
	client, err := p.openClickHouse(config)
	if err != nil {
		return nil, err
	}
	if err := p.mountQuery(guard, sessions, c.queryFlags.config(c.accessFlags), client); err != nil {
		return nil, err
	}
	if _, err := p.listen(ctx, c.httpFlags, guard); err != nil {
		return nil, err
	}
	return p, nil
}

type rollupCommand struct {
	httpFlags
	kafkaFlags
	clickhouseFlags
	accessFlags
	dataDirFlags
	rollupFlags
	auditFlags
	tracingFlags
	logFlags
}

func (*rollupCommand) Help() string {
	return example("agentmeter rollup --kafka kafka-1:9092 --clickhouse http://clickhouse:8123 --http-listen 127.0.0.1:8082").
		help("Counts each event exactly once. Add processes to scale: the partitions are shared out. The listener serves /metrics, /healthz and /readyz.")
}

func (c *rollupCommand) check() error {
	return check(c.httpFlags, c.kafkaFlags, c.clickhouseFlags, c.accessFlags, c.rollupFlags, c.auditFlags, c.tracingFlags)
}

func (c *rollupCommand) Run(ctx context.Context, s streams) error {
	collectEarly()
	p, err := c.wire(ctx, c.logger(s.err))
	if err != nil {
		return err
	}
	return p.run(ctx, nil)
}

// wire puts the role together, up to its listeners.
func (c *rollupCommand) wire(ctx context.Context, log *slog.Logger) (*process, error) {
	p, guard, _, err := newRole(ctx, "rollup", log, c.tracingFlags, c.accessFlags, c.dataDirFlags)
	if err != nil {
		return nil, err
	}
	config, err := c.clickhouseFlags.config()
	if err != nil {
		return nil, err
	}
	client, err := p.openClickHouse(config)
	if err != nil {
		return nil, err
	}
	kafkaConfig, err := c.kafkaFlags.config("rollup")
	if err != nil {
		return nil, err
	}
	if err := p.addRollup(c.rollupFlags.config(), c.auditFlags, kafkaConfig, client); err != nil {
		return nil, err
	}
	if _, err := p.listen(ctx, c.httpFlags, guard); err != nil {
		return nil, err
	}
	return p, nil
}
