package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/eventclient"
	"agentmeter/internal/importer"
)

// targetFlags say to which instance events are sent.
type targetFlags struct {
	DataDir   string `help:"Data directory of the instance to send to; its address and key are found there." default:"data" type:"path" placeholder:"DIR"`
	URL       string `help:"Address of an ingest to send to instead." placeholder:"URL"`
	TokenFile string `help:"File that holds the token for --url." type:"path" placeholder:"FILE"`
}

// endpoint finds the instance anew each time that it is asked, since one that
// was restarted may have another address.
func (f targetFlags) endpoint() (eventclient.Endpoint, string, error) {
	if f.URL != "" {
		if f.TokenFile == "" {
			return nil, "", misuse("--url needs --token-file; mint a token with agentmeter token")
		}
		token, err := readSecret(f.TokenFile)
		if err != nil {
			return nil, "", misuse("%w", err)
		}
		return eventclient.Static(f.URL, token), f.URL, nil
	}
	dir := dataDir(f.DataDir)
	if _, err := dir.readEndpoints(); err != nil {
		return nil, "", misuse("%w", err)
	}
	target, err := dir.identity()
	if err != nil {
		return nil, "", err
	}
	return dir.endpoint(auth.EventsWrite, auth.EventsImport), target, nil
}

// identity tells the directory from another one in its place: an import that
// was cut short must not go on in a directory that has been wiped since. The
// key is as old as the directory.
func (d dataDir) identity() (string, error) {
	path, err := filepath.Abs(string(d))
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	key, err := os.ReadFile(d.keyFile())
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	digest := sha256.Sum256(key)
	return fmt.Sprintf("%s#%x", path, digest[:8]), nil
}

// endpoint is the instance on the directory, with a fresh token each time.
func (d dataDir) endpoint(scopes ...auth.Scope) eventclient.Endpoint {
	return func(context.Context) (baseURL, token string, err error) {
		where, err := d.readEndpoints()
		if err != nil {
			return "", "", err
		}
		token, err = d.mint(scopes...)
		return where.HTTP, token, err
	}
}

// mint makes a token for this program's own commands.
func (d dataDir) mint(scopes ...auth.Scope) (string, error) {
	key, err := auth.LoadKey(d.keyFile())
	if err != nil {
		return "", err
	}
	return key.Mint(auth.Grant{Subject: "cli", Workspace: auth.AllWorkspaces, Scopes: scopes, TTL: time.Hour})
}

// transport carries the requests to it. The certificate of a running instance is
// trusted as it is; another address has one that the system trusts.
func (f targetFlags) transport() http.RoundTripper {
	if f.URL != "" {
		return nil
	}
	where, err := dataDir(f.DataDir).readEndpoints()
	if err != nil || where.Certificate == "" {
		return nil // endpoint says what is wrong
	}
	return transportTo(where.Certificate)
}

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
