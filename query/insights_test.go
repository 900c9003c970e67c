package query

import (
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/query/calendar"
	"agentmeter/query/page"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func micro(t testing.TB, decimal string) schemas.CreditsSum {
	t.Helper()
	parsed, err := schemas.ParseCredits(decimal)
	if err != nil {
		t.Fatalf("%q: %v", decimal, err)
	}
	return schemas.SumOf(parsed)
}

// figuresFor makes figures of agents with their credits in this range and in
// the one before.
func figuresFor(t testing.TB, agents ...[3]string) *figures {
	t.Helper()
	f := &figures{}
	for _, a := range agents {
		own := &agentUsage{id: a[0], total: tally{credits: micro(t, a[1]), events: 1}, previous: tally{credits: micro(t, a[2])}}
		f.agents = append(f.agents, own)
		f.total.add(own.total)
	}
	f.workspace = f.total
	slices.SortFunc(f.agents, heavierFirst)
	return f
}

func TestTheSentenceNamesWhoDroveTheSpend(t *testing.T) {
	t.Parallel()
	names := map[string]string{"agt_support": "Support Bot", "agt_sales": "Sales Bot"}
	nameOf := func(id string) string {
		if name := names[id]; name != "" {
			return name
		}
		return id
	}
	compared := question{comparison: &comparison{}}
	tests := []struct {
		name   string
		q      question
		agents [][3]string
		others string // credits of the agents that were not chosen
		want   string
	}{
		{
			"the page's example", compared,
			[][3]string{{"agt_support", "7701", "7000"}, {"agt_sales", "4720", "1520"}},
			"",
			"Support Bot drove 62% of credits in this range (7,701 of 12,421). Biggest rise: Sales Bot, +3,200 (+211%).",
		},
		{
			"without a comparison",
			question{},
			[][3]string{{"agt_support", "7701", "0"}, {"agt_sales", "4720", "0"}},
			"",
			"Support Bot drove 62% of credits in this range (7,701 of 12,421).",
		},
		{
			"one agent alone",
			question{},
			[][3]string{{"agt_support", "1.5", "0"}},
			"",
			"Support Bot drove 100% of credits in this range (1.5 of 1.5).",
		},
		{
			"almost all is not all",
			question{},
			[][3]string{{"agt_support", "9999", "0"}, {"agt_sales", "1", "0"}},
			"",
			"Support Bot drove over 99% of credits in this range (9,999 of 10,000).",
		},
		{
			"a new agent rose from nothing", compared,
			[][3]string{{"agt_support", "100", "90"}, {"agt_new", "50.25", "0"}},
			"",
			"Support Bot drove 67% of credits in this range (100 of 150.25). Biggest rise: agt_new, +50.25 (new).",
		},
		{
			"a rise of little", compared,
			[][3]string{{"agt_support", "1000001", "1000000"}},
			"",
			"Support Bot drove 100% of credits in this range (1,000,001 of 1,000,001). Biggest rise: Support Bot, +1 (under +1%).",
		},
		{
			"nothing rose", compared,
			[][3]string{{"agt_support", "100", "200"}},
			"",
			"Support Bot drove 100% of credits in this range (100 of 100).",
		},
		{
			"one chosen among many",
			question{agent: "agt_sales"},
			[][3]string{{"agt_sales", "4720", "0"}},
			"7701",
			"Sales Bot drove 38% of credits in this range (4,720 of 12,421).",
		},
		{
			"one chosen among giants",
			question{agent: "agt_sales"},
			[][3]string{{"agt_sales", "0.000001", "0"}},
			"9000000000000",
			"Sales Bot drove under 1% of credits in this range (0.000001 of 9,000,000,000,000.000001).",
		},
		{"nothing spent", compared, [][3]string{{"agt_support", "0", "10"}}, "", ""},
		{"nothing at all", compared, nil, "", ""},
		{"more taken back than spent", question{}, [][3]string{{"agt_support", "5", "0"}, {"agt_sales", "-9", "0"}}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := figuresFor(t, tt.agents...)
			if tt.others != "" {
				f.workspace.credits = f.workspace.credits.Plus(micro(t, tt.others))
			}
			if got := insightsOf(tt.q, f, nameOf).Sentence; got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	// The page says the same by itself; its tests read this file.
	answers := []api.Insights{}
	for _, tt := range tests {
		f := figuresFor(t, tt.agents...)
		if tt.others != "" {
			f.workspace.credits = f.workspace.credits.Plus(micro(t, tt.others))
		}
		answer := insightsOf(tt.q, f, nameOf)
		answer.Spikes = []api.Spike{}
		answers = append(answers, answer)
	}
	found, err := json.MarshalIndent(answers, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "insights/sentences.json", string(found)+"\n")
}

func TestEqualSpendersAreOrderedByMessagesAndThenById(t *testing.T) {
	t.Parallel()
	agent := func(id string, messages int64) *agentUsage {
		return &agentUsage{id: id, total: tally{credits: schemas.SumOf(5), messages: messages, events: 1}}
	}
	agents := []*agentUsage{agent("b", 1), agent("d", 7), agent("a", 1), agent("c", 9)}
	f := &figures{agents: agents}
	slices.SortFunc(f.agents, heavierFirst)
	order := ""
	for _, a := range f.agents {
		order += a.id
	}
	if order != "cdab" {
		t.Errorf("ordered %s, want cdab", order)
	}
	for _, sort := range []api.AgentSort{api.SortCredits, api.SortChange} {
		order = ""
		for _, a := range f.sorted(sort, api.Descending, nil) {
			order += a.id
		}
		if order != "cdab" {
			t.Errorf("sorted by %s: %s, want cdab", sort, order)
		}
	}
}

func TestNumbersAreGroupedByThousands(t *testing.T) {
	t.Parallel()
	for plain, want := range map[string]string{
		"0": "0", "12": "12", "123": "123", "1234": "1,234", "-1234567.5": "-1,234,567.5", "123456": "123,456",
		"0.000001": "0.000001", "170141183460469231731687303715884105727": "170,141,183,460,469,231,731,687,303,715,884,105,727",
	} {
		if got := page.Grouped(plain); got != want {
			t.Errorf("%s is shown as %s, want %s", plain, got, want)
		}
	}
}

func TestSharesAddUpToTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		largest := rapid.SampledFrom([]int64{3, 1000, 1 << 40, 1<<63 - 1}).Draw(t, "largest")
		amounts := make([]schemas.CreditsSum, rapid.IntRange(0, 300).Draw(t, "agents"))
		sum := new(big.Int)
		for i := range amounts {
			amounts[i] = schemas.SumOf(schemas.Credits(rapid.Int64Range(-largest/2, largest).Draw(t, "amount")))
			if rapid.IntRange(0, 3).Draw(t, "wide") == 0 && largest > 1<<41 {
				amounts[i] = schemas.CreditsSum{Hi: rapid.Int64Range(0, 1<<40).Draw(t, "hi"), Lo: amounts[i].Lo}
			}
			if amounts[i].Sign() > 0 {
				sum.Add(sum, amounts[i].Big())
			}
		}
		shares := sharesOf(amounts)
		total := int64(0)
		for i, share := range shares {
			units := tenthsOf(t, share)
			total += units
			if amounts[i].Sign() <= 0 {
				if units != 0 {
					t.Fatalf("%s has a share of %s", amounts[i], share)
				}
				continue
			}
			exact := new(big.Rat).SetFrac(new(big.Int).Mul(amounts[i].Big(), big.NewInt(1000)), sum)
			if off := exact.Sub(exact, big.NewRat(units, 1)); off.Abs(off).Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("share of %s in %s is %s, off by %s", amounts[i], sum, share, off.FloatString(3))
			}
		}
		if want := int64(1000); total != want && sum.Sign() > 0 || total != 0 && sum.Sign() == 0 {
			t.Fatalf("shares add up to %d tenths", total)
		}
	})
}

