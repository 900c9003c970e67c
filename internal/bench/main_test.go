package main

import (
	"bytes"
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkPipeline-2            1  56332059320 ns/op   351912 plain_events/s   306163 protocol_events/s   0.87 ratio
BenchmarkOldIDs/few-2        1  1067764655 ns/op    17.86 ms/ten_ids
PASS
`

func TestFiguresAreReadFromWhatBenchmarksReport(t *testing.T) {
	measured := parse(strings.NewReader(output))
	pipeline := figure{name: "pipeline", benchmark: "Pipeline", metric: "protocol_events/s", referenceMetric: "plain_events/s", ratioMetric: "ratio", atLeast: 0.9}
	r, err := pipeline.result(measured)
	if err != nil {
		t.Fatal(err)
	}
	if r.Value != 306163 || *r.ReferenceValue != 351912 || *r.Ratio != 0.87 || *r.MeetsGoal || r.Goal != "≥ 0.9" {
		t.Errorf("got %+v", r)
	}
	few := figure{name: "few", benchmark: "OldIDs/few", metric: "ms/ten_ids", unit: "ms", atMost: 20}
	r, err = few.result(measured)
	if err != nil || r.Value != 17.86 || !*r.MeetsGoal || r.Ratio != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	few.metric = "ms/a_thousand_ids"
	if _, err := few.result(measured); err == nil {
		t.Error("a metric that nobody reported is no error")
	}
}

func TestTableSaysWhichGoalIsNotMet(t *testing.T) {
	met, missed := true, false
	var text bytes.Buffer
	if err := table(&text, []result{{Name: "a", Value: 150000, Goal: "≥ 1", MeetsGoal: &met}, {Name: "b", Value: 0.5, Goal: "≥ 1", MeetsGoal: &missed}, {Name: "c"}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[1], "yes") || !strings.HasSuffix(lines[2], "NO") || !strings.HasSuffix(lines[3], "–") || !strings.Contains(lines[1], "150000") {
		t.Errorf("got\n%s", text.String())
	}
}
