package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"agentmeter/internal/importer"
)

type importCommand struct {
	targetFlags
	BatchEvents int           `help:"Events of a request at most, 1 to 10000; a server takes no more than its --max-events." default:"5000"`
	InFlight    int           `help:"Requests under way at once, 1 to 64." default:"2"`
	RetryFor    time.Duration `help:"How long a request is tried again before giving up. 0s: not at all." default:"2m"`
	Restart     bool          `help:"Begin at the first line, even where an earlier run was cut short."`
	Files       []string      `arg:"" name:"file" help:"NDJSON or CSV files, gzip or not; - is the standard input."`
}

func (*importCommand) Help() string {
	return example("agentmeter import --data-dir data events.ndjson.gz\nagentmeter import --data-dir data events.ndjson.gz.rejected.ndjson").
		help("Sends the events of the files, of any age, through the ordinary ingest path. Sending a file twice changes nothing; a run that was cut short goes on where it stopped. Rejected lines are listed and written to FILE.rejected.ndjson, each with the reason and its event: correct the events there and import that file. Exit status: 0 all accepted; 1 some rejected, or not finished; 2 nothing could be done, for misuse, a token that is not taken, or no connection.")
}

// What one import may ask of a server at once.
const (
	maxBatchEvents = 10_000
	maxInFlight    = 64
)

func (c *importCommand) check() error {
	return errors.Join(
		c.targetFlags.check(), between("--batch-events", c.BatchEvents, 1, maxBatchEvents),
		between("--in-flight", c.InFlight, 1, maxInFlight), notBelow("--retry-for", c.RetryFor, 0),
	)
}

func (c *importCommand) Run(ctx context.Context, s streams) error {
	endpoint, target, err := c.endpoint()
	if err != nil {
		return err
	}
	result, err := importer.Run(ctx, importer.Options{
		Endpoint: endpoint, Target: target, Restart: c.Restart,
		BatchEvents: c.BatchEvents, InFlight: c.InFlight, RetryFor: cmp.Or(c.RetryFor, -1), // 0 would be the importer's own
		Transport: c.transport(),
		Stdin:     s.in, Stdout: s.out, Stderr: s.err,
	}, c.Files...)
	switch result.Outcome() {
	case importer.AllAccepted:
		return nil
	case importer.NothingDone:
		return &exitError{exitUnclear, err}
	default:
		return &exitError{exitNo, err}
	}
}
