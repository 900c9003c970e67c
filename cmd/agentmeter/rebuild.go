package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"agentmeter/internal/audit"
	"agentmeter/rollup"
	tables "agentmeter/schemas/clickhouse"
)

type rebuildCommand struct {
	pipelineFlags
	Tier []string `help:"What to rebuild, separated by commas: minute, quarter, hour, day, workspace_hour, playground, ids. Empty: all." placeholder:"TIER"`
	From string   `help:"Rebuild only buckets from this time on, widened to whole days in UTC: a date, or RFC 3339." placeholder:"TIME"`
	To   string   `help:"Rebuild only buckets before this time, widened to whole days in UTC." placeholder:"TIME"`
	logFlags

	options rollup.RebuildOptions // as check read them
}

func (*rebuildCommand) Help() string {
	return example("agentmeter rebuild --data-dir data\nagentmeter rebuild --data-dir data --tier hour,day --from 2026-11-01 --to 2026-11-08").
		help("Makes the rollups and the look-up of ids equal to the ledger again, whatever happened to them, by adding the difference. Works beside a running instance, which goes on counting and answering, and on a stopped data directory. Safe to cut off and to run again; Ctrl-C stops after the statement under way and tells what remains. Ends with the audit. Exit status: 0 exact, 1 not exact, 2 not finished, or it could not tell. See docs/repairs.md.")
}

func (c *rebuildCommand) check() (err error) {
	c.options, err = c.readOptions()
	return errors.Join(c.pipelineFlags.check(), err)
}

func (c *rebuildCommand) readOptions() (options rollup.RebuildOptions, err error) {
	known := rollup.RebuildTables()
	for _, tier := range c.Tier {
		tier = strings.TrimSpace(tier)
		found := slices.IndexFunc(known, func(table string) bool { return tier == tierOf(table) || tier == table })
		if found < 0 {
			tiers := make([]string, len(known))
			for i, table := range known {
				tiers[i] = tierOf(table)
			}
			return options, fmt.Errorf("--tier: %q is none of %s", tier, strings.Join(tiers, ", "))
		}
		options.Tables = append(options.Tables, known[found])
	}
	if options.From, err = parseTime("--from", c.From); err != nil {
		return options, err
	}
	if options.To, err = parseTime("--to", c.To); err != nil {
		return options, err
	}
	if !options.From.IsZero() && !options.To.IsZero() && !options.From.Before(options.To) {
		return options, fmt.Errorf("--from %s is not before --to %s", c.From, c.To)
	}
	if (c.From != "" || c.To != "") && len(options.Tables) == 0 {
		// The look-up of ids knows no time.
		options.Tables = slices.DeleteFunc(known, func(table string) bool { return table == tables.IDs })
	}
	return options, nil
}

// tierOf is what --tier calls a table.
func tierOf(table string) string {
	if table == tables.IDs {
		return "ids"
	}
	return strings.TrimPrefix(table, "usage_")
}

// parseTime reads a time of a flag: a date, which begins in UTC, or RFC 3339.
func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: %q is neither a date, such as 2026-11-24, nor RFC 3339, such as 2026-11-24T09:30:00Z", flag, text)
}

func (c *rebuildCommand) Run(ctx context.Context, s streams) error {
	p, err := c.open(ctx, "rebuild", c.logger(s.err))
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	options := c.options
	options.Progress = rebuildProgress(s.err)
	began := time.Now()
	report, err := rollup.Rebuild(ctx, p.clickhouse, options)
	if err != nil {
		if report != nil {
			printRemaining(s.err, report)
		}
		return &exitError{exitUnclear, err}
	}
	printRebuilt(s.out, report, time.Since(began))
	return judge(ctx, s, p)
}

// judge ends a command that repaired something with the audit.
func judge(ctx context.Context, s streams, p *pipeline) error {
	fmt.Fprintln(s.err, "auditing")
	report, err := p.audit(ctx, audit.Options{Progress: (&auditProgress{out: s.err, last: time.Now()}).show})
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	if err := printReport(s.out, report); err != nil {
		return &exitError{exitUnclear, err}
	}
	return verdict(report)
}

// rebuildProgress prints a line for each part that is finished, and every few
// seconds in between.
func rebuildProgress(w io.Writer) func(rollup.RebuildProgress) {
	const every = 3 * time.Second
	last := time.Now()
	return func(p rollup.RebuildProgress) {
		finished := p.Done >= p.Total
		if !finished && time.Since(last) < every || finished && p.Repaired.Buckets == 0 && time.Since(last) < every {
			return
		}
		last = time.Now()
		line := fmt.Sprintf("partition %d: %s: %d of %d rows compared", p.Partition, p.Table, p.Done, p.Total)
		if p.Repaired.Buckets > 0 {
			line += fmt.Sprintf(", %d repaired", p.Repaired.Buckets)
		}
		fmt.Fprintln(w, line)
	}
}

func printRebuilt(w io.Writer, report *rollup.RebuildReport, took time.Duration) {
	nothing := true
	for _, table := range rollup.RebuildTables() {
		repaired := report.Repaired[table]
		switch {
		case repaired.Buckets == 0:
			continue
		case table == tables.IDs:
			fmt.Fprintf(w, "%s: %d ids repaired. Restart the rollups: what they loaded from it is from before.\n", table, repaired.Buckets)
		default:
			fmt.Fprintf(w, "%s: %d buckets repaired, which were wrong by %s credits and %d events in all\n", table, repaired.Buckets, repaired.Credits, repaired.Events)
		}
		nothing = false
	}
	if nothing {
		fmt.Fprintln(w, "Nothing was different.")
	}
	fmt.Fprintf(w, "Rebuilt in %s; one statement held up its partition for %s at most.\n\n", took.Round(time.Millisecond), report.LongestHold.Round(time.Millisecond))
}

func printRemaining(w io.Writer, report *rollup.RebuildReport) {
	if len(report.Remaining) == 0 {
		return
	}
	fmt.Fprintln(w, "Not finished; what was repaired stays so. Remaining:")
	const most = 20
	for i, part := range report.Remaining {
		if i == most {
			fmt.Fprintf(w, "  and %d more\n", len(report.Remaining)-most)
			break
		}
		fmt.Fprintf(w, "  %s\n", part)
	}
	fmt.Fprintln(w, "Run the same command again to go on.")
}
