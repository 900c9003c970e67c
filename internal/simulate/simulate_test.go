package simulate_test

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"agentmeter/internal/eventclient"
	"agentmeter/internal/simulate"
	"agentmeter/schemas"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func profile(z *time.Location) *simulate.Profile {
	p := &simulate.Profile{
		Workspace: "ws", Zone: z, MessagesPerDay: 300,
		Weekdays: [7]int64{20, 100, 100, 100, 100, 100, 30},
		Agents: []simulate.Agent{
			{
				ID: "agt_a", Name: "A", Weight: 3, MessagesPerConversation: 4, PlaygroundPercent: 10,
				Channels: []simulate.Channel{{Name: "embed", Weight: 2}, {Name: "api", Weight: 1}},
				Models:   []simulate.Model{{Name: "small", Weight: 1, Times: 1}, {Name: "large", Weight: 1, Times: 2}},
				Price:    simulate.Price{Base: 500_000, Step: 500_000, MostSteps: 3},
			},
			{
				ID: "agt_b", Name: "B", Weight: 1, MessagesPerConversation: 1,
				Channels: []simulate.Channel{{Name: "slack", Weight: 1}},
				Models:   []simulate.Model{{Name: "", Weight: 1, Times: 1}},
				Price:    simulate.Price{Base: 1},
			},
		},
	}
	for i := range p.Hours {
		p.Hours[i] = int64(i % 7)
	}
	p.Hours[23] = 5 // conversations that run into midnight
	return p
}

func lines(events []schemas.Event) []byte {
	var out []byte
	for i := range events {
		out = append(eventclient.AppendEvent(out, &events[i]), '\n')
	}
	return out
}

// checkEvents holds what is promised of all traffic.
func checkEvents(t interface{ Fatalf(string, ...any) }, events []schemas.Event, within schemas.Interval, ids map[string]bool) {
	for i := range events {
		e := &events[i]
		if faults := e.Validate(); faults != nil {
			t.Fatalf("event %d %+v: %v", i, e, faults)
		}
		if !within.Contains(e.OccurredAt) {
			t.Fatalf("event %d at %s is not in %s", i, e.OccurredAt, within)
		}
		if e.OccurredAt.Location() != time.UTC || !e.OccurredAt.Equal(e.OccurredAt.Truncate(time.Microsecond)) {
			t.Fatalf("event %d at %s is not in whole microseconds UTC", i, e.OccurredAt)
		}
		if i > 0 && e.OccurredAt.Before(events[i-1].OccurredAt) {
			t.Fatalf("event %d at %s comes after one at %s", i, e.OccurredAt, events[i-1].OccurredAt)
		}
		if ids[e.ID] || len(e.ID) != 36 {
			t.Fatalf("event %d: the id %q is there twice or no UUID", i, e.ID)
		}
		ids[e.ID] = true
	}
}

func TestDaysAreSortedValidAndUnique(t *testing.T) {
	t.Parallel()
	zones := []*time.Location{time.UTC, zone(t, "Europe/Copenhagen"), zone(t, "Asia/Kathmandu"), zone(t, "America/Santiago"), zone(t, "Pacific/Apia")}
	rapid.Check(t, func(t *rapid.T) {
		p := profile(rapid.SampledFrom(zones).Draw(t, "zone"))
		seed := rapid.Uint64().Draw(t, "seed")
		day := simulate.DateOf(time.Date(2011, 1, 1+rapid.IntRange(0, 6000).Draw(t, "day"), 12, 0, 0, 0, time.UTC))
		ids := map[string]bool{}
		for range 3 {
			first, second := simulate.Day(p, seed, day), simulate.Day(p, seed, day)
			if string(lines(first)) != string(lines(second)) {
				t.Fatalf("two runs with the seed %d differ", seed)
			}
			if other := simulate.Day(p, seed+1, day); len(first) > 0 && string(lines(first)) == string(lines(other)) {
				t.Fatalf("another seed gives the same events")
			}
			checkEvents(t, first, day.Span(p.Zone), ids)
			for i := range first {
				if got := simulate.DateOf(first[i].OccurredAt.In(p.Zone)); got != day {
					t.Fatalf("event at %s is on %s, want %s", first[i].OccurredAt, got, day)
				}
			}
			day = day.Next()
		}
	})
}

func TestSpansOfDaysTile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		zone  string
		day   simulate.Date
		hours float64
	}{
		{"Europe/Copenhagen", simulate.Date{Year: 2026, Month: 3, Day: 29}, 23},
		{"Europe/Copenhagen", simulate.Date{Year: 2026, Month: 10, Day: 25}, 25},
		{"America/Santiago", simulate.Date{Year: 2026, Month: 9, Day: 6}, 23}, // clocks go forward at midnight
		{"Pacific/Apia", simulate.Date{Year: 2011, Month: 12, Day: 30}, 0},    // a day that was left out
	} {
		z := zone(t, test.zone)
		span := test.day.Span(z)
		if got := span.Duration().Hours(); got != test.hours {
			t.Errorf("%s in %s has %v hours, want %v", test.day, test.zone, got, test.hours)
		}
		if next := test.day.Next().Span(z); !next.Start.Equal(span.End) {
			t.Errorf("%s in %s ends at %s, the next day starts at %s", test.day, test.zone, span.End, next.Start)
		}
	}
}

