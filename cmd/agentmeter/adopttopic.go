package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/google/uuid"

	"agentmeter/rollup"
)

type adoptTopicCommand struct {
	pipelineFlags
	ID string `name:"id" help:"Id of the topic to go on with, which must be the one that is there. Empty: print what is known, what is there and what adopting would mean." placeholder:"UUID"`
	logFlags

	topic uuid.UUID // that --id names, as check read it
}

func (*adoptTopicCommand) Help() string {
	return example("agentmeter adopt-topic --data-dir data\nagentmeter adopt-topic --data-dir data --id 6f1c9f3e-7a52-4a1b-9d0e-2f8b7c3d4e5f").
		help("Goes on with an events topic that was deleted and made again, after which nothing is counted until somebody decides. What was counted stays, and its ids stay known: events that are sent to the new topic again count once. Running rollups go on by themselves. Exit status: 0 adopted, or nothing to adopt; 1 not adopted; 2 could not tell. See docs/repairs.md.")
}

func (c *adoptTopicCommand) check() error {
	faults := []error{c.pipelineFlags.check()}
	if c.ID != "" {
		var err error
		if c.topic, err = uuid.Parse(c.ID); err != nil {
			faults = append(faults, fmt.Errorf("--id: %q is not a topic's id, such as agentmeter adopt-topic prints", c.ID))
		}
	}
	return errors.Join(faults...)
}

func (c *adoptTopicCommand) Run(ctx context.Context, s streams) error {
	p, err := c.open(ctx, "adopt-topic", c.logger(s.err))
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	var adoption *rollup.Adoption
	timeout := rollup.DefaultConfig().StatementTimeout
	if c.ID == "" {
		adoption, err = rollup.LookAtTopic(ctx, p.clickhouse, p.admin, timeout)
	} else {
		adoption, err = rollup.AdoptTopic(ctx, p.clickhouse, p.admin, c.topic, timeout)
	}
	switch {
	case errors.Is(err, rollup.ErrNothingToAdopt):
		_, err = fmt.Fprintf(s.out, "Nothing to adopt: %s is the topic that is counted (%s, %d partitions).\n", adoption.Topic, adoption.Live.ID, adoption.Live.Partitions)
		return err
	case errors.Is(err, rollup.ErrNothingKnown), errors.Is(err, rollup.ErrPartitionsChanged), errors.Is(err, rollup.ErrNotLive), errors.Is(err, rollup.ErrClosed):
		return &exitError{exitNo, err}
	case err != nil:
		return &exitError{exitUnclear, err}
	case c.ID != "":
		_, err = fmt.Fprintf(s.out, "%s is counted from topic %s now. Running rollups go on by themselves within seconds; restart what produces to it, ingest above all, which may hold on to the old one.\n", adoption.Topic, adoption.Live.ID)
		return err
	}
	if err := printAdoption(s.out, adoption); err != nil {
		return &exitError{exitUnclear, err}
	}
	return &exitError{code: exitNo}
}

func printAdoption(w io.Writer, a *rollup.Adoption) error {
	fmt.Fprintf(w, "The ledger is of %s as topic %s, with %d partitions:\n\n", a.Topic, a.Known.ID, a.Known.Partitions)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "partition\tcounted up to\tknown to be uncounted\t")
	uncounted := int64(0)
	for _, p := range a.Partitions {
		fmt.Fprintf(table, "%d\t%d\t%d\t\n", p.Partition, p.Position, p.Uncounted)
		uncounted += p.Uncounted
	}
	if err := table.Flush(); err != nil {
		return err
	}
	waiting := int64(0)
	for i := range a.Ends {
		waiting += a.Ends[i] - a.Starts[i]
	}
	fmt.Fprintf(w, "\nWhat is there now is topic %s, with %d partitions and %d records.\n\n", a.Live.ID, a.Live.Partitions, waiting)
	fmt.Fprintf(w, `Adopting it means:
  - it is counted from where its log begins, and the old one never again, not even
    if it is put back: its ledger is closed;
  - everything that was counted stays, and its ids stay known, so whatever is sent
    to the new topic again counts once;
  - what the old topic held and was not counted is lost unless it is sent again
    (%d records are known of, there may have been more).

If that is right:

  agentmeter adopt-topic --id %s
`, uncounted, a.Live.ID)
	return nil
}
