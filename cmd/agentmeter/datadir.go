package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"agentmeter/internal/auth"
)

// dataDir is the directory that one run holds.
//
//	lock            held by the process that runs on it
//	id              tells it from another one in its place
//	endpoints.json  the addresses in use, while it is ready
//	access.key      signs the tokens, unless another file does
//	kafka/          the embedded broker's logs
//	clickhouse/     the embedded engine's tables
//	demo.json       how far the demo's history has been sent
type dataDir string

// dataDirFlags name the directory.
type dataDirFlags struct {
	DataDir string `help:"Directory that holds everything." default:"data" type:"path" placeholder:"DIR"`
}

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }

func (d dataDir) lockFile() string      { return d.path("lock") }
func (d dataDir) idFile() string        { return d.path("id") }
func (d dataDir) endpointsFile() string { return d.path("endpoints.json") }
func (d dataDir) keyFile() string       { return d.path(auth.KeyFile) }
func (d dataDir) kafka() string         { return d.path("kafka") }
func (d dataDir) clickhouse() string    { return d.path("clickhouse") }
func (d dataDir) demoFile() string      { return d.path("demo.json") }

func (d dataDir) make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// errDataDirHeld means that another process runs on the directory.
var errDataDirHeld = errors.New("is held by another agentmeter process; stop that one, or give another --data-dir")

// hold takes the directory for this process, making it where it is missing.
// The lock goes with the process, however that ends.
func (d dataDir) hold(ctx context.Context) (release func(), err error) {
	if err := d.make(); err != nil {
		return nil, err
	}
	lock := flock.New(d.lockFile())
	// Tried for a moment: a command that asks whether somebody runs on it holds
	// the lock for an instant.
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	held, err := lock.TryLockContext(ctx, 10*time.Millisecond)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("lock data directory %s: %w", string(d), err)
	}
	if !held {
		return nil, fmt.Errorf("data directory %s %w", string(d), errDataDirHeld)
	}
	// What a killed process left behind is not true any more.
	if err := os.Remove(d.endpointsFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale endpoints: %w", err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// held reports whether a process runs on the directory. An error means that it
// could not tell, such as for want of permission.
func (d dataDir) held() (bool, error) {
	lock := flock.New(d.lockFile(), flock.SetFlag(os.O_RDWR))
	taken, err := lock.TryLock()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("data directory %s: whether a process runs on it: %w", string(d), err)
	case taken:
		_ = lock.Unlock()
	}
	return !taken, nil
}

// existing refuses a directory that is not there, or is something else's, which
// most often is a mistyped one. An empty one is as good as any.
func (d dataDir) existing() error {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no data directory %s; agentmeter run --data-dir %s makes it, or name another one", string(d), string(d))
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, entry := range entries {
		switch d.path(entry.Name()) {
		case d.lockFile(), d.keyFile(), d.kafka(), d.clickhouse():
			return nil
		}
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is no data directory: it holds other things, and nothing of agentmeter's", string(d))
	}
	return nil
}

// endpoints are the addresses of a running instance.
type endpoints struct {
	HTTP       string `json:"http"`
	Kafka      string `json:"kafka"`
	ClickHouse string `json:"clickhouse"`
	// Certificate is the file with the one that the HTTP address serves, if it is an
	// https one.
	Certificate string `json:"certificate,omitempty"`
	// TokenKeyFile is the file with the key that signs tokens, if it is not the
	// directory's own.
	TokenKeyFile string `json:"token_key_file,omitempty"`
}

// writeEndpoints publishes the addresses, whole or not at all.
func (d dataDir) writeEndpoints(e endpoints) error {
	content, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("encode endpoints: %w", err)
	}
	if err := writeWhole(d.endpointsFile(), append(content, '\n')); err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	return nil
}

// writeWhole writes a file that nobody sees half of.
func writeWhole(name string, content []byte) error {
	temporary := name + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// identify gives the directory an id, unless it has one. It must be held.
func (d dataDir) identify() error {
	_, err := os.Stat(d.idFile())
	if errors.Is(err, os.ErrNotExist) {
		err = writeWhole(d.idFile(), []byte(rand.Text()+"\n"))
	}
	if err != nil {
		return fmt.Errorf("data directory's id: %w", err)
	}
	return nil
}

func (d dataDir) removeEndpoints(log *slog.Logger) {
	if err := os.Remove(d.endpointsFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("endpoints not removed", "error", err)
	}
}

// readEndpoints returns the addresses of the instance that runs on the
// directory. A file that a killed process left behind is ignored.
func (d dataDir) readEndpoints() (endpoints, error) {
	held, err := d.held()
	if err != nil {
		return endpoints{}, err
	}
	if !held {
		return endpoints{}, fmt.Errorf("nothing runs on data directory %s; start it with: agentmeter run --data-dir %s", string(d), string(d))
	}
	content, err := os.ReadFile(d.endpointsFile())
	if errors.Is(err, os.ErrNotExist) {
		return endpoints{}, fmt.Errorf("the instance on data directory %s is not ready yet; try again in a moment", string(d))
	}
	if err != nil {
		return endpoints{}, fmt.Errorf("read endpoints: %w", err)
	}
	var e endpoints
	if err := json.Unmarshal(content, &e); err != nil {
		return endpoints{}, fmt.Errorf("read endpoints: %w", err)
	}
	return e, nil
}