// Making agents busier, or changing when they exist, leaves the meaning of
// every id as it was.
func TestIDHasOneMeaning(t *testing.T) {
	t.Parallel()
	day := simulate.Date{Year: 2026, Month: 11, Day: 12}
	meaning := map[string]schemas.Event{}
	base := profile(time.UTC)
	busier := profile(time.UTC)
	busier.MessagesPerDay *= 3
	busier.Weekdays[time.Thursday] = 250
	viral := profile(time.UTC)
	viral.Spikes = []simulate.Spike{{Day: day, Agent: "agt_a", Times: 9}}
	deleted := profile(time.UTC)
	deleted.Agents[0].Until = day.Span(time.UTC).Start.Add(10 * time.Hour)
	single := profile(time.UTC)
	single.Agents = single.Agents[1:]
	total := 0
	for _, p := range []*simulate.Profile{base, busier, viral, deleted, single} {
		for _, e := range simulate.Day(p, 7, day) {
			total++
			if known, ok := meaning[e.ID]; ok && known != e {
				t.Fatalf("%s is %+v and %+v", e.ID, known, e)
			}
			meaning[e.ID] = e
		}
	}
	if total < 2*len(meaning)-len(meaning)/2 {
		t.Errorf("only %d of %d events are shared; the test compares nothing", total-len(meaning), total)
	}
}

func TestSpikeAndDeletionShow(t *testing.T) {
	t.Parallel()
	day := simulate.Date{Year: 2026, Month: 11, Day: 12}
	p := profile(time.UTC)
	count := func(agent schemas.AgentID) (n int) {
		for _, e := range simulate.Day(p, 7, day) {
			if e.Agent == agent {
				n++
			}
		}
		return n
	}
	usualA, usualB := count("agt_a"), count("agt_b")
	p.Spikes = []simulate.Spike{{Day: day, Agent: "agt_a", Times: 9}}
	if got := count("agt_a"); got < 7*usualA || got > 11*usualA || count("agt_b") != usualB {
		t.Errorf("%d events instead of %d on a day that should be 9 times as busy", got, usualA)
	}
	p.Agents[0].Until = day.Span(time.UTC).Start
	if got := count("agt_a"); got != 0 {
		t.Errorf("a deleted agent has %d events", got)
	}
}

func TestHistoryIsItsDays(t *testing.T) {
	t.Parallel()
	p := profile(zone(t, "Europe/Copenhagen"))
	start := time.Date(2026, 10, 24, 15, 0, 0, 0, time.UTC)
	end := start.Add(50 * time.Hour) // over a change of clocks
	var whole []schemas.Event
	for e := range simulate.History(p, 3, start, end) {
		whole = append(whole, *e)
	}
	checkEvents(t, whole, schemas.NewInterval(start, end), map[string]bool{})
	var parts []schemas.Event
	for at := start; at.Before(end); at = at.Add(7 * time.Hour) {
		for e := range simulate.History(p, 3, at, at.Add(min(7*time.Hour, end.Sub(at)))) {
			parts = append(parts, *e)
		}
	}
	if len(whole) < 100 || string(lines(whole)) != string(lines(parts)) {
		t.Errorf("%d events as a whole, %d in parts, or in another order", len(whole), len(parts))
	}
	for range simulate.History(p, 3, end, start) {
		t.Fatal("an event between an end and an earlier start")
	}
	n := 0
	for range simulate.History(p, 3, start, end) {
		if n++; n == 5 {
			break
		}
	}
}

