package simulate_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/internal/simulate"
	"agentmeter/schemas"
)

func workload() *simulate.Workload {
	return &simulate.Workload{
		Seed: 42, Events: 20_000,
		Range:              schemas.NewInterval(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)),
		Workspaces:         simulate.Zipf(50, 1000),
		PlaygroundPermille: 20,
	}
}

func TestWorkloadIsSortedValidAndUnique(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(t, "start"))
		workspaces := rapid.IntRange(1, 30).Draw(t, "workspaces")
		w := &simulate.Workload{
			Seed: rapid.Uint64().Draw(t, "seed"), Events: rapid.Int64Range(0, 2000).Draw(t, "events"),
			Range:              schemas.NewInterval(start, start.Add(time.Duration(rapid.Int64Range(1, 3e10).Draw(t, "micros"))*time.Microsecond)),
			Workspaces:         simulate.Zipf(workspaces, rapid.IntRange(0, 100).Draw(t, "agents")),
			PlaygroundPermille: rapid.Int64Range(0, 1000).Draw(t, "playground"),
		}
		generator, err := w.Generator()
		if err != nil {
			t.Fatal(err)
		}
		var events []schemas.Event
		for e := range generator.All() {
			events = append(events, *e)
		}
		if int64(len(events)) != w.Events {
			t.Fatalf("%d events, want %d", len(events), w.Events)
		}
		checkEvents(t, events, w.Range, map[string]bool{})

		// Any part, made by anyone, is the same.
		clone := generator.Clone()
		from := rapid.Int64Range(0, w.Events).Draw(t, "from")
		to := rapid.Int64Range(from, w.Events).Draw(t, "to")
		i := from
		for e := range clone.Range(from, to) {
			if *e != events[i] {
				t.Fatalf("event %d is %+v, want %+v", i, *e, events[i])
			}
			i++
		}
	})
}

func TestWorkloadsThatDifferShareNoIDs(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, change := range []func(*simulate.Workload){
		func(*simulate.Workload) {},
		func(w *simulate.Workload) { w.Seed++ },
		func(w *simulate.Workload) { w.Events++ },
		func(w *simulate.Workload) { w.Range.End = w.Range.End.Add(time.Microsecond) },
		func(w *simulate.Workload) { w.Workspaces[49].Agents++ },
		func(w *simulate.Workload) { w.PlaygroundPermille++ },
	} {
		w := workload()
		change(w)
		generator, err := w.Generator()
		if err != nil {
			t.Fatal(err)
		}
		for e := range generator.Range(0, 5000) {
			if ids[e.ID] {
				t.Fatalf("%s is in two workloads", e.ID)
			}
			ids[e.ID] = true
		}
	}
}

func TestWorkloadSizesFollowZipf(t *testing.T) {
	t.Parallel()
	sizes := simulate.Zipf(50, 1000)
	agents := 0
	for i, size := range sizes {
		agents += size.Agents
		if size.Agents < 1 || (i > 0 && size.Agents > sizes[i-1].Agents) {
			t.Errorf("workspace %d has %d agents", i, size.Agents)
		}
	}
	if agents != 1000 {
		t.Errorf("%d agents in all", agents)
	}
	generator, err := workload().Generator()
	if err != nil {
		t.Fatal(err)
	}
	events := map[schemas.WorkspaceID]int{}
	conversations := map[string]int{}
	playground := 0
	for e := range generator.All() {
		events[e.Workspace]++
		conversations[e.Conversation]++
		if e.Playground() {
			playground++
		}
	}
	// The harmonic number of 50 is 4.499: the first has 22.2 %, the second half of it.
	if first, second := events[sizes[0].ID], events[sizes[1].ID]; first < 4200 || first > 4700 || second < 2050 || second > 2400 {
		t.Errorf("%d and %d of 20,000 events are of the two largest workspaces", first, second)
	}
	if playground < 300 || playground > 500 {
		t.Errorf("%d of 20,000 events are tests, want about 400", playground)
	}
	if each := float64(20_000) / float64(len(conversations)); each < 2 || each > 8 {
		t.Errorf("%.1f events a conversation", each)
	}
}

func TestWorkloadFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	w := &simulate.Workload{Events: -1, PlaygroundPermille: 1001, Workspaces: []simulate.WorkspaceSize{{ID: " x", Agents: 0}}}
	_, err := w.Generator()
	for _, want := range []string{"events", "range", "playground", "workspace_id", `workspace " x"`, "at least one needs a weight"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not mention %q", err, want)
		}
	}
}

func TestWorkloadEventCostsOneAllocation(t *testing.T) {
	generator, err := workload().Generator()
	if err != nil {
		t.Fatal(err)
	}
	var e schemas.Event
	i := int64(0)
	if got := testing.AllocsPerRun(10_000, func() {
		generator.Event(i, &e)
		i++
	}); got > 1 {
		t.Errorf("%v allocations an event", got)
	}
}

func BenchmarkWorkload(b *testing.B) {
	w := workload()
	w.Events = 100_000_000
	w.Workspaces = simulate.Zipf(1000, 20_000)
	generator, err := w.Generator()
	if err != nil {
		b.Fatal(err)
	}
	var e schemas.Event
	i := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		generator.Event(i, &e)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
