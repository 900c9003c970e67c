// Command embed is a platform's own app, as small as it can be: whoever is
// signed in sees the Usage page of their workspace in a frame of it. It shows
// what docs/embedding.md describes.
//
//	agentmeter token --data-dir data --workspace '*' --scope usage:read > platform.token
//	go run ./client/examples/embed -agentmeter http://127.0.0.1:8080 -page https://usage.example.com -token-file platform.token
//
// The frame needs https on both sides; put what ends TLS in front of this, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"agentmeter/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("embed", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:9000", "where this app listens")
	agentmeter := flags.String("agentmeter", "http://127.0.0.1:8080", "Agentmeter's API, as this server reaches it")
	page := flags.String("page", "https://usage.example.com", "origin of the Usage page, as browsers reach it (agentmeter --page-url)")
	tokenFile := flags.String("token-file", "platform.token", "file with an access token for usage:read of every workspace")
	renew := flags.Duration("renew", 30*time.Minute, "how often the session is renewed; half of agentmeter's --session-ttl")
	users := flags.String("users", "ada=ws_demo,ben=ws_acme", "who may sign in, and the workspace of each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		return fmt.Errorf("read the platform's token: %w", err)
	}
	c, err := client.New(*agentmeter, client.WithToken(strings.TrimSpace(string(token))))
	if err != nil {
		return err
	}
	defer c.Close()
	workspaces := map[string]string{}
	for pair := range strings.SplitSeq(*users, ",") {
		user, workspace, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("-users: %q is not of the form user=workspace", pair)
		}
		workspaces[user] = workspace
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newPlatform(c, *page, *renew, workspaces), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("The platform's app is at http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
