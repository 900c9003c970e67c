package fault

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPlanReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		strike := rapid.Custom(func(t *rapid.T) Strike {
			return Strike{
				Point:  rapid.SampledFrom(Points).Draw(t, "point"),
				Visit:  rapid.IntRange(1, 100).Draw(t, "visit"),
				Action: rapid.SampledFrom([]string{ActionKill, ActionStop, ActionWait}).Draw(t, "action"),
				Delay:  time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "delay")),
			}
		})
		plan := rapid.SliceOfN(strike, 0, 4).Draw(t, "plan")
		var text []string
		for _, s := range plan {
			text = append(text, s.String())
		}
		got, err := ParsePlan(strings.Join(text, ","))
		if err != nil || !slices.Equal(got, plan) {
			t.Fatalf("ParsePlan(%q) = %v, %v; want %v", text, got, err, plan)
		}
	})
}

func TestPlanRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		"nowhere=kill", AppendBefore, AppendBefore + "=faint", AppendBefore + "=kill@0",
		AppendBefore + "=kill@x", AppendBefore + "=kill+soon", AppendBefore + "=kill+-1s",
	} {
		if plan, err := ParsePlan(text); err == nil {
			t.Errorf("ParsePlan(%q) = %v, want an error", text, plan)
		}
	}
}

func TestOrdinaryBuildsCannotStrike(t *testing.T) {
	if Enabled {
		t.Skip("built with -tags faults")
	}
	for _, variant := range Variants {
		if Is(variant) {
			t.Errorf("Is(%q) in an ordinary build", variant)
		}
	}
}
