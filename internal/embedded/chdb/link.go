package chdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lockRetry is how often a waiting Fetch looks whether the other one is done.
const lockRetry = 200 * time.Millisecond

// Link puts the library beside an executable in dir, under the name that [Find]
// looks for: a hard link where the file system allows it, else a symbolic one.
// It costs no space and is safe to repeat.
func Link(library, dir string) (string, error) {
	path := filepath.Join(dir, BesideName)
	if same, err := sameFile(library, path); err != nil || same {
		return path, err
	}
	tmp := fmt.Sprintf("%s.tmp-%d", path, os.Getpid())
	if err := os.Link(library, tmp); err != nil {
		absolute, err := filepath.Abs(library)
		if err != nil {
			return "", fmt.Errorf("link engine library: %w", err)
		}
		if err := os.Symlink(absolute, tmp); err != nil {
			return "", fmt.Errorf("link engine library: %w", err)
		}
	}
	// rename(2) does nothing when both names are one file, so the temporary
	// name is removed whatever happened.
	err := os.Rename(tmp, path)
	if removeErr := os.Remove(tmp); err == nil && removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = removeErr
	}
	if err != nil {
		return "", fmt.Errorf("link engine library: %w", err)
	}
	return path, nil
}

func sameFile(a, b string) (bool, error) {
	infoA, err := os.Stat(a)
	if err != nil {
		return false, fmt.Errorf("engine library: %w", err)
	}
	infoB, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("engine library: %w", err)
	}
	return os.SameFile(infoA, infoB), nil
}
