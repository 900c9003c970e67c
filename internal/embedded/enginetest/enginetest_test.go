package enginetest_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"agentmeter/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachTestHasADatabaseOfItsOwn(t *testing.T) {
	url, first := enginetest.Start(t)
	again, second := enginetest.Start(t)
	if url != again {
		t.Fatalf("two engines in one test binary: %s and %s", url, again)
	}
	for _, database := range []string{first, second} {
		if _, err := enginetest.Query(t.Context(), url, database, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := enginetest.Query(t.Context(), url, first, "INSERT INTO t VALUES (1), (2)"); err != nil {
		t.Fatal(err)
	}
	for database, want := range map[string]string{first: "2", second: "0"} {
		got, err := enginetest.Query(t.Context(), url, database, "SELECT count() FROM t")
		if err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%s has %q rows (%v), want %s", database, got, err, want)
		}
	}
}

func TestDatabaseIsDroppedWhenItsTestEnds(t *testing.T) {
	enginetest.Require(t)
	var url, database string
	t.Run("inner", func(t *testing.T) { url, database = enginetest.Start(t) })
	got, err := enginetest.Query(t.Context(), url, "system", "SELECT count() FROM databases WHERE name = '"+database+"'")
	if err != nil || strings.TrimSpace(got) != "0" {
		t.Fatalf("%s databases left (%v)", got, err)
	}
}
