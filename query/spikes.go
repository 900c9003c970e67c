package query

import (
	"cmp"
	"math/big"
	"slices"
	"time"

	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// A bar of days is measured by the same weekday of the weeks before it, a bar
// of hours by the same hour of the days before it, both over eight weeks.
const (
	usualWeeks = 8
	usualDays  = 7 * usualWeeks
	maxSpikes  = 5
)

// historyEdges returns the edges of the whole bars that a question's closed
// bars are measured by, or nil where bars are not measured: a week has no
// weekday, and a minute no usual.
func historyEdges(q question, w watermark) []time.Time {
	if q.grain != calendar.Day && q.grain != calendar.Hour {
		return nil
	}
	last := -1
	for i := range q.bars() {
		if w.spikable(q.bar(i), q.now) {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	// The last bar is not its own measure.
	start := calendar.DayOf(q.edges[0], q.zone).AddDays(-usualDays).Start(q.zone)
	end := calendar.BarAt(q.edges[last], q.zone, q.grain).Start
	return slices.Collect(calendar.Edges(schemas.NewInterval(start, end), q.zone, q.grain))
}

// spikable reports whether a bar is closed: what is still being counted is
// measured by nothing.
func (w watermark) spikable(bar schemas.Interval, now time.Time) bool {
	state := w.state(bar, now)
	return state == api.BarFinal || state == api.BarSettling
}

// spikes finds the bars that stand out: closed, at least 1 % of the range, and
// above the usual by the larger of 3.5 robust standard deviations (1.4826 ×
// median absolute deviation) and a quarter. The usual is a median, so one
// earlier spike does not hide the next; where it is zero there is nothing
// usual. At most five, those that exceed the usual most, in the order of time.
func spikes(q question, f *figures, w watermark, edges []time.Time, history []tally) []api.Spike {
	if len(edges) == 0 || f.total.credits.Sign() <= 0 {
		return []api.Spike{}
	}
	usual := newUsual(q, edges, history)
	total := f.total.credits.Big()
	type found struct {
		bar    int
		excess *big.Int // over the usual, times two
		times  string
	}
	var all []found
	for i := range q.bars() {
		credits := f.bars[i].credits
		if credits.Sign() <= 0 || !w.spikable(q.bar(i), q.now) {
			continue
		}
		amount := credits.Big()
		if new(big.Int).Mul(amount, big.NewInt(100)).Cmp(total) < 0 {
			continue
		}
		median2, threshold := usual.of(q.edges[i])
		if median2.Sign() <= 0 || new(big.Int).Mul(amount, big.NewInt(usualScale)).Cmp(threshold) <= 0 {
			continue
		}
		doubled := new(big.Int).Lsh(amount, 1)
		times := rounded(new(big.Int).Mul(doubled, big.NewInt(10)), median2)
		all = append(all, found{
			bar:    i,
			excess: doubled.Sub(doubled, median2),
			times:  tenths(times.Int64()),
		})
	}
	slices.SortStableFunc(all, func(a, b found) int { return b.excess.Cmp(a.excess) })
	all = all[:min(len(all), maxSpikes)]
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.bar, b.bar) })
	out := make([]api.Spike, 0, len(all))
	for _, spike := range all {
		bar := q.bar(spike.bar)
		out = append(out, api.Spike{
			Start: bar.Start, End: bar.End, Credits: f.bars[spike.bar].credits.String(),
			TimesUsual: spike.times, Agent: driver(f, spike.bar),
		})
	}
	return out
}

// driver is the agent that spent most in a bar, and its share of it.
func driver(f *figures, bar int) *api.SpikeAgent {
	var ids []string
	var amounts []schemas.CreditsSum
	top := -1
	for _, a := range f.agents {
		at, ok := slices.BinarySearchFunc(a.bars, bar, func(own barTally, bar int) int { return cmp.Compare(own.bar, bar) })
		if !ok {
			continue
		}
		ids = append(ids, a.id)
		amounts = append(amounts, a.bars[at].credits)
		if top < 0 || amounts[len(amounts)-1].Cmp(amounts[top]) > 0 {
			top = len(amounts) - 1
		}
	}
	if top < 0 {
		return nil
	}
	return &api.SpikeAgent{ID: ids[top], Share: sharesOf(amounts)[top]}
}

// usual knows what the bars of the weeks before held, by what clocks showed at
// their start.
type usual struct {
	zone  *time.Location
	grain calendar.Grain
	bars  map[int64][]schemas.CreditsSum
}

func newUsual(q question, edges []time.Time, history []tally) usual {
	u := usual{zone: q.zone, grain: q.grain, bars: make(map[int64][]schemas.CreditsSum, len(history))}
	for i, own := range history {
		key := u.key(edges[i])
		u.bars[key] = append(u.bars[key], own.credits)
	}
	return u
}

// key is the day, or the hour that clocks showed, of the whole bar at an
// instant, in seconds. An hour that clocks showed twice is two bars of a key,
// and one that they skipped none.
func (u usual) key(at time.Time) int64 {
	if u.grain == calendar.Hour {
		start := calendar.BarAt(at, u.zone, calendar.Hour).Start
		_, offset := start.In(u.zone).Zone()
		return start.Unix() + int64(offset)
	}
	day := calendar.DayOf(at, u.zone)
	return time.Date(day.Year, day.Month, day.Day, 0, 0, 0, 0, time.UTC).Unix()
}

// usualScale makes whole numbers of the threshold's factors: 5.1891 = 3.5 ×
// 1.4826, of a deviation in quarters, and 0.25, of a median in halves.
const usualScale = 40_000

// of returns twice the median of what is usual at the bar that at lies in, and
// what a spike exceeds, times usualScale.
func (u usual) of(at time.Time) (median2, threshold *big.Int) {
	const day = 24 * 60 * 60
	step, steps := int64(day), usualDays
	if u.grain == calendar.Day {
		step, steps = 7*day, usualWeeks
	}
	key := u.key(at)
	var values []*big.Int
	for n := 1; n <= steps; n++ {
		for _, credits := range u.bars[key-int64(n)*step] {
			values = append(values, credits.Big())
		}
	}
	if len(values) == 0 {
		return new(big.Int), new(big.Int)
	}
	median2 = doubledMedian(values)
	deviations := make([]*big.Int, len(values))
	for i, value := range values {
		deviation := new(big.Int).Lsh(value, 1)
		deviations[i] = deviation.Abs(deviation.Sub(deviation, median2))
	}
	deviation4 := doubledMedian(deviations)
	byDeviation := new(big.Int).Mul(deviation4, big.NewInt(51_891))
	byQuarter := new(big.Int).Mul(median2, big.NewInt(5_000))
	threshold = new(big.Int).Mul(median2, big.NewInt(20_000))
	if byDeviation.Cmp(byQuarter) > 0 {
		return median2, threshold.Add(threshold, byDeviation)
	}
	return median2, threshold.Add(threshold, byQuarter)
}

// doubledMedian returns twice the median, which is always a whole number, and
// sorts the values.
func doubledMedian(values []*big.Int) *big.Int {
	slices.SortFunc(values, (*big.Int).Cmp)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return new(big.Int).Lsh(values[middle], 1)
	}
	return new(big.Int).Add(values[middle-1], values[middle])
}
