package main

import (
	"fmt"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/schemas"
)

type tokenCommand struct {
	dataDirFlags
	TokenKeyFile string        `help:"Key that signs the token. Empty: access.key in the data directory." type:"path" placeholder:"FILE"`
	Workspace    string        `help:"Workspace that the token covers; '*' covers all." required:"" placeholder:"WS"`
	Scope        string        `help:"What it allows, separated by commas: events:write, events:import, adjustments:write, directory:write, usage:read, ops:read." required:"" placeholder:"SCOPES"`
	Subject      string        `help:"Whom it is for; shown in logs." default:"cli"`
	TTL          time.Duration `help:"How long it is valid." default:"1h"`
}

func (*tokenCommand) Help() string {
	return example("agentmeter token --data-dir data --workspace ws_acme --scope events:write,usage:read --ttl 24h").
		help("Prints a JWT, to be sent as Authorization: Bearer, and nothing else. Works beside a running instance.")
}

func (c *tokenCommand) Run(s streams) error {
	scopes, err := auth.ParseScopes(c.Scope)
	if err != nil {
		return misuse("--scope: %w", err)
	}
	grant := auth.Grant{Subject: c.Subject, Workspace: schemas.WorkspaceID(c.Workspace), Scopes: scopes, TTL: c.TTL}
	if err := grant.Validate(); err != nil {
		return misuse("%w", err)
	}
	if c.TokenKeyFile == "" {
		if err := dataDir(c.DataDir).existing(); err != nil {
			return misuse("%w", err)
		}
	}
	key, err := loadKey(c.TokenKeyFile, dataDir(c.DataDir))
	if err != nil {
		return err
	}
	token, err := key.Mint(grant)
	if err != nil {
		return fmt.Errorf("mint token: %w", err)
	}
	_, err = fmt.Fprintln(s.out, token)
	return err
}

// loadKey reads the signing key, making it (and the data directory) where it
// is missing.
func loadKey(file string, dir dataDir) (auth.Key, error) {
	if file == "" {
		if err := dir.make(); err != nil {
			return auth.Key{}, err
		}
		file = dir.keyFile()
	}
	return auth.LoadOrCreateKey(file)
}
