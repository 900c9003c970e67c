package crash

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A comparison that found nothing whatever happens would prove nothing.
func TestLedgerIsHeldToWhatWasAnswered(t *testing.T) {
	batches := []batch{
		{workspace: "a", events: 2, credits: 10, fate: accepted},
		{workspace: "a", events: 2, credits: 20, fate: refused},
		{workspace: "b", events: 2, credits: 30, fate: unknown},
	}
	type found struct{ lost, doubled, leaked, wrong int }
	for name, c := range map[string]struct {
		ledger string
		want   found
	}{
		"right":                              {"a\t0\t2\t2\t20\t2\n", found{}},
		"of unknown fate, all":               {"a\t0\t2\t2\t20\t2\nb\t2\t2\t2\t60\t2\n", found{}},
		"of unknown fate, some":              {"a\t0\t2\t2\t20\t2\nb\t2\t1\t1\t30\t1\n", found{}},
		"an accepted one lost":               {"", found{lost: 2}},
		"an accepted event lost":             {"a\t0\t1\t1\t10\t1\n", found{lost: 1}},
		"an event twice":                     {"a\t0\t3\t2\t30\t3\n", found{doubled: 1, wrong: 1}},
		"an event twice, another lost":       {"a\t0\t2\t1\t20\t2\n", found{lost: 1, doubled: 1}},
		"a refused one counted":              {"a\t0\t2\t2\t20\t2\na\t1\t2\t2\t40\t2\n", found{leaked: 2}},
		"credits of another":                 {"a\t0\t2\t2\t21\t2\n", found{wrong: 1}},
		"messages of another":                {"a\t0\t2\t2\t20\t3\n", found{wrong: 1}},
		"of nobody":                          {"a\t0\t2\t2\t20\t2\na\t3\t1\t1\t10\t1\n", found{leaked: 1}},
		"no number":                          {"a\t0\t2\t2\t20\t2\na\tx\t1\t1\t10\t1\n", found{leaked: 1}},
		"in a workspace that is not its own": {"b\t0\t2\t2\t20\t2\n", found{lost: 2, leaked: 2}},
	} {
		got := compareBatches(batches, c.ledger)
		if is := (found{got.Lost, got.Doubled, got.Leaked, got.Wrong}); is != c.want {
			t.Errorf("%s: %+v and should be %+v: %q", name, is, c.want, got.Notes)
		}
		if got.Accepted != 1 || got.Events != 2 || got.Refused != 1 || got.Unknown != 1 {
			t.Errorf("%s: %+v", name, got)
		}
		if none := c.want == (found{}); none != (len(got.Notes) == 0) {
			t.Errorf("%s: notes %q", name, got.Notes)
		}
	}
}

func TestAnswersSayWhatMayBeCounted(t *testing.T) {
	for _, c := range []struct {
		outcome
		done, refused bool
		fate          fate
	}{
		{outcome{status: http.StatusAccepted}, true, false, accepted},
		{outcome{status: http.StatusTooManyRequests, retryAfter: true}, false, true, refused},
		{outcome{status: http.StatusServiceUnavailable, code: "overloaded", retryAfter: true}, false, true, refused},
		{outcome{status: http.StatusServiceUnavailable, code: "overloaded"}, false, false, refused},
		{outcome{status: http.StatusServiceUnavailable, code: "kafka_slow", retryAfter: true}, false, true, unknown},
		{outcome{status: http.StatusInternalServerError}, false, false, unknown},
		{outcome{status: http.StatusBadRequest}, false, false, refused},
		{outcome{}, false, false, unknown},
	} {
		if c.outcome.done() != c.done || c.outcome.refused() != c.refused || c.outcome.fate() != c.fate {
			t.Errorf("%+v: done %t, refused %t, fate %d", c.outcome, c.outcome.done(), c.outcome.refused(), c.outcome.fate())
		}
	}
}

func TestQuantilesAreOfWhatWasDone(t *testing.T) {
	var all tally
	for i := range 100 {
		all.add(outcome{status: http.StatusOK, took: time.Duration(100-i) * time.Millisecond})
		all.add(outcome{status: http.StatusServiceUnavailable, took: time.Hour})
	}
	if p99 := all.p99(); p99 != 100*time.Millisecond {
		t.Errorf("p99 %s", p99)
	}
	if n, _ := all.astray(); n != 100 {
		t.Errorf("%d without Retry-After", n)
	}
}

func TestHistogramsAreReadAsExported(t *testing.T) {
	page := func(second, all string) string {
		return strings.Join([]string{
			`agentmeter_http_request_duration_seconds_bucket{route="POST /v1/events",le="0.1"} 5`,
			`agentmeter_http_request_duration_seconds_bucket{route="POST /v1/events",le="1"} ` + second,
			`agentmeter_http_request_duration_seconds_bucket{route="POST /v1/events",le="+Inf"} ` + all,
			`agentmeter_http_request_duration_seconds_bucket{route="POST /v1/other",le="+Inf"} 7`, "",
		}, "\n")
	}
	before, err := buckets(page("5", "5"), requestSeconds("POST /v1/events"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := buckets(page("104", "105"), requestSeconds("POST /v1/events"))
	if err != nil {
		t.Fatal(err)
	}
	if after[math.Inf(1)] != 105 || bucketP99(before, after) != "≤ 1s" {
		t.Errorf("%v: %s", after, bucketP99(before, after))
	}
}
