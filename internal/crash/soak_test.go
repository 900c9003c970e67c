package crash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGrowthIsFound(t *testing.T) {
	const mib = 1 << 20
	first := Rest{Goroutines: 50, Files: 40, Memory: 100 * mib}
	for name, c := range map[string]struct {
		last  Rest
		wrong bool
	}{
		"as before":   {first, false},
		"by chance":   {Rest{Goroutines: 60, Files: 50, Memory: 150 * mib}, false},
		"goroutines":  {Rest{Goroutines: 100, Files: 40, Memory: 100 * mib}, true},
		"descriptors": {Rest{Goroutines: 50, Files: 100, Memory: 100 * mib}, true},
		"memory":      {Rest{Goroutines: 50, Files: 40, Memory: 200 * mib}, true},
	} {
		r := &SoakReport{AtRest: map[string][]Rest{"ingest": {first, first, c.last}}}
		r.judgeGrowth()
		if wrong := len(r.Wrong) > 0; wrong != c.wrong {
			t.Errorf("%s: wrong %t, %q", name, wrong, r.Wrong)
		}
	}
}

// A line may be longer than a scanner's buffer, and the last one cut off.
func TestLogLinesAreCounted(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.log")
	text := lifeLine + " 1 at some time\nshort\n" + strings.Repeat("x", 100_000) + "\n" + lifeLine + " 2\ncut o"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := linesOf(name); n != 3 || err != nil {
		t.Errorf("%d lines: %v", n, err)
	}
}
