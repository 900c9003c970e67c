package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

type linkCommand struct {
	dataDirFlags
	Workspace string `help:"Workspace whose page the link opens." required:"" placeholder:"WS"`
}

func (*linkCommand) Help() string {
	return example("agentmeter link --data-dir data --workspace ws_demo").
		help("Prints a link that opens the Usage page of a running instance, signed in: once, within a minute.")
}

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
	key, err := auth.LoadKey(dir.keyFile())
	if err != nil {
		return "", err
	}
	token, err := key.Mint(auth.Grant{Subject: "link", Workspace: workspace, Scopes: []auth.Scope{auth.UsageRead}, TTL: time.Minute})
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, where.HTTP+"/v1/sessions", bytes.NewReader([]byte("{}")))
	if err != nil {
		return "", fmt.Errorf("ask for a link: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	transport := transportTo(where.Certificate)
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return "", fmt.Errorf("ask for a link: %w", err)
	}
	defer response.Body.Close()
	const maxAnswer = 64 << 10
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil || response.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("ask for a link: %s: %.300s", response.Status, content)
	}
	var link api.SessionLink
	if err := json.Unmarshal(content, &link); err != nil {
		return "", fmt.Errorf("ask for a link: %w", err)
	}
	return link.URL, nil
}
