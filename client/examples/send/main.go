// Command send sends one event over HTTP, by the client package.
//
//	export AGENTMETER_TOKEN=$(bin/agentmeter token --data-dir data --workspace ws_acme --scope events:write)
//	go run ./client/examples/send -agentmeter http://127.0.0.1:8080 -workspace ws_acme -id my-event -credits 1.5
//
// An id counts once. What is sent again has to be the same, its time too, so a
// program keeps its event until it was accepted; this one begins anew each time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"agentmeter/client"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	agentmeter := flags.String("agentmeter", "http://127.0.0.1:8080", "Agentmeter's API; AGENTMETER_TOKEN holds an access token for events:write")
	workspace := flags.String("workspace", "ws_acme", "whose usage it is")
	agent := flags.String("agent", "agt_support", "which agent answered")
	id := flags.String("id", "my-event", "the event's id, unique in the workspace")
	amount := flags.String("credits", "1", "what it cost, with up to six decimals")
	if err := flags.Parse(args); err != nil {
		return err
	}
	credits, err := schemas.ParseCredits(*amount)
	if err != nil {
		return fmt.Errorf("-credits: %w", err)
	}
	c, err := client.New(*agentmeter, client.WithToken(os.Getenv("AGENTMETER_TOKEN")))
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.SendEvents(ctx, []api.Event{{
		ID: *id, WorkspaceID: *workspace, AgentID: *agent, OccurredAt: time.Now(), Channel: "embed", Credits: credits,
	}})
	if err != nil {
		return fmt.Errorf("send the event: %w", err)
	}
	if len(answer.Rejected) > 0 {
		return fmt.Errorf("the event was rejected: %s", answer.Rejected[0].Detail)
	}
	fmt.Println(answer.Accepted, "event accepted")
	return nil
}
