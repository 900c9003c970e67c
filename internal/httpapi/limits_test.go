package httpapi_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/httpapi"
)

func TestLimitsLetThroughWhatTheySay(t *testing.T) {
	t.Parallel()
	l := httpapi.NewLimits(10, 20, 100)
	now := time.Unix(1_000_000, 0)
	taken := 0
	for range 100 { // at once: the burst
		if _, wait := l.Take("a", now); wait == 0 {
			taken++
		} else if wait > 100*time.Millisecond {
			t.Fatalf("the next is let through in %s", wait)
		}
	}
	if taken != 20 {
		t.Errorf("%d in a burst, want 20", taken)
	}
	taken = 0
	for i := range 1000 { // a hundred a second
		if _, wait := l.Take("a", now.Add(time.Duration(i)*10*time.Millisecond)); wait == 0 {
			taken++
		}
	}
	if taken < 99 || taken > 101 {
		t.Errorf("%d in ten seconds, want 100", taken)
	}
	if left, wait := l.Take("b", now); left != 19 || wait != 0 {
		t.Errorf("another key has %d left and waits %s", left, wait)
	}
}

func TestWhatIsOwedHasToComeInFirst(t *testing.T) {
	t.Parallel()
	l := httpapi.NewLimits(10, 20, 100)
	now := time.Unix(1_000_000, 0)
	l.Owe("a", 65, now) // 45 more than there are
	if _, wait := l.Take("a", now); wait != 4600*time.Millisecond {
		t.Errorf("the next is let through in %s, want 4.6s", wait)
	}
	if _, wait := l.Take("a", now.Add(4600*time.Millisecond)); wait != 0 {
		t.Errorf("what was owed has come in, and it waits %s", wait)
	}
}

func TestLimitsRememberSoManyKeysAndTheLastUsedOnes(t *testing.T) {
	t.Parallel()
	l := httpapi.NewLimits(1, 1, 3)
	now := time.Unix(1_000_000, 0)
	refused := func(key string) bool {
		_, wait := l.Take(key, now)
		return wait > 0
	}
	for _, key := range []string{"a", "b", "c", "a", "d"} { // d takes the place of b, which was quiet for longest
		refused(key)
	}
	for _, key := range []string{"a", "c", "d"} {
		if !refused(key) {
			t.Errorf("%s is forgotten", key)
		}
	}
	if refused("b") {
		t.Error("a fourth key is remembered")
	}
	// A key of any length takes bounded memory: what it begins with counts.
	long := strings.Repeat("x", 1<<20)
	if refused(long+"1") || !refused(long+"2") {
		t.Error("keys that are too long do not share what they begin with")
	}
	for i := range 10_000 {
		refused(strconv.Itoa(i))
	}
	if refused("a") {
		t.Error("ten thousand keys later one is remembered, of three")
	}
}
