package query

import (
	"math/big"
	"slices"
	"sort"
	"time"
)

// oracle answers questions the slow way: event by event, minute by minute,
// with no tier, no plan, no bar arithmetic and no code of the service's. Amounts
// are big.Int of millionths.
type oracle struct {
	events    []event
	directory []registered
}

// clockDate is the date that clocks show.
func clockDate(at time.Time, zone *time.Location) int {
	y, m, d := at.In(zone).Date()
	return y*10000 + int(m)*100 + d
}

func dateNumber(t time.Time) int { return t.Year()*10000 + int(t.Month())*100 + t.Day() }

// dayStart finds the first minute at which clocks show a date or a later one.
func dayStart(date time.Time, zone *time.Location) time.Time {
	want := dateNumber(date)
	at := time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, time.UTC).Add(-30 * time.Hour)
	for clockDate(at, zone) < want {
		at = at.Add(time.Minute)
	}
	return at
}

func utcDate(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// todayIn is the date of an instant, as a UTC midnight that is only a date.
func todayIn(now time.Time, zone *time.Location) time.Time {
	y, m, d := now.In(zone).Date()
	return utcDate(y, m, d)
}

// oracleRange is a range with, if it is made of whole days, its days.
type oracleRange struct {
	start, end time.Time
	from, to   time.Time // dates, inclusive; zero for instants
	period     bool
	anchor     int
}

func daysOf(from, to time.Time, zone *time.Location) oracleRange {
	return oracleRange{start: dayStart(from, zone), end: dayStart(to.AddDate(0, 0, 1), zone), from: from, to: to}
}

// anchored is the day in a month on which a billing period begins.
func anchored(year int, month time.Month, anchor int) time.Time {
	first := utcDate(year, month, 1)
	for day := anchor; ; day-- {
		if at := first.AddDate(0, 0, day-1); at.Month() == first.Month() {
			return at
		}
	}
}

func periodOf(day time.Time, anchor int) (from, to time.Time) {
	from = anchored(day.Year(), day.Month(), anchor)
	if from.After(day) {
		from = anchored(day.Year(), day.Month()-1, anchor)
	}
	return from, anchored(from.Year(), from.Month()+1, anchor).AddDate(0, 0, -1)
}

func presetRange(preset string, now time.Time, zone *time.Location, anchor int) oracleRange {
	today := todayIn(now, zone)
	month := utcDate(today.Year(), today.Month(), 1)
	switch preset {
	case "today":
		return daysOf(today, today, zone)
	case "yesterday":
		return daysOf(today.AddDate(0, 0, -1), today.AddDate(0, 0, -1), zone)
	case "7d":
		return daysOf(today.AddDate(0, 0, -6), today, zone)
	case "30d":
		return daysOf(today.AddDate(0, 0, -29), today, zone)
	case "90d":
		return daysOf(today.AddDate(0, 0, -89), today, zone)
	case "mtd":
		return daysOf(month, today, zone)
	case "last_month":
		return daysOf(month.AddDate(0, -1, 0), month.AddDate(0, 0, -1), zone)
	case "previous_period":
		from, _ := periodOf(today, anchor)
		from, to := periodOf(from.AddDate(0, 0, -1), anchor)
		r := daysOf(from, to, zone)
		r.period, r.anchor = true, anchor
		return r
	default:
		from, to := periodOf(today, anchor)
		r := daysOf(from, to, zone)
		r.period, r.anchor = true, anchor
		return r
	}
}

// autoGrain counts what clocks advance.
func autoGrain(start, end time.Time, zone *time.Location) string {
	_, before := start.In(zone).Zone()
	_, after := end.In(zone).Zone()
	advanced := end.Sub(start) + time.Duration(after-before)*time.Second
	const day = 24 * time.Hour
	switch {
	case end.Sub(start) < 3*time.Hour:
		return "minute"
	case advanced <= 3*day:
		return "hour"
	case advanced <= 92*day:
		return "day"
	case advanced <= 400*day:
		return "week"
	default:
		return "month"
	}
}

// edgesBetween walks a range minute by minute; wherever the clocks show
// something of the grain that they have not shown before, a bar begins. Hours
// are told by the clocks' minute alone, so that a repeated hour is two bars.
func edgesBetween(start, end time.Time, zone *time.Location, grain string) []time.Time {
	if !start.Before(end) {
		return nil
	}
	edges := []time.Time{start}
	label := func(at time.Time) int64 {
		y, m, d := at.In(zone).Date()
		date := utcDate(y, m, d)
		switch grain {
		case "week":
			for date.Weekday() != time.Monday {
				date = date.AddDate(0, 0, -1)
			}
		case "month":
			date = utcDate(y, m, 1)
		}
		return date.Unix()
	}
	highest := int64(-1 << 62)
	if grain != "minute" && grain != "hour" {
		for at := start.Add(-26 * time.Hour); !at.After(start); at = at.Add(time.Minute) {
			highest = max(highest, label(at))
		}
	}
	for at := start.Add(time.Minute); at.Before(end); at = at.Add(time.Minute) {
		switch grain {
		case "minute":
			edges = append(edges, at)
		case "hour":
			if at.In(zone).Minute() == 0 {
				edges = append(edges, at)
				continue
			}
			_, before := at.Add(-time.Minute).In(zone).Zone()
			if _, after := at.In(zone).Zone(); (after-before)%3600 != 0 {
				edges = append(edges, at)
			}
		default:
			if shown := label(at); shown > highest {
				highest = shown
				edges = append(edges, at)
			}
		}
	}
	return append(edges, end)
}

// comparedBetween are the edges of what bars are compared with. Weeks and months
// are stretches of as many days as the bars', counted by the clocks' dates, or of
// the same dates a year before.
func comparedBetween(bars []time.Time, start, end time.Time, zone *time.Location, grain, compare string) []time.Time {
	if grain != "week" && grain != "month" {
		return edgesBetween(start, end, zone, grain)
	}
	dateAt := func(at time.Time) time.Time {
		y, m, d := at.In(zone).Date()
		return utcDate(y, m, d)
	}
	edges := []time.Time{start}
	at := start
	for _, bar := range bars[1 : len(bars)-1] {
		date := dateAt(bar)
		want := dateAt(start).Add(date.Sub(dateAt(bars[0])))
		if compare == "yoy" {
			want = utcDate(date.Year()-1, date.Month(), date.Day())
			for want.Month() != date.Month() { // the 29th of February
				want = want.AddDate(0, 0, -1)
			}
		}
		for at.Before(end) && dateAt(at).Before(want) {
			at = at.Add(time.Minute)
		}
		if !at.Before(end) {
			break
		}
		edges = append(edges, at)
	}
	return append(edges, end)
}

// shiftedClock finds the first minute at which clocks show what they show at an
// instant, on a date that is other by shift.
func shiftedClock(at time.Time, zone *time.Location, shift func(date time.Time) time.Time) time.Time {
	local := at.In(zone)
	date := shift(utcDate(local.Year(), local.Month(), local.Day()))
	want := date.Add(time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute)
	shown := func(at time.Time) time.Time {
		l := at.In(zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	for at = want.Add(-30 * time.Hour); shown(at).Before(want); {
		at = at.Add(time.Minute)
	}
	return at
}

// yearBefore is the same date a year before, or 28 February.
func yearBefore(date time.Time) time.Time {
	return anchored(date.Year()-1, date.Month(), date.Day())
}

// comparedWith is what a range is compared with; ok is false where it has not
// begun.
func (r oracleRange) comparedWith(compare string, now time.Time, zone *time.Location) (start, end time.Time, ok bool) {
	if !r.start.Before(now) {
		return start, end, false
	}
	from, to := r.from, r.to
	if from.IsZero() { // instants that are whole days are days
		a, b := todayIn(r.start, zone), todayIn(r.end.Add(-1), zone)
		if dayStart(a, zone).Equal(r.start) && dayStart(b.AddDate(0, 0, 1), zone).Equal(r.end) {
			from, to = a, b
		}
	}
	if !from.IsZero() {
		days := int(to.Sub(from)/(24*time.Hour)) + 1
		switch {
		case compare == "prev_dow":
			back := days
			for back%7 != 0 {
				back++
			}
			from, to = from.AddDate(0, 0, -back), to.AddDate(0, 0, -back)
		case compare == "prev" && r.period:
			from, to = periodOf(from.AddDate(0, 0, -1), r.anchor)
		case compare == "yoy" && r.period:
			for range 12 {
				from, to = periodOf(from.AddDate(0, 0, -1), r.anchor)
			}
		case compare == "prev":
			from, to = from.AddDate(0, 0, -days), from.AddDate(0, 0, -1)
		default:
			from, to = yearBefore(from), yearBefore(to)
		}
		start, end = dayStart(from, zone), dayStart(to.AddDate(0, 0, 1), zone)
	} else {
		length := r.end.Sub(r.start)
		switch compare {
		case "prev":
			start, end = r.start.Add(-length), r.start
		default:
			shift := yearBefore
			if compare == "prev_dow" {
				_, before := r.start.In(zone).Zone()
				_, after := r.end.In(zone).Zone()
				advanced := length + time.Duration(after-before)*time.Second
				weeks := 1
				for time.Duration(weeks)*7*24*time.Hour < advanced {
					weeks++
				}
				shift = func(date time.Time) time.Time { return date.AddDate(0, 0, -7*weeks) }
			}
			start, end = shiftedClock(r.start, zone, shift), shiftedClock(r.end, zone, shift)
			if !start.Before(end) {
				end = start.Add(length)
			}
		}
	}
	if now.Before(r.end) {
		if cut := start.Add(now.Sub(r.start)).Truncate(time.Minute); cut.Before(end) {
			end = cut
		}
	}
	return start, end, true
}

// sum is what the oracle adds up.
type sum struct {
	credits          *big.Int
	messages, events int64
}

func newSum() *sum { return &sum{credits: new(big.Int)} }

func (s *sum) add(e event) {
	s.credits.Add(s.credits, big.NewInt(int64(e.credits)))
	s.messages += e.messages
	s.events++
}

// decimal formats millionths as JSON carries them.
func decimal(micro *big.Int) string {
	text := new(big.Rat).SetFrac(micro, big.NewInt(1_000_000)).FloatString(6)
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	if text == "-0" {
		return "0"
	}
	return text
}

// counts reports whether an event enters the figures.
func (e event) counts() bool { return e.outcome == counted || e.outcome == adjustment }

// between lists the events of a workspace within an interval.
func (o *oracle) between(workspace string, start, end time.Time) []event {
	var found []event
	for _, e := range o.events {
		if e.workspace == workspace && !e.at.Before(start) && e.at.Before(end) {
			found = append(found, e)
		}
	}
	return found
}

// sumOf adds up what counts of an agent, "" being all.
func sumOf(events []event, agent string) *sum {
	s := newSum()
	for _, e := range events {
		if e.counts() && (agent == "" || e.agent == agent) {
			s.add(e)
		}
	}
	return s
}

// byAgent adds up what counts, agent by agent, the heaviest first.
func byAgent(events []event, agent string) (ids []string, sums map[string]*sum) {
	sums = map[string]*sum{}
	for _, e := range events {
		if !e.counts() || (agent != "" && e.agent != agent) {
			continue
		}
		if sums[e.agent] == nil {
			sums[e.agent] = newSum()
			ids = append(ids, e.agent)
		}
		sums[e.agent].add(e)
	}
	sort.Slice(ids, func(i, j int) bool {
		a, b := sums[ids[i]], sums[ids[j]]
		if by := a.credits.Cmp(b.credits); by != 0 {
			return by > 0
		}
		if a.messages != b.messages {
			return a.messages > b.messages
		}
		return ids[i] < ids[j]
	})
	return ids, sums
}

// said is what was last said of an agent or member by an instant.
func (o *oracle) said(table, workspace, id string, at time.Time) (last registered, found bool) {
	for _, r := range o.directory {
		if r.table == table && r.workspace == workspace && r.id == id && !r.from.After(at) &&
			(!found || !r.from.Before(last.from)) {
			last, found = r, true
		}
	}
	return last, found
}

// there counts who was there at an instant.
func (o *oracle) there(table, workspace string, at time.Time) (ids []string) {
	for _, r := range o.directory {
		if r.table != table || r.workspace != workspace || slices.Contains(ids, r.id) {
			continue
		}
		if last, found := o.said(table, workspace, r.id, at); found && !last.deleted {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// slots counts the agents that held a slot at an instant, the events before
// seen having been sent.
func (o *oracle) slots(workspace, agent string, at, seen time.Time) (n int64) {
	holders := o.there("directory_agents", workspace, at)
	for _, e := range o.events {
		if e.workspace != workspace || !e.counts() || !e.at.Before(seen) || slices.Contains(holders, e.agent) {
			continue
		}
		if _, ever := o.said("directory_agents", workspace, e.agent, at); !ever {
			holders = append(holders, e.agent)
		}
	}
	if agent == "" {
		return int64(len(holders))
	}
	if slices.Contains(holders, agent) {
		return 1
	}
	return 0
}
