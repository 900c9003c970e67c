package main

import (
	"context"
	"errors"
	"fmt"

	"agentmeter/rollup"
)

type acceptLossCommand struct {
	pipelineFlags
	Partition int32 `help:"Number of the events topic's partition that has halted, from 0." required:"" placeholder:"N"`
	Through   int64 `help:"Offset at which the partition's log begins in Kafka now, as the rollup that halted says it: the first one that is not lost." required:"" placeholder:"OFFSET"`
	logFlags
}

func (*acceptLossCommand) Help() string {
	return example("agentmeter accept-loss --data-dir data --partition 1 --through 40213").
		help("Lets a partition go on whose records were deleted from Kafka before they were counted: each lost offset becomes a gap in the ledger, for everybody to see. Restore the records instead, if they can be. A running rollup goes on by itself. Exit status: 0 accepted, or nothing is lost; 2 misuse, or not finished. See docs/repairs.md.")
}

func (c *acceptLossCommand) check() error {
	return errors.Join(c.pipelineFlags.check(), notBelow("--partition", c.Partition, 0), notBelow("--through", c.Through, 0))
}

func (c *acceptLossCommand) Run(ctx context.Context, s streams) error {
	p, err := c.open(ctx, "accept-loss", c.logger(s.err))
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	defer p.close()
	lost, err := rollup.AcceptLoss(ctx, p.clickhouse, p.admin, c.Partition, c.Through, rollup.DefaultConfig().StatementTimeout)
	if errors.Is(err, rollup.ErrNothingLost) {
		_, err = fmt.Fprintf(s.out, "Nothing is lost: partition %d's log joins on to the ledger.\n", c.Partition)
		return err
	}
	if lost > 0 {
		fmt.Fprintf(s.out, "%d records of partition %d are accepted as lost; the ledger shows a gap for each.\n", lost, c.Partition)
	}
	if err != nil {
		return &exitError{exitUnclear, err}
	}
	return nil
}
