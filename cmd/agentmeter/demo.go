package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/eventclient"
	"agentmeter/internal/lifecycle"
	"agentmeter/internal/simulate"
)

const demoWorkspace = simulate.DemoWorkspace

// demoRate is the demo's live traffic, in events a second.
const demoRate = 0.5

// demoState is how far the demo's history has been sent. Ids follow from the
// seed, so sending a piece twice after a crash counts nothing twice.
type demoState struct {
	Began     time.Time `json:"began"` // what the history is seen from
	SentUntil time.Time `json:"sent_until"`
}

// demoStage sends the demo's directory and history through the ordinary
// ingest path, then a trickle of live traffic, until it is stopped. What goes
// wrong with the demo is logged and stops nothing else.
func demoStage(dir dataDir, where endpoints, log *slog.Logger) lifecycle.Stage {
	return lifecycle.Stage{Name: "demo", Run: func(ctx context.Context) error {
		if err := demo(ctx, dir, where, log); err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "demo traffic stopped", "error", err)
		}
		<-ctx.Done()
		return nil
	}}
}

func demo(ctx context.Context, dir dataDir, where endpoints, log *slog.Logger) error {
	client, err := eventclient.New(eventclient.Config{
		Endpoint: func(context.Context) (string, string, error) {
			token, err := dir.mint(where, auth.Grant{
				Subject: "demo", Workspace: demoWorkspace,
				Scopes: []auth.Scope{auth.EventsWrite, auth.EventsImport, auth.DirectoryWrite}, TTL: time.Hour,
			})
			return where.HTTP, token, err
		},
		Transport:  transportTo(where.Certificate),
		MinBackoff: 20 * time.Millisecond,
		RetryFor:   time.Minute,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	sender, err := simulate.NewSender(simulate.SenderConfig{Client: client, Log: log})
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	state, err := readDemoState(dir)
	if err != nil {
		return err
	}
	if state.Began.IsZero() {
		directory := simulate.DemoDirectory(now)
		if err := directory.Register(ctx, client); err != nil {
			return fmt.Errorf("register the demo workspace: %w", err)
		}
		state = demoState{Began: now, SentUntil: now.AddDate(0, 0, -simulate.DemoDays)}
	}
	profile := simulate.DemoProfile(state.Began)
	totals, err := sender.Send(ctx, simulate.History(profile, simulate.DemoSeed, state.SentUntil, now))
	if err != nil {
		return fmt.Errorf("send the demo's history: %w", err)
	}
	state.SentUntil = now
	if err := writeDemoState(dir, state); err != nil {
		return err
	}
	log.InfoContext(ctx, "demo history sent", "events", totals.Accepted, "workspace", demoWorkspace)

	// From here on: what would have come while the history was sent is not late.
	stream, err := simulate.NewStream(profile, simulate.DemoSeed, demoRate, time.Now())
	if err != nil {
		return err
	}
	_, err = sender.Stream(ctx, stream)
	// What was sent live takes the place of that time's history.
	state.SentUntil = time.Now().UTC()
	return errors.Join(err, writeDemoState(dir, state))
}

func readDemoState(dir dataDir) (state demoState, err error) {
	content, err := os.ReadFile(dir.demoFile())
	if errors.Is(err, os.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("read demo state: %w", err)
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return state, fmt.Errorf("read demo state: %w", err)
	}
	return state, nil
}

func writeDemoState(dir dataDir, state demoState) error {
	content, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("write demo state: %w", err)
	}
	if err := os.WriteFile(dir.demoFile(), content, 0o600); err != nil {
		return fmt.Errorf("write demo state: %w", err)
	}
	return nil
}
