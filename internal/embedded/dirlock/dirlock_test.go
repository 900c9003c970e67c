package dirlock

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestADirectoryIsHeldOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	lock, err := Take("broker", dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take("broker", dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "broker") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one got %v, want ErrInUse with whose it is and the directory", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if lock, err = Take("engine", dir); err != nil {
		t.Fatalf("after it was let go: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
}
