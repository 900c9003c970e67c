package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestMemoryIsLimitedByTheContainer(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "")
	file := filepath.Join(t.TempDir(), "memory.max")
	for _, test := range []struct {
		says, set string
		want      int64
	}{
		{"1073741824\n", "", 966367638},
		{"max\n", "", before},
		{"nonsense", "", before},
		{"1073741824\n", "2GiB", before},
	} {
		debug.SetMemoryLimit(before)
		t.Setenv("GOMEMLIMIT", test.set)
		if err := os.WriteFile(file, []byte(test.says), 0o600); err != nil {
			t.Fatal(err)
		}
		limitMemory(file)
		if got := debug.SetMemoryLimit(-1); got != test.want {
			t.Errorf("%q with GOMEMLIMIT=%q: the limit is %d, want %d", test.says, test.set, got, test.want)
		}
	}
	debug.SetMemoryLimit(before)
	limitMemory(filepath.Join(t.TempDir(), "none"))
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("without a container the limit is %d", got)
	}
}
