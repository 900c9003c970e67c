package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// KeyFile is the key's name in a data directory.
const KeyFile = "access.key"

const keyBytes = 32

// Key signs and verifies access tokens. It never prints.
type Key struct{ secret [keyBytes]byte }

// Format implements fmt.Formatter.
func (Key) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("[secret key]")) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue("[secret key]") }

// LoadKey reads a key file: exactly 32 bytes that only its owner (and group)
// may read.
func LoadKey(path string) (Key, error) {
	var key Key
	file, err := os.Open(path)
	if err != nil {
		return key, fmt.Errorf("open access key: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return key, fmt.Errorf("stat access key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return key, fmt.Errorf("access key %s: not a regular file", path)
	} else if mode.Perm()&0o007 != 0 {
		return key, fmt.Errorf("access key %s: mode %04o lets everyone on this machine read or replace it; run chmod 600 on it", path, mode.Perm())
	}
	if info.Size() != keyBytes {
		return key, fmt.Errorf("access key %s: has %d bytes, a key has %d; restore it from a backup, or remove it for a new one, which ends all tokens", path, info.Size(), keyBytes)
	}
	if _, err := file.ReadAt(key.secret[:], 0); err != nil {
		return key, fmt.Errorf("read access key: %w", err)
	}
	return key, nil
}

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
	var secret [keyBytes]byte
	_, _ = rand.Read(secret[:]) // crypto/rand.Read never fails
	if _, err := temp.Write(secret[:]); err != nil {
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