// The bytes must never change: the demo's events would be taken for new ones.
func TestSameSeedSameBytesForEver(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 14, 30, 0, 0, time.UTC)
	var out strings.Builder
	hash := func(name string, content []byte) {
		sum := sha256.Sum256(content)
		fmt.Fprintf(&out, "%s %s\n", name, hex.EncodeToString(sum[:]))
	}
	for _, day := range []simulate.Date{{2026, 11, 5}, {2026, 10, 25}} {
		hash("demo "+day.String(), lines(simulate.Day(simulate.DemoProfile(now), simulate.DemoSeed, day)))
	}
	stream, err := simulate.NewStream(simulate.DemoProfile(now), simulate.DemoSeed, 3, now)
	if err != nil {
		t.Fatal(err)
	}
	var events []schemas.Event
	for range 1000 {
		events = append(events, stream.Next())
	}
	hash("stream", lines(events))
	generator, err := workload().Generator()
	if err != nil {
		t.Fatal(err)
	}
	events = nil
	for e := range generator.Range(0, 1000) {
		events = append(events, *e)
	}
	hash("workload", lines(events))
	fmt.Fprintf(&out, "%s", lines(events[:3]))

	golden := filepath.Join("testdata", "same_bytes.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestProfileFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	if err := profile(time.UTC).Validate(); err != nil {
		t.Errorf("a good profile: %v", err)
	}
	p := &simulate.Profile{
		MessagesPerDay: -1, Weekdays: [7]int64{5000}, Hours: [24]int64{-1},
		Agents: []simulate.Agent{
			{ID: "a\n", Price: simulate.Price{Base: -1}, PlaygroundPercent: 101, Channels: []simulate.Channel{{Name: " x", Weight: 1}}, Models: []simulate.Model{{Weight: 1, Times: -1}}},
			{ID: "a\n"},
		},
		Spikes: []simulate.Spike{{Agent: "nobody", Times: 1000}},
	}
	err := p.Validate()
	for _, want := range []string{
		"workspace_id", "zone", "messages per day", "Sunday", "hour 0", "agent_id", "price", "conversation", "playground", "channel",
		"times the price", "is there twice", "channels: at least one", "models: at least one", "agents: at least one", `no agent "nobody"`, "1000 times",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not mention %q", err, want)
		}
	}
}

func TestDemoIsWorthLookingAt(t *testing.T) {
	t.Parallel()
	for _, now := range []time.Time{
		time.Date(2026, 11, 24, 14, 30, 0, 0, time.UTC),
		time.Date(2027, 3, 28, 1, 30, 0, 0, time.UTC), // the clocks go forward
		time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		t.Run(now.Format(time.DateOnly), func(t *testing.T) {
			t.Parallel()
			p := simulate.DemoProfile(now)
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			start := now.AddDate(0, 0, -simulate.DemoDays)
			var events []schemas.Event
			agents := map[schemas.AgentID]int{}
			weekday, weekend, playground, halves := 0, 0, 0, 0
			for e := range simulate.History(p, simulate.DemoSeed, start, now) {
				events = append(events, *e)
				agents[e.Agent]++
				switch e.OccurredAt.In(p.Zone).Weekday() {
				case time.Saturday, time.Sunday:
					weekend++
				default:
					weekday++
				}
				if e.Playground() {
					playground++
				}
				if e.Credits%schemas.MicroPerCredit == schemas.MicroPerCredit/2 {
					halves++
				}
			}
			checkEvents(t, events, schemas.NewInterval(start, now), map[string]bool{})
			n := len(events)
			if n < 52_000 || n > 68_000 {
				t.Errorf("%d events, want about 60,000", n)
			}
			if weekend*5*2 > weekday*2 { // per day less than half
				t.Errorf("%d events at weekends and %d else; weekends should be quiet", weekend, weekday)
			}
			if playground < n/200 || playground > n/20 || halves < n/20 {
				t.Errorf("%d of %d in the Playground, %d with half credits", playground, n, halves)
			}
			directory := simulate.DemoDirectory(now)
			if len(agents) != len(p.Agents) || len(directory.Agents) != 8 || len(directory.DeletedAgents) != 1 || len(directory.Members) != 3 {
				t.Errorf("agents with events %v; directory %+v", slices.Collect(maps.Keys(agents)), directory)
			}
			spikes := 0
			today := simulate.DateOf(now.In(p.Zone))
			for _, spike := range p.Spikes {
				if age := today.Span(time.UTC).Start.Sub(spike.Day.Span(time.UTC).Start); age > 0 && age < 22*24*time.Hour {
					spikes++
				}
			}
			if spikes == 0 {
				t.Error("nothing goes viral in the closed days of the billing period")
			}
		})
	}
}

// A day that has passed has the same events from wherever it is seen, but for
// the agent that is deleted later.
func TestDemoDaysStayAsTheyAre(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(1_750_000_000, 2_000_000_000).Draw(t, "now"), 0)
		later := now.Add(time.Duration(rapid.Int64Range(0, 80*24).Draw(t, "hours")) * time.Hour)
		day := simulate.DateOf(now.AddDate(0, 0, -rapid.IntRange(0, 10).Draw(t, "age")))
		without := func(events []schemas.Event) []schemas.Event {
			return slices.DeleteFunc(events, func(e schemas.Event) bool { return e.Agent == "agt_launch" })
		}
		before := without(simulate.Day(simulate.DemoProfile(now), simulate.DemoSeed, day))
		after := without(simulate.Day(simulate.DemoProfile(later), simulate.DemoSeed, day))
		if string(lines(before)) != string(lines(after)) {
			t.Fatalf("%s differs between %s and %s", day, now, later)
		}
	})
}

func BenchmarkDay(b *testing.B) {
	p := simulate.DemoProfile(time.Date(2026, 11, 24, 14, 30, 0, 0, time.UTC))
	p.MessagesPerDay = 100_000
	day := simulate.Date{Year: 2026, Month: 11, Day: 12}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n += len(simulate.Day(p, 1, day))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
