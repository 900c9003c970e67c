package main

import (
	"context"
	"time"

	"agentmeter/internal/importer"
)

type importCommand struct {
	targetFlags
	BatchEvents int           `help:"Events of a request at most." default:"5000"`
	InFlight    int           `help:"Requests under way at once." default:"2"`
	RetryFor    time.Duration `help:"How long a request is tried again before giving up." default:"2m"`
	Restart     bool          `help:"Begin at the first line, even where an earlier run was cut short."`
	Files       []string      `arg:"" name:"file" help:"NDJSON or CSV files, gzip or not; - is the standard input."`
}

func (*importCommand) Help() string {
	return example("agentmeter import --data-dir data events.ndjson.gz").
		help("Sends the events of the files, of any age, through the ordinary ingest path. Sending a file twice changes nothing; a run that was cut short goes on where it stopped. Rejected lines are listed and written to FILE.rejected.ndjson. Exit status: 0 all accepted, 1 some rejected or not finished, 2 misuse.")
}

func (c *importCommand) Run(ctx context.Context, s streams) error {
	endpoint, target, err := c.endpoint()
	if err != nil {
		return err
	}
	result, err := importer.Run(ctx, importer.Options{
		Endpoint: endpoint, Target: target, Restart: c.Restart,
		BatchEvents: c.BatchEvents, InFlight: c.InFlight, RetryFor: c.RetryFor,
		Transport: c.transport(),
		Stdin:     s.in, Stdout: s.out, Stderr: s.err,
	}, c.Files...)
	if code := result.ExitCode(); code != exitOK || err != nil {
		return &exitError{code: max(code, exitNo), err: err}
	}
	return nil
}
