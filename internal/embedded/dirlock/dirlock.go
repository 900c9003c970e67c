// Package dirlock gives a data directory to one process at a time, for the
// embedded broker and the embedded engine.
package dirlock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// ErrInUse means that another process holds the data directory.
var ErrInUse = errors.New("data directory is in use")

// file is what is locked, in the directory.
const file = "agentmeter.lock"

// A moment of patience: a predecessor that was killed may still be on its way out.
const (
	patience = time.Second
	retry    = 10 * time.Millisecond
)

// Take makes a data directory and locks it for this process, or returns an error
// that is [ErrInUse]. The kernel lets go of the lock when the process ends,
// however it ends. holder names whose directory it is, in errors.
func Take(holder, dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("%s data directory: %w", holder, err)
	}
	lock := flock.New(filepath.Join(dir, file))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	locked, err := lock.TryLockContext(ctx, retry)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("lock %s data directory: %w", holder, err)
	}
	if !locked {
		return nil, fmt.Errorf("%s %w by another process: %s", holder, ErrInUse, dir)
	}
	return lock, nil
}
