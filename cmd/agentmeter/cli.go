package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"agentmeter/internal/auth"
	"agentmeter/query/page"
)

// cli is the whole command line. Every setting has an environment twin by rule:
// --http-listen is AGENTMETER_HTTP_LISTEN. What confirms an erasure has none.
type cli struct {
	Run        runCommand        `cmd:"" help:"Everything in one process tree, with an embedded broker and engine."`
	Ingest     ingestCommand     `cmd:"" help:"The write side: HTTP in, Kafka out."`
	Rollup     rollupCommand     `cmd:"" help:"The counting stage: Kafka in, ClickHouse out, exactly once."`
	Query      queryCommand      `cmd:"" help:"The read side: ClickHouse in, dashboard and API out."`
	Migrate    migrateCommand    `cmd:"" help:"Bring ClickHouse and the topics to the current schema."`
	Import     importCommand     `cmd:"" help:"Send events from NDJSON or CSV files."`
	Simulate   simulateCommand   `cmd:"" help:"Send seeded agent traffic at a given rate."`
	Audit      auditCommand      `cmd:"" help:"Prove that every figure is exact."`
	AcceptLoss acceptLossCommand `cmd:"" help:"Let a partition go on whose records Kafka deleted before they were counted."`
	Rebuild    rebuildCommand    `cmd:"" help:"Make the rollups equal to the ledger again."`
	AdoptTopic adoptTopicCommand `cmd:"" help:"Go on with an events topic that was deleted and made again."`
	Erase      eraseCommand      `cmd:"" help:"Remove a workspace for good, with all that was counted of it."`
	Deadletter deadletterCommand `cmd:"" help:"What could not be counted, why, and a way back."`
	Token      tokenCommand      `cmd:"" help:"Mint an access token."`
	RotateKey  rotateKeyCommand  `cmd:"" help:"Have a new key sign tokens; those of the old one stay valid for a while."`
	Link       linkCommand       `cmd:"" help:"Print a link that opens the Usage page, signed in."`
	Broker     brokerCommand     `cmd:"" help:"The embedded broker alone, for development and tests."`
	Engine     engineCommand     `cmd:"" help:"The embedded ClickHouse engine alone, for development and tests."`
	EngineHost engineHostCommand `cmd:"" name:"engine-host" hidden:"" help:"The engine as a child of run."`
	Health     healthCommand     `cmd:"" help:"Ask a running process whether it is ready."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// logFlags say what is logged to standard error.
type logFlags struct {
	LogLevel  string `help:"Least severe level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"Form of a log line: text, or json for collectors." enum:"text,json" default:"text"`
}

func (f logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		panic(err) // the enum above
	}
	options := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// accessFlags say whose tokens are accepted.
type accessFlags struct {
	TokenKeyFile string        `help:"Key that signs and verifies tokens (see rotate-key); made where it is missing. Empty: access.key in the data directory." type:"path" placeholder:"FILE"`
	JwksURL      string        `help:"Key set of a platform's own issuer, whose tokens are accepted too." placeholder:"URL"`
	JwksFile     string        `help:"The same from a file." type:"path" placeholder:"FILE"`
	JwksIssuer   string        `help:"Issuer that those tokens must name." placeholder:"NAME"`
	JwksAudience string        `help:"Audience that those tokens must name." placeholder:"NAME"`
	PageURL      string        `help:"Where people's browsers reach the page, such as https://usage.example.com. Empty: where they asked." placeholder:"URL"`
	PageEmbed    []string      `help:"Sites that may show the page in a frame, https each, such as https://app.example.com or https://*.example.com. Empty: none." placeholder:"ORIGIN"`
	SessionTTL   time.Duration `help:"How long a page session lasts, 30 days (720h) at most." default:"1h"`
}

func (f accessFlags) sessionConfig() auth.SessionConfig {
	config := auth.DefaultSessionConfig()
	config.PageURL, config.Embedded, config.TTL = f.PageURL, len(f.PageEmbed) > 0, f.SessionTTL
	return config
}

func (f accessFlags) check() error {
	faults := []error{
		f.sessionConfig().Validate(), f.jwks().Validate(), page.Options{FrameAncestors: f.PageEmbed}.Validate(), usableKey(f.TokenKeyFile),
	}
	if f.JwksFile != "" && errors.Join(faults...) == nil {
		if _, err := auth.NewJWKSVerifier(context.Background(), f.jwks(), slog.New(slog.DiscardHandler)); err != nil {
			faults = append(faults, fmt.Errorf("--jwks-file: %w", err))
		}
	}
	return errors.Join(faults...)
}

func (f accessFlags) jwks() auth.JWKSConfig {
	return auth.JWKSConfig{URL: f.JwksURL, File: f.JwksFile, Issuer: f.JwksIssuer, Audience: f.JwksAudience}
}

// example makes a command's --help end with one.
type example string

func (e example) help(about string) string {
	return about + "\n\nExample:\n\n  " + strings.ReplaceAll(string(e), "\n", "\n  ")
}

var _ kong.HelpProvider = (*runCommand)(nil)