func tenthsOf(t *rapid.T, share string) int64 {
	if len(share) < 3 || share[len(share)-2] != '.' {
		t.Fatalf("share %q has not one decimal", share)
	}
	n, err := strconv.ParseInt(share[:len(share)-2]+share[len(share)-1:], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEqualRemaindersGoToTheFirst(t *testing.T) {
	t.Parallel()
	third := schemas.SumOf(1)
	if got, want := sharesOf([]schemas.CreditsSum{third, third, third}), []string{"33.4", "33.3", "33.3"}; !slices.Equal(got, want) {
		t.Errorf("three equals: %v, want %v", got, want)
	}
	if got := sharesOf([]schemas.CreditsSum{{}, schemas.SumOf(-5)}); !slices.Equal(got, []string{"0.0", "0.0"}) {
		t.Errorf("nothing above zero: %v", got)
	}
}

// spikeCase makes a question of days in Copenhagen with their credits, after
// eight weeks of history.
type spikeCase struct {
	q       question
	f       *figures
	edges   []time.Time
	history []tally
}

func newSpikeCase(t testing.TB, grain calendar.Grain, days int, usual func(at time.Time) int64) *spikeCase {
	t.Helper()
	zone, err := calendar.LoadZone("Europe/Copenhagen")
	if err != nil {
		t.Fatal(err)
	}
	from, _ := calendar.ParseDate("2026-11-01")
	r, err := calendar.DateRange(from, from.AddDays(days-1), zone)
	if err != nil {
		t.Fatal(err)
	}
	edges, ok := calendar.Bars(r.Interval, zone, grain, maxBars)
	if !ok {
		t.Fatal("too many bars")
	}
	c := &spikeCase{q: question{interval: r.Interval, zone: zone, grain: grain, edges: edges, now: r.End}}
	c.f = &figures{bars: make([]tally, c.q.bars())}
	for i := range c.f.bars {
		c.set(i, usual(edges[i]))
	}
	c.edges = historyEdges(c.q, c.closed())
	for i := range max(0, len(c.edges)-1) {
		c.history = append(c.history, tally{credits: schemas.SumOf(schemas.Credits(usual(c.edges[i]) * 1_000_000))})
	}
	return c
}

func (c *spikeCase) closed() watermark {
	return watermark{countedThrough: c.q.interval.End.Add(time.Hour)}
}

// set gives a bar its credits, two thirds of them from one agent.
func (c *spikeCase) set(bar int, credits int64) {
	c.f.bars[bar] = tally{credits: schemas.SumOf(schemas.Credits(credits * 1_000_000)), events: 1}
}

func (c *spikeCase) spikes(t testing.TB, w watermark) string {
	t.Helper()
	c.f.total = tally{}
	main, other := &agentUsage{id: "agt_support"}, &agentUsage{id: "agt_sales"}
	for i, bar := range c.f.bars {
		c.f.total.add(bar)
		third, _ := bar.credits.Credits()
		third /= 3
		main.bars = append(main.bars, barTally{i, tally{credits: bar.credits.Minus(schemas.SumOf(third))}})
		other.bars = append(other.bars, barTally{i, tally{credits: schemas.SumOf(third)}})
	}
	c.f.agents = []*agentUsage{main, other}
	found, err := json.MarshalIndent(spikes(c.q, c.f, w, c.edges, c.history), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(found) + "\n"
}

// weekly is a usual week: busy Thursdays, quiet weekends, a little noise.
func weekly(at time.Time) int64 {
	noise := rand.New(rand.NewPCG(uint64(at.Unix()), 1)).Int64N(20)
	switch at.Add(2 * time.Hour).Weekday() {
	case time.Thursday:
		return 2000 + noise
	case time.Saturday, time.Sunday:
		return 300 + noise
	default:
		return 1000 + noise
	}
}

func TestSpikesStandOutFromTheSameWeekday(t *testing.T) {
	t.Parallel()
	c := newSpikeCase(t, calendar.Day, 24, weekly)
	golden(t, "insights/no_spikes.json", c.spikes(t, c.closed()))
	c.set(11, 8420) // Thursday the 12th
	c.set(6, 1000)  // Saturday the 7th: little, but much for a Saturday
	c.set(17, 1250) // Wednesday the 18th: not much more than usual
	golden(t, "insights/viral_thursday.json", c.spikes(t, c.closed()))
}

func TestAtMostFiveSpikesTheLargestExcess(t *testing.T) {
	t.Parallel()
	c := newSpikeCase(t, calendar.Day, 24, weekly)
	for i := range 8 {
		c.set(i, 4000+500*int64(i))
	}
	golden(t, "insights/five_of_eight.json", c.spikes(t, c.closed()))
}

func TestSpikesOfHoursStandOutFromTheSameHour(t *testing.T) {
	t.Parallel()
	daily := func(at time.Time) int64 { return 50 + int64(at.Add(time.Hour).Hour())*10 }
	c := newSpikeCase(t, calendar.Hour, 3, daily)
	c.set(26, 500)
	golden(t, "insights/one_hour.json", c.spikes(t, c.closed()))
}

func TestNothingIsASpikeThatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	const none = "[]\n"
	c := newSpikeCase(t, calendar.Day, 24, weekly)
	c.set(23, 9000)
	if got := c.spikes(t, watermark{countedThrough: c.q.edges[23].Add(time.Hour)}); got != none {
		t.Errorf("a bar in progress is a spike: %s", got)
	}
	if got := c.spikes(t, watermark{countedThrough: c.q.interval.End.Add(time.Hour), haltedFrom: c.q.edges[22]}); got != none {
		t.Errorf("a bar that may be short is a spike: %s", got)
	}
	fresh := newSpikeCase(t, calendar.Day, 24, func(at time.Time) int64 {
		if at.After(time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC)) {
			return 100
		}
		return 0
	})
	fresh.set(20, 900)
	if got := fresh.spikes(t, fresh.closed()); got != none {
		t.Errorf("nothing is usual in a new workspace, and yet there is a spike: %s", got)
	}
	small := newSpikeCase(t, calendar.Day, 24, func(at time.Time) int64 {
		if at.Add(2*time.Hour).Weekday() == time.Tuesday {
			return 1
		}
		return 100_000
	})
	small.set(23, 100)
	if got := small.spikes(t, small.closed()); got != none {
		t.Errorf("less than one percent of the range is a spike: %s", got)
	}
	for _, grain := range []calendar.Grain{calendar.Week, calendar.Month} {
		if c := newSpikeCase(t, grain, 60, weekly); c.edges != nil || c.spikes(t, c.closed()) != none {
			t.Errorf("bars of a %s are measured", grain)
		}
	}
}

// A spike is what the definition says, in plain rational numbers.
func TestThresholdIsTheDefinition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1000), usualWeeks, usualWeeks).Draw(t, "values")
		zone := time.UTC
		at := time.Date(2026, 11, 12, 0, 0, 0, 0, zone)
		u := usual{zone: zone, grain: calendar.Day, bars: map[int64][]schemas.CreditsSum{}}
		for i, v := range values {
			u.bars[at.AddDate(0, 0, -7*(i+1)).Unix()] = []schemas.CreditsSum{schemas.SumOf(schemas.Credits(v))}
		}
		median := func(rats []*big.Rat) *big.Rat {
			slices.SortFunc(rats, (*big.Rat).Cmp)
			sum := new(big.Rat).Add(rats[3], rats[4])
			return sum.Quo(sum, big.NewRat(2, 1))
		}
		var rats, deviations []*big.Rat
		for _, v := range values {
			rats = append(rats, big.NewRat(v, 1))
		}
		middle := median(rats)
		for _, r := range rats {
			d := new(big.Rat).Sub(r, middle)
			deviations = append(deviations, d.Abs(d))
		}
		byDeviation := new(big.Rat).Mul(median(deviations), new(big.Rat).Mul(big.NewRat(35, 10), big.NewRat(14826, 10000)))
		margin := new(big.Rat).Quo(middle, big.NewRat(4, 1))
		if byDeviation.Cmp(margin) > 0 {
			margin = byDeviation
		}
		want := new(big.Rat).Add(middle, margin)
		median2, threshold := u.of(at)
		if got := new(big.Rat).SetFrac(threshold, big.NewInt(usualScale)); got.Cmp(want) != 0 {
			t.Fatalf("threshold %s, want %s", got, want)
		}
		if got := new(big.Rat).SetFrac(median2, big.NewInt(2)); got.Cmp(middle) != 0 {
			t.Fatalf("median %s, want %s", got, middle)
		}
	})
}
