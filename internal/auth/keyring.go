package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A key file holds 32 bytes, the key that signs, and then 40 for each other one that
// verifies: 32 of it and the Unix second, big endian, at which it ends. 0: it does
// not; it is the next one to sign, which all processes are to know before one does.
const (
	otherBytes   = keyBytes + 8
	maxOtherKeys = 8
)

// keys are those of a file. The secrets are slices, which a stack trace shows as
// addresses.
type keys struct {
	signs  []byte
	others []otherKey
}

type otherKey struct {
	secret []byte
	ends   time.Time // zero: it is the next to sign
}

func newSecret() []byte {
	secret := make([]byte, keyBytes)
	_, _ = rand.Read(secret) // crypto/rand.Read never fails
	return secret
}

func newKeys() keys { return keys{signs: newSecret()} }

func (k keys) encode() []byte {
	out := bytes.Clone(k.signs)
	for _, other := range k.others {
		out = append(out, other.secret...)
		ends := int64(0)
		if !other.ends.IsZero() {
			ends = other.ends.Unix()
		}
		out = binary.BigEndian.AppendUint64(out, uint64(ends))
	}
	return out
}

func decodeKeys(content []byte) keys {
	k := keys{signs: content[:keyBytes]}
	for rest := content[keyBytes:]; len(rest) > 0; rest = rest[otherBytes:] {
		other := otherKey{secret: rest[:keyBytes]}
		if ends := binary.BigEndian.Uint64(rest[keyBytes:otherBytes]); ends != 0 {
			other.ends = time.Unix(int64(ends), 0)
		}
		k.others = append(k.others, other)
	}
	return k
}

// verify are the secrets that a token may be signed by now.
func (k keys) verify(now time.Time) [][]byte {
	secrets := [][]byte{k.signs}
	for _, other := range k.others {
		if other.ends.IsZero() || other.ends.After(now) {
			secrets = append(secrets, other.secret)
		}
	}
	return secrets
}

// readKeys reads a key file and tells which file it was.
func readKeys(path string) (keys, os.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return keys{}, nil, fmt.Errorf("open access key: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return keys{}, nil, fmt.Errorf("stat access key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return keys{}, nil, fmt.Errorf("access key %s: not a regular file", path)
	} else if mode.Perm()&0o007 != 0 {
		return keys{}, nil, fmt.Errorf("access key %s: mode %04o lets everyone on this machine read or replace it; run chmod 600 on it", path, mode.Perm())
	}
	size := info.Size()
	if size < keyBytes || (size-keyBytes)%otherBytes != 0 || (size-keyBytes)/otherBytes > maxOtherKeys {
		return keys{}, nil, fmt.Errorf("access key %s: has %d bytes, a key has %d, and %d more for each that was rotated out; restore it from a backup, or remove it for a new one, which ends all tokens", path, size, keyBytes, otherBytes)
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(file, content); err != nil {
		return keys{}, nil, fmt.Errorf("read access key: %w", err)
	}
	return decodeKeys(content), info, nil
}

// keyAge is for how long keys are used without a look at whether their file has
// changed.
const keyAge = time.Second

// ring is a file's keys as they are now.
type ring struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex // guards what follows
	keys   keys
	reads  int // how often they were read
	seen   os.FileInfo
	looked time.Time
	said   string // what was wrong the last time, which is said once
}

// now are the keys, read anew where the file has changed since a second ago, or since
// just now where it has to be known, and how often they were read by then.
func (r *ring) now(known bool) (current keys, reads int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !known && now.Sub(r.looked) < keyAge {
		return r.keys, r.reads
	}
	r.looked = now
	info, err := os.Stat(r.path)
	if err == nil && os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) && info.Size() == r.seen.Size() {
		r.said = ""
		return r.keys, r.reads
	}
	var read keys
	if err == nil {
		read, info, err = readKeys(r.path)
	}
	if err != nil {
		// A file that is gone or damaged ends no tokens: that it is meant cannot be told.
		if err.Error() != r.said {
			r.said = err.Error()
			r.log.WarnContext(context.Background(), "access key not read again, the last one stays in use", "error", err)
		}
		return r.keys, r.reads
	}
	r.keys, r.seen, r.said = read, info, ""
	r.reads++
	r.log.InfoContext(context.Background(), "access key read again", "others_that_verify", len(read.verify(now))-1)
	return r.keys, r.reads
}

// Rotation says what RotateKey did.
type Rotation struct {
	// Signs: a new key signs. Otherwise it only verifies so far.
	Signs bool
	// OldEnds is when what the old key signed ends at the latest.
	OldEnds time.Time
	// Older keys verify still, the last of them until OlderEnds: what is put away
	// now is not all that there is.
	Older     int
	OlderEnds time.Time
}

// RotateKey replaces the key that signs by a new one, or by the one that was prepared,
// and lets what the old one signed be valid for a grace time. With prepare it makes
// the next key, which verifies and does not sign yet: where processes do not share the
// file, all have to know a key before one signs by it. Running processes follow.
func RotateKey(path string, grace time.Duration, prepare bool) (Rotation, error) {
	if grace < 0 {
		return Rotation{}, fmt.Errorf("grace %v: must not be negative", grace)
	}
	release, err := lockDir(filepath.Dir(path))
	if err != nil {
		return Rotation{}, err
	}
	defer release()
	current, info, err := readKeys(path)
	if err != nil {
		return Rotation{}, err
	}
	now := time.Now()
	// Whole seconds, rounded up.
	rotation := Rotation{Signs: !prepare, OldEnds: now.Add(grace + time.Second - 1).Truncate(time.Second)}
	next := keys{signs: current.signs}
	var prepared []byte
	for _, other := range current.others {
		switch {
		case other.ends.IsZero():
			prepared = other.secret
		case other.ends.After(now):
			next.others = append(next.others, other)
			rotation.Older++
			if other.ends.After(rotation.OlderEnds) {
				rotation.OlderEnds = other.ends
			}
		}
	}
	switch {
	case prepare && prepared != nil:
		return Rotation{}, errors.New("the next key is prepared already; without --prepare it begins to sign")
	case prepare:
		next.others = append(next.others, otherKey{secret: newSecret()})
	default:
		if next.signs = prepared; next.signs == nil {
			next.signs = newSecret()
		}
		if grace > 0 {
			next.others = append(next.others, otherKey{secret: current.signs, ends: rotation.OldEnds})
		}
	}
	if len(next.others) > maxOtherKeys {
		return Rotation{}, fmt.Errorf("%d older keys are valid still; wait until one ends, or rotate with a grace time of 0", maxOtherKeys)
	}
	return rotation, replaceKeys(path, next.encode(), info)
}

// replaceKeys writes a key file whole or not at all, for those who could read the one
// before.
func replaceKeys(path string, content []byte, before os.FileInfo) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".access-key-*")
	if err != nil {
		return fmt.Errorf("write access key: %w", err)
	}
	defer func() {
		_ = temp.Close() // closed below where it matters
		if err != nil {
			err = errors.Join(fmt.Errorf("write access key: %w", err), os.Remove(temp.Name()))
		}
	}()
	if owner, ok := before.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Getuid() || int(owner.Gid) != os.Getgid()) {
		if err := temp.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if err := temp.Chmod(before.Mode().Perm()); err != nil {
		return err
	}
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// lockDir keeps two rotations from undoing each other.
func lockDir(dir string) (release func(), err error) {
	held, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), held.Close())
	}
	return func() { _ = held.Close() }, nil
}
