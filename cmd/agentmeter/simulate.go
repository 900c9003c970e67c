package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/eventclient"
	"agentmeter/internal/simulate"
	"agentmeter/schemas"
)

type simulateCommand struct {
	targetFlags
	Workspace string        `help:"Workspace that the traffic is of." default:"ws_sim" placeholder:"WS"`
	Rate      int           `help:"Events a second." default:"10"`
	Seed      uint64        `help:"What the traffic follows from: the same seed, the same pattern." default:"1"`
	For       time.Duration `help:"How long; 0 goes on until it is interrupted." default:"0s"`
	Register  bool          `help:"Register the workspace, its agents and members too (needs directory:write)."`
	logFlags
}

func (*simulateCommand) Help() string {
	return example("agentmeter simulate --data-dir data --workspace ws_sim --rate 200 --for 1m").
		help("Sends the traffic of a handful of agents. Where the server is slower than the rate, events are left out and counted; nothing queues up. Exit status: 0 events were accepted and none rejected, 1 some were rejected or none accepted, 2 misuse.")
}

func (c *simulateCommand) check() error {
	faults := []error{c.targetFlags.check(), between("--rate", c.Rate, 1, simulate.MaxRate), isWorkspaceID("--workspace", c.Workspace)}
	if c.For < 0 {
		faults = append(faults, fmt.Errorf("--for: %v is negative; 0s goes on until it is interrupted", c.For))
	}
	return errors.Join(faults...)
}

func (c *simulateCommand) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	endpoint, _, err := c.endpoint()
	if err != nil {
		return err
	}
	if c.URL == "" && c.Register {
		endpoint = dataDir(c.DataDir).endpoint(auth.EventsWrite, auth.DirectoryWrite)
	}
	client, err := eventclient.New(eventclient.Config{Endpoint: endpoint, Transport: c.transport()})
	if err != nil {
		return misuse("%w", err)
	}
	defer client.Close()
	sender, err := simulate.NewSender(simulate.SenderConfig{Client: client, Log: log})
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	profile := simulate.DemoProfile(now)
	profile.Workspace = schemas.WorkspaceID(c.Workspace)
	if c.Register {
		directory := simulate.DemoDirectory(now)
		directory.Workspace = profile.Workspace
		if err := directory.Register(ctx, client); err != nil {
			return fmt.Errorf("register workspace %s: %w", c.Workspace, err)
		}
	}
	stream, err := simulate.NewStream(profile, c.Seed, float64(c.Rate), time.Now())
	if err != nil {
		return misuse("%w", err)
	}
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	totals, err := sender.Stream(ctx, stream)
	fmt.Fprintf(s.out, "%d events accepted, %d rejected, %d left out because the server was slower or not there\n", totals.Accepted, totals.Rejected, totals.Skipped)
	switch {
	case err != nil:
		return err
	case totals.Rejected > 0:
		return fmt.Errorf("%d events were rejected; does the token cover %s?", totals.Rejected, c.Workspace)
	case totals.Accepted == 0 && totals.Skipped > 0:
		return errors.New("no event was accepted; is the server there, and is this its address?")
	}
	return nil
}
