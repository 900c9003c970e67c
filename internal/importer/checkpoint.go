package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// checkpoint is what a progress file says: up to where every line has its
// answer. It is only ever behind the truth, never ahead of it.
type checkpoint struct {
	Version     int         `json:"version"`
	Path        string      `json:"path"`
	Target      string      `json:"target"`
	Fingerprint fingerprint `json:"fingerprint"`
	Lines       int64       `json:"lines"`
	Accepted    int64       `json:"accepted"`
	Rejected    int64       `json:"rejected"`
	// RejectedBytes is how much of the collected rejected lines belongs to
	// Lines.
	RejectedBytes int64     `json:"rejected_bytes"`
	SavedAt       time.Time `json:"saved_at"`
}

const checkpointVersion = 1

// errBusy says that another import of the same file is running.
var errBusy = errors.New("another import of this file is running")

// checkpoints keeps the progress of one file towards one target. A nil
// checkpoints keeps nothing.
type checkpoints struct {
	path     string
	rejected string
	lock     *flock.Flock
}

// openCheckpoints takes the file's lock. errBusy is misuse; any other error
// means that progress cannot be kept.
func openCheckpoints(dir, path, target string) (*checkpoints, error) {
	if dir == "" {
		return nil, errors.New("there is no cache directory")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(path + "\x00" + target))
	base := filepath.Join(dir, hex.EncodeToString(sum[:16]))
	lock := flock.New(base + ".lock")
	held, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, errBusy
	}
	return &checkpoints{path: base + ".json", rejected: base + ".rejected.ndjson", lock: lock}, nil
}

// load returns the checkpoint of the file as it is now, or a fresh one and, if
// one was there, why it is not used.
func (c *checkpoints) load(fresh checkpoint) (found checkpoint, reason string, err error) {
	if c == nil {
		return fresh, "", nil
	}
	content, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, "", nil
	}
	if err != nil {
		return fresh, "", err
	}
	readable := json.Unmarshal(content, &found) == nil
	if !readable || found.Version != checkpointVersion || found.Lines < 0 || found.RejectedBytes < 0 {
		return fresh, "its progress file cannot be read", nil
	}
	if found.Path != fresh.Path || found.Target != fresh.Target {
		return fresh, "its progress file is about something else", nil
	}
	if !found.Fingerprint.equal(fresh.Fingerprint) {
		return fresh, "the file has changed", nil
	}
	return found, "", nil
}

func (c *checkpoints) save(point checkpoint) error {
	if c == nil {
		return nil
	}
	point.SavedAt = time.Now().UTC()
	content, err := json.Marshal(point)
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	return writeWhole(c.path, 0o600, func(w io.Writer) error {
		_, err := w.Write(append(content, '\n'))
		return err
	})
}

// forget removes the progress file.
func (c *checkpoints) forget() error {
	if c == nil {
		return nil
	}
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *checkpoints) close() error {
	if c == nil {
		return nil
	}
	return c.lock.Unlock()
}
