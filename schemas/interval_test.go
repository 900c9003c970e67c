package schemas

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawTime(t *rapid.T, label string) time.Time {
	return time.UnixMicro(rapid.Int64Range(-1<<50, 1<<51).Draw(t, label)).UTC()
}

func TestBucketsOfAStepTileTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := drawTime(t, "time")
		for i, step := range Steps {
			floor := step.Floor(at)
			bucket := NewInterval(floor, floor.Add(time.Duration(step)))
			if !bucket.Contains(at) || !step.Aligned(floor) || step.Floor(bucket.End) != bucket.End {
				t.Fatalf("%s: %s lies not in its bucket %s", step, at, bucket)
			}
			if ceil := step.Ceil(at); ceil.Before(at) || ceil.Sub(at) >= time.Duration(step) || !step.Aligned(ceil) {
				t.Fatalf("%s: Ceil(%s) = %s", step, at, ceil)
			}
			if i > 0 && !Steps[i].Aligned(Steps[i-1].Floor(at)) {
				t.Fatalf("buckets of %s do not tile those of %s", Steps[i], Steps[i-1])
			}
		}
	})
}

func TestIntersectionIsWhatBothContain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := func(label string) time.Time {
			return time.Unix(rapid.Int64Range(0, 20).Draw(t, label), 0).UTC()
		}
		a, b := NewInterval(second("a"), second("b")), NewInterval(second("c"), second("d"))
		both, instants := a.Intersect(b), 0
		for i := range int64(21) {
			at := time.Unix(i, 0).UTC()
			if a.Contains(at) && b.Contains(at) {
				instants++
			}
			if both.Contains(at) != (a.Contains(at) && b.Contains(at)) {
				t.Fatalf("%s ∩ %s = %s is wrong at %s", a, b, both, at)
			}
		}
		if a.Overlaps(b) != (instants > 0) || both.Duration() != time.Duration(instants)*time.Second {
			t.Fatalf("%s and %s share %d s, said %s", a, b, instants, both.Duration())
		}
	})
}
