package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"agentmeter/internal/audit"
	"agentmeter/rollup"
	"agentmeter/schemas"
)

type auditCommand struct {
	pipelineFlags
	JSON bool `name:"json" help:"Print the whole report as JSON."`
	logFlags
}

func (*auditCommand) Help() string {
	return example("agentmeter audit --data-dir data").
		help("Proves that every Kafka offset is in the ledger exactly once and that every rollup equals the ledger. Works beside a running instance and on a stopped data directory. Exit status: 0 exact, 1 not exact, 2 could not tell.")
}

func (c *auditCommand) Run(ctx context.Context, s streams) error {
	report, err := c.report(ctx, c.logger(s.err))
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
	if !report.Exact {
		return &exitError{code: exitNo}
	}
	return nil
}

func (c *auditCommand) report(ctx context.Context, log *slog.Logger) (*audit.Report, error) {
	p, err := c.open(ctx, "audit", log)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return p.audit(ctx)
}

// audit repairs the last blocks first where no rollup is there to do so.
func (p *pipeline) audit(ctx context.Context) (*audit.Report, error) {
	options := audit.Options{Settle: 5 * time.Second, Mutex: func(stream uuid.UUID, partition int32) string {
		return rollup.Mutex(p.clickhouse.Database(), stream, partition)
	}}
	if p.stopped {
		options.Settle = 0 // nobody is about to repair anything
		if err := rollup.RepairLast(ctx, p.clickhouse, rollup.DefaultConfig().StatementTimeout); err != nil {
			return nil, err
		}
	}
	return audit.Run(ctx, p.clickhouse, p.admin, options)
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
	if report.Exact {
		_, err := fmt.Fprintln(w, "\nExact: every offset once, every rollup equal to the ledger, no id recorded twice.")
		return err
	}
	fmt.Fprintf(w, "\nNOT EXACT: %d findings.\n", len(report.Findings))
	slices.SortFunc(report.Findings, func(a, b audit.Finding) int { return int(a.Partition) - int(b.Partition) })
	for _, f := range report.Findings {
		fmt.Fprintf(w, "  partition %d, %s (%s): %s\n", f.Partition, f.Table, f.Check, f.Detail)
	}
	_, err := fmt.Fprintln(w, "docs/counting.md tells what each finding means.")
	return err
}
