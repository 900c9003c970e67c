package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// KeyFile is the key's name in a data directory.
const KeyFile = "access.key"

const keyBytes = 32

// Key signs and verifies access tokens, by the keys in a file: the first signs, and
// all verify. Once the file changes its keys are read anew, so that it can be rotated
// while processes run. It never prints. Copies are one key.
type Key struct{ ring *ring }

// Format implements fmt.Formatter.
func (Key) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("[secret key]")) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue("[secret key]") }

// LoadKey reads a key file: what only its owner (and group) may read.
func LoadKey(path string) (Key, error) {
	r := &ring{path: path, log: slog.New(slog.DiscardHandler)}
	keys, seen, err := readKeys(path)
	if err != nil {
		return Key{}, err
	}
	r.keys, r.seen, r.looked = keys, seen, time.Now()
	return Key{ring: r}, nil
}

// Log says where it is logged that the file was read anew, or could not be. Call it
// before the key is used.
func (k Key) Log(log *slog.Logger) { k.ring.log = log }

// LoadOrCreateKey reads the key file, or makes one where there is none. It is
// on disk, whole and fsynced, before anyone can see it, so that two processes
// that create it at once use the same one and a crash leaves none or a good
// one.
func LoadOrCreateKey(path string) (Key, error) {
	key, err := LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil {
		return Key{}, fmt.Errorf("create access key: %w", err)
	}
	return LoadKey(path)
}

// createKey makes a file with one key, unless there is a file.
func createKey(path string) (err error) {
	dir := filepath.Dir(path)
	// os.CreateTemp makes it 0600.
	temp, err := os.CreateTemp(dir, ".access-key-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = temp.Close() // closed below where it matters
		err = errors.Join(err, os.Remove(temp.Name()))
	}()
	if _, err := temp.Write(newKeys().encode()); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	// A hard link, unlike a rename, fails where the name is taken: the first
	// of two processes wins, and the other reads what it made.
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
