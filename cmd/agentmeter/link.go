package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"agentmeter/client"
	"agentmeter/internal/auth"
	"agentmeter/schemas"
)

type linkCommand struct {
	dataDirFlags
	Workspace string `help:"Workspace whose page the link opens." required:"" placeholder:"WS"`
}

func (*linkCommand) Help() string {
	return example("agentmeter link --data-dir data --workspace ws_demo").
		help("Prints a link that opens the Usage page of a running instance, signed in: once, within a minute.")
}

func (c *linkCommand) check() error { return isWorkspaceID("--workspace", c.Workspace) }

func (c *linkCommand) Run(ctx context.Context, s streams) error {
	dir := dataDir(c.DataDir)
	where, err := dir.readEndpoints()
	if err != nil {
		return misuse("%w", err)
	}
	link, err := oneTimeLink(ctx, dir, where, schemas.WorkspaceID(c.Workspace))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, link)
	return err
}

// oneTimeLink asks an instance for a link to a workspace's page.
func oneTimeLink(ctx context.Context, dir dataDir, where endpoints, workspace schemas.WorkspaceID) (string, error) {
	token, err := dir.mint(where, auth.Grant{Subject: "link", Workspace: workspace, Scopes: []auth.Scope{auth.UsageRead}, TTL: time.Minute})
	if err != nil {
		return "", err
	}
	transport := transportTo(where.Certificate)
	defer transport.CloseIdleConnections()
	const patience = 10 * time.Second // it reads nothing, and asks nobody
	to, err := client.New(where.HTTP, client.WithToken(token), client.WithTimeout(patience), client.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		return "", err
	}
	defer to.Close()
	link, err := to.CreateSession(ctx, string(workspace))
	if err != nil {
		return "", fmt.Errorf("ask for a link: %w", err)
	}
	return link.URL, nil
}
