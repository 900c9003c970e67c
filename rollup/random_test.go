package rollup

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

const (
	// seedVariable repeats a run of the random tests.
	seedVariable = "AGENTMETER_SEED"
	// longVariable makes the random tests run for long.
	longVariable = "AGENTMETER_LONG"
)

// randomSeed returns the seed of a random test, which a failure prints.
func randomSeed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("repeat with %s=%d", seedVariable, seed)
	return seed
}

// rounds is how many rounds a random test takes.
func rounds(ordinary, long int) int {
	if os.Getenv(longVariable) != "" {
		return long
	}
	return ordinary
}
