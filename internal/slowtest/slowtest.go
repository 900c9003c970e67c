// Package slowtest names the tests that take long, so that `go test ./...` alone
// ends within two minutes: whole products as processes, a real browser, thousands of
// random questions. `make test` runs them too.
package slowtest

import (
	"os"
	"testing"
)

// variable set to 1 runs them.
const variable = "AGENTMETER_SLOW"

// Begin is the first line of a test that takes long: it skips the test, and says
// so, unless they are asked for.
func Begin(t testing.TB) {
	t.Helper()
	if !Wanted() {
		t.Skipf("SLOW, NOT RUN: %s=1 runs it, and so does make test", variable)
	}
}

// Wanted reports whether the tests that take long are asked for.
func Wanted() bool { return os.Getenv(variable) == "1" }

// Number is how many of what it draws at random a test draws: some, which show what
// is plainly wrong, or all where the tests that take long are asked for.
func Number(some, all int) int {
	if Wanted() {
		return all
	}
	return some
}
