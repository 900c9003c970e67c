package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/audit"
	"agentmeter/internal/clickhouse"
	"agentmeter/internal/kafka"
	"agentmeter/internal/lifecycle"
	"agentmeter/rollup"
	"agentmeter/schemas"
)

type auditCommand struct {
	pipelineFlags
	IngestMetrics          []string `help:"Metrics of ingest processes, to hold Kafka's log to what it acknowledged to them. A running data directory's own are asked anyway." placeholder:"URL"`
	IngestMetricsTokenFile string   `help:"File that holds a token with ops:read for them. Empty: they need none." type:"path" placeholder:"FILE"`
	JSON                   bool     `name:"json" help:"Print the whole report as JSON."`
	logFlags
}

func (*auditCommand) Help() string {
	return example("agentmeter audit --data-dir data").
		help("Proves that every Kafka offset is in the ledger exactly once, that every rollup equals the ledger in every bucket, that no event id was recorded twice, and that Kafka has what it acknowledged. Works beside a running instance and on a stopped data directory. Exit status: 0 exact, 1 not exact, 2 could not tell.")
}

func (c *auditCommand) check() error {
	faults := []error{c.pipelineFlags.check(), readable("--ingest-metrics-token-file", c.IngestMetricsTokenFile)}
	if c.IngestMetricsTokenFile != "" && len(c.IngestMetrics) == 0 {
		faults = append(faults, errors.New("--ingest-metrics-token-file is for --ingest-metrics; give that, too"))
	}
	for _, address := range c.IngestMetrics {
		faults = append(faults, isAddress("--ingest-metrics", address, "http://ingest-1:9464/metrics"))
	}
	return errors.Join(faults...)
}

func (c *auditCommand) Run(ctx context.Context, s streams) error {
	report, err := c.report(ctx, s)
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	if c.JSON {
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = printReport(s.out, report)
	}
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	return verdict(report)
}

// verdict is the exit status that a report asks for.
func verdict(report *audit.Report) error {
	switch {
	case len(report.Findings) > 0:
		return &exitError{code: exitNo}
	case !report.Exact:
		return &exitError{code: exitUnclear}
	}
	return nil
}

func (c *auditCommand) report(ctx context.Context, s streams) (*audit.Report, error) {
	log := c.logger(s.err)
	p, err := c.open(ctx, "audit", log)
	if err != nil {
		return nil, err
	}
	defer p.close()
	options := audit.Options{Progress: (&auditProgress{out: s.err, last: time.Now()}).show}
	if options.Acknowledged, err = c.acknowledged(ctx, p, log); err != nil {
		return nil, err
	}
	return p.audit(ctx, options)
}

// acknowledged asks the ingest processes what Kafka acknowledged to them.
func (c *auditCommand) acknowledged(ctx context.Context, p *pipeline, log *slog.Logger) ([]audit.Acknowledged, error) {
	token, err := readSecret(c.IngestMetricsTokenFile)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	var all []audit.Acknowledged
	for _, from := range c.IngestMetrics {
		said, err := audit.ReadAcknowledged(ctx, client, from, token)
		if err != nil {
			return nil, err
		}
		all = append(all, said)
	}
	if p.http != "" && len(all) == 0 {
		client.Transport = transportTo(p.certificate)
		said, err := audit.ReadAcknowledged(ctx, client, p.http+"/metrics", token)
		if err != nil {
			log.WarnContext(ctx, "Kafka's log is not held to what it acknowledged; give --ingest-metrics and its token", "error", err)
			return nil, nil
		}
		all = append(all, said)
	}
	return all, nil
}

// auditProgress says on standard error how far an audit that takes long is.
type auditProgress struct {
	out  io.Writer
	last time.Time
}

// progressEvery lies at least between two lines.
const progressEvery = 5 * time.Second

func (p *auditProgress) show(progress audit.Progress) {
	if time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.out, "audit: %d of %d steps, %s took %s\n", progress.Done, progress.Steps, progress.Step, progress.Took.Round(time.Millisecond))
}

// settleBesideRollups is for how long an audit looks at a difference again
// where rollups may be about to repair it: a consumer that died is missed after
// ten seconds, and its successor takes over.
const settleBesideRollups = 30 * time.Second

// audit repairs the last blocks first where no rollup is there to do so.
func (p *pipeline) audit(ctx context.Context, options audit.Options) (*audit.Report, error) {
	options.Settle, options.Mutex = settleBesideRollups, auditMutex(p.clickhouse)
	if p.stopped {
		options.Settle = 0 // nobody is about to repair anything
		if err := rollup.RepairLast(ctx, p.clickhouse, rollup.DefaultConfig().StatementTimeout); err != nil {
			return nil, err
		}
	}
	return audit.Run(ctx, p.clickhouse, p.admin, options)
}

