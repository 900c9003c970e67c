package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/schemas"
)

type tokenCommand struct {
	dataDirFlags
	TokenKeyFile string        `help:"Key that signs the token, the one that the server reads; made where it is missing. Empty: access.key in the data directory." type:"path" placeholder:"FILE"`
	Workspace    string        `help:"Workspace that the token covers; '*' covers all." required:"" placeholder:"WS"`
	Scope        string        `help:"What it allows, separated by commas: events:write, events:import, adjustments:write, directory:write, usage:read, ops:read." required:"" placeholder:"SCOPES"`
	Subject      string        `help:"Whom it is for; shown in logs." default:"cli"`
	TTL          time.Duration `help:"How long it is valid." default:"1h"`

	scopes []auth.Scope // as check read them
}

func (*tokenCommand) Help() string {
	return example("agentmeter token --data-dir data --workspace ws_acme --scope events:write,usage:read --ttl 24h").
		help("Prints a JWT, to be sent as Authorization: Bearer, and nothing else. Works beside a running instance.")
}

func (c *tokenCommand) check() error {
	var err error
	c.scopes, err = auth.ParseScopes(c.Scope)
	faults := []error{usableKey(c.TokenKeyFile), named("--scope", err)}
	if c.Workspace != string(schemas.AllWorkspaces) {
		faults = append(faults, isWorkspaceID("--workspace", c.Workspace))
	}
	if c.TTL <= 0 {
		faults = append(faults, fmt.Errorf("--ttl: %v is not positive", c.TTL))
	}
	return errors.Join(faults...)
}

func (c *tokenCommand) Run(s streams) error {
	grant := auth.Grant{Subject: c.Subject, Workspace: schemas.WorkspaceID(c.Workspace), Scopes: c.scopes, TTL: c.TTL}
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

type rotateKeyCommand struct {
	dataDirFlags
	TokenKeyFile string        `help:"Key to rotate. Empty: access.key in the data directory." type:"path" placeholder:"FILE"`
	Grace        time.Duration `help:"For how long what the old key signed stays valid, unless it ends earlier of itself. 0s ends it at once. Keys from before it keep their own times." default:"24h"`
	Prepare      bool          `help:"Only make the next key, which verifies and does not sign yet, for processes that have copies of the file. The next call has it sign."`
}

func (*rotateKeyCommand) Help() string {
	return example("agentmeter rotate-key --data-dir data --grace 24h").
		help("Has a new key sign tokens and page sessions, and says until when those of the old one are valid. Running processes that read the same file follow within seconds; nobody is signed out.")
}

func (c *rotateKeyCommand) check() error {
	faults := []error{notBelow("--grace", c.Grace, 0)}
	if c.TokenKeyFile != "" {
		_, err := auth.LoadKey(c.TokenKeyFile)
		faults = append(faults, named("--token-key-file", err))
	}
	return errors.Join(faults...)
}

func (c *rotateKeyCommand) Run(s streams) error {
	file := c.TokenKeyFile
	if file == "" {
		if err := dataDir(c.DataDir).existing(); err != nil {
			return misuse("%w", err)
		}
		file = dataDir(c.DataDir).keyFile()
	}
	rotation, err := auth.RotateKey(file, c.Grace, c.Prepare)
	if err != nil {
		return err
	}
	said := "The next key is prepared: it verifies, and does not sign yet. Once every process has this file, rotate again without --prepare."
	if rotation.Signs {
		said = "A new key signs. What the old one signed is valid until " + rotation.OldEnds.UTC().Format(time.RFC3339) + "."
		if rotation.Older > 0 {
			said += fmt.Sprintf(" %d older keys verify still, the last of them until %s; a new file ends everybody's tokens.", rotation.Older, rotation.OlderEnds.UTC().Format(time.RFC3339))
		}
	}
	_, err = fmt.Fprintln(s.out, said)
	return err
}

// usableKey refuses a key file that can neither be read nor made.
func usableKey(file string) error {
	if file == "" {
		return nil
	}
	_, err := auth.LoadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(file)) // where it will be made
	}
	return named("--token-key-file", err)
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
