package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"agentmeter/internal/auth"
	"agentmeter/internal/eventclient"
	"agentmeter/schemas"
)

// targetFlags say to which instance events are sent.
type targetFlags struct {
	DataDir   string `help:"Data directory of the instance to send to; its address and key are found there." default:"data" type:"path" placeholder:"DIR"`
	URL       string `help:"Address of an ingest to send to instead." placeholder:"URL"`
	TokenFile string `help:"File that holds the token for --url." type:"path" placeholder:"FILE"`
}

// AfterApply has a data directory that is named on the command line beat an address
// that the environment names. Kong calls it once it has set the flags.
func (f *targetFlags) AfterApply(parsed *kong.Context) error {
	switch {
	case !onCommandLine(parsed, "data-dir"):
	case !onCommandLine(parsed, "url"):
		forgetEnvironment(parsed, "url", "token-file")
	default:
		return errors.New("--data-dir is one instance, and --url another; give one of them")
	}
	return nil
}

func (f targetFlags) check() error {
	if f.URL == "" {
		if f.TokenFile != "" {
			return errors.New("--token-file is for --url; give that, too, or --data-dir alone, whose key makes a token")
		}
		return nil
	}
	if err := isAddress("--url", f.URL, "http://127.0.0.1:8080"); err != nil {
		return err
	}
	if f.TokenFile == "" {
		return errors.New("--url needs --token-file; mint a token with agentmeter token")
	}
	_, err := f.token()
	return err
}

// token is the one for --url.
func (f targetFlags) token() (string, error) {
	token, err := readSecret(f.TokenFile)
	if err == nil && token == "" {
		err = fmt.Errorf("%s is empty; mint a token with agentmeter token", f.TokenFile)
	}
	return token, named("--token-file", err)
}

// endpoint finds the instance anew each time that it is asked, since one that
// was restarted may have another address.
func (f targetFlags) endpoint() (eventclient.Endpoint, string, error) {
	if f.URL != "" {
		token, err := f.token()
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
// was cut short must not go on in a directory that has been wiped since.
func (d dataDir) identity() (string, error) {
	path, err := filepath.Abs(string(d))
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	id, err := os.ReadFile(d.idFile())
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return path + "#" + strings.TrimSpace(string(id)), nil
}

// endpoint is the instance on the directory, with a fresh token each time.
func (d dataDir) endpoint(scopes ...auth.Scope) eventclient.Endpoint {
	return func(context.Context) (baseURL, token string, err error) {
		where, err := d.readEndpoints()
		if err != nil {
			return "", "", err
		}
		token, err = d.mint(where, auth.Grant{Subject: "cli", Workspace: schemas.AllWorkspaces, Scopes: scopes, TTL: time.Hour})
		return where.HTTP, token, err
	}
}

// mint makes a token for this program's own commands, by the key that the instance
// has.
func (d dataDir) mint(where endpoints, grant auth.Grant) (string, error) {
	key, err := auth.LoadKey(cmp.Or(where.TokenKeyFile, d.keyFile()))
	if err != nil {
		return "", err
	}
	return key.Mint(grant)
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