func auditMutex(client *clickhouse.Client) audit.Mutex {
	return func(stream uuid.UUID, partition int32) string {
		return clickhouse.Place{Stream: stream, Partition: partition}.Mutex(client.Database())
	}
}

// auditFlags say how often a rollup audits what it counts.
type auditFlags struct {
	AuditInterval     time.Duration `help:"How often what was counted since is audited. 0: never." default:"1m"`
	FullAuditInterval time.Duration `help:"How often everything is audited, slowly. 0: never." default:"24h"`
}

func (f auditFlags) check() error {
	return errors.Join(notBelow("--audit-interval", f.AuditInterval, 0), notBelow("--full-audit-interval", f.FullAuditInterval, 0))
}

// addAudit watches what a rollup counts.
func (p *process) addAudit(flags auditFlags, counter *rollup.Rollup, kafkaConfig kafka.Config, client *clickhouse.Client) error {
	config := audit.DefaultWatchConfig()
	config.Interval, config.FullInterval = flags.AuditInterval, flags.FullAuditInterval
	watcher, err := audit.NewWatcher(config, kafkaConfig, client, auditMutex(client), counter.Owned, p.log.With("role", "audit"), p.registry)
	if err != nil {
		return misuse("%w", err)
	}
	p.stages = append(p.stages, lifecycle.Stage{Name: "audit", Run: watcher.Run, Grace: 10 * time.Second})
	return nil
}

func printReport(w io.Writer, report *audit.Report) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "topic\tpartition\toffsets\tin the ledger\tstill in Kafka\t")
	var rows, waiting int64
	for _, p := range report.Partitions {
		behind := "—"
		if p.LogEnd >= 0 {
			behind = fmt.Sprint(p.LogEnd - p.Position)
			waiting += p.LogEnd - p.Position
		}
		rows += p.Rows
		offsets := "none"
		if p.Position > p.Start {
			offsets = fmt.Sprintf("%d–%d", p.Start, p.Position-1)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t\n", p.Topic, p.Partition, offsets, p.Rows, behind)
	}
	fmt.Fprintf(table, "all\t\t\t%d\t%d\t\n", rows, waiting)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, outcome := range schemas.Outcomes {
		if n, ok := report.Outcomes[outcome.String()]; ok {
			fmt.Fprintf(w, "%12d %s\n", n, outcome)
		}
	}
	if waiting > 0 {
		fmt.Fprintf(w, "\n%d records in Kafka are not counted yet; what follows is about the counted ones.\n", waiting)
	}
	r := report.Records
	fmt.Fprintf(w, "\nKafka has given out %d offsets: %d in the ledger (%d of them gaps), %d still in Kafka, %d unaccounted for.\n", r.Offsets, r.Rows, r.Gaps, r.Waiting, r.Unaccounted)
	if slices.ContainsFunc(report.Partitions, func(p audit.Partition) bool { return p.Acknowledged >= 0 }) {
		fmt.Fprintln(w, "Its log was held to what it had acknowledged to ingest.")
	}
	for _, u := range report.Unfinished {
		fmt.Fprintf(w, "\nNOT WHOLLY ERASED: %s has rows in %s. If agentmeter erase does not run, agentmeter erase --again --yes goes on with it.\n", u.Workspace, strings.Join(u.Tables, ", "))
	}
	took := (time.Duration(report.Millis) * time.Millisecond).Round(10 * time.Millisecond)
	if report.Exact {
		_, err := fmt.Fprintf(w, "\nExact: every offset once, every rollup equal to the ledger, no id recorded twice. (%s)\n", took)
		return err
	}
	for _, what := range report.Unclear {
		fmt.Fprintf(w, "\nCOULD NOT TELL: %s\n", what)
	}
	if len(report.Findings) == 0 {
		_, err := fmt.Fprintf(w, "What could be checked is exact. (%s)\n", took)
		return err
	}
	fmt.Fprintf(w, "\nNOT EXACT: %d findings. (%s)\n", len(report.Findings), took)
	slices.SortFunc(report.Findings, func(a, b audit.Finding) int { return int(a.Partition) - int(b.Partition) })
	for _, f := range report.Findings {
		fmt.Fprintf(w, "  partition %d, %s (%s): %s\n", f.Partition, f.Table, f.Check, f.Detail)
	}
	_, err := fmt.Fprintln(w, "\"A finding\" in docs/counting.md tells what each means and what to do.")
	return err
}
