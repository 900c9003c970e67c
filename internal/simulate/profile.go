package simulate

import (
	"errors"
	"fmt"
	"time"

	"agentmeter/schemas"
)

// Profile is a model of one workspace's traffic. All of it is whole numbers:
// weights are relative to their sum.
type Profile struct {
	Workspace schemas.WorkspaceID
	// Zone is whose days and hours the rhythm follows.
	Zone *time.Location
	// MessagesPerDay is how many messages an ordinary day has on average, in
	// a world in which all agents exist and each weekday is ordinary.
	MessagesPerDay int64
	// Weekdays says how busy the days are in percent of an ordinary one, from
	// Sunday.
	Weekdays [7]int64
	// Hours are the weights of the hours of a day.
	Hours [24]int64
	// Agents are what answers.
	Agents []Agent
	// Spikes are days on which an agent is far busier than usual.
	Spikes []Spike
}

// Agent is one agent of a Profile.
type Agent struct {
	ID   schemas.AgentID
	Name string
	// Weight is the agent's part of the messages.
	Weight int64
	// Channels are where it answers; Models what it answers with.
	Channels []Channel
	Models   []Model
	// Price is what a message costs on a model of 1 times.
	Price Price
	// MessagesPerConversation is the average length.
	MessagesPerConversation int64
	// PlaygroundPercent is how many of its conversations are tests.
	PlaygroundPercent int64
	// From and Until bound when the agent answers; zero means without bound.
	From, Until time.Time
}

// Channel is a channel with its weight.
type Channel struct {
	Name   string
	Weight int64
}

// Model is a model with its weight, and how many times the price it costs.
type Model struct {
	Name   string
	Weight int64
	Times  int64
}

// Price is Base credits a message and up to MostSteps times Step on top, few
// steps being likelier than many.
type Price struct {
	Base, Step schemas.Credits
	MostSteps  int64
}

// Spike makes an agent Times as busy on one day.
type Spike struct {
	Day   Date
	Agent schemas.AgentID
	Times int64
}

// Date is a calendar day.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf is the day that t is on in its own location.
func DateOf(t time.Time) Date {
	year, month, day := t.Date()
	return Date{Year: year, Month: month, Day: day}
}

// String formats the day like 2026-11-24.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Span is the day in a zone: from its first instant to the next day's.
func (d Date) Span(zone *time.Location) schemas.Interval {
	return schemas.NewInterval(startOfDay(d, zone), startOfDay(d.Next(), zone))
}

// Next is the day after.
func (d Date) Next() Date { return DateOf(time.Date(d.Year, d.Month, d.Day+1, 12, 0, 0, 0, time.UTC)) }

// startOfDay is the first instant that has the date d. Where clocks go forward
// at midnight that is later than 00:00, which then does not exist.
func startOfDay(d Date, zone *time.Location) time.Time {
	t := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, zone)
	if DateOf(t) == d {
		return t
	}
	// time.Date has used the offset of before the change, so the change itself
	// is at the start of the zone's next period.
	_, next := t.ZoneBounds()
	return next
}

// number counts days, so that two dates can be told apart by how far.
func (d Date) number() int64 {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Unix() / 86_400
}

func dateOfNumber(n int64) Date { return DateOf(time.Unix(n*86_400, 0).UTC()) }

// Bounds that keep sums of products far from overflow and days in memory.
const (
	maxWeight         = 1_000_000
	maxMessagesPerDay = 10_000_000
	maxWeekday        = 1_000 // percent
	maxSpike          = 100
)

// Validate reports everything that is wrong with the profile.
func (p *Profile) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	weight := func(what string, n int64) {
		if n < 0 || n > maxWeight {
			fault("%s: %d is not between 0 and %d", what, n, maxWeight)
		}
	}
	if why := schemas.ValidateWorkspaceID("workspace_id", string(p.Workspace)); why != nil {
		faults = append(faults, *why)
	}
	if p.Zone == nil {
		fault("zone: is required")
	}
	if p.MessagesPerDay < 0 || p.MessagesPerDay > maxMessagesPerDay {
		fault("messages per day: %d is not between 0 and %d", p.MessagesPerDay, maxMessagesPerDay)
	}
	for day, percent := range p.Weekdays {
		if percent < 0 || percent > maxWeekday {
			fault("%s: %d %% is not between 0 and %d", time.Weekday(day), percent, maxWeekday)
		}
	}
	hours := int64(0)
	for hour, w := range p.Hours {
		weight(fmt.Sprintf("hour %d", hour), w)
		hours += w
	}
	if hours == 0 {
		fault("hours: at least one needs a weight")
	}
	if len(p.Agents) == 0 {
		fault("agents: at least one is needed")
	}
	agents := int64(0)
	known := make(map[schemas.AgentID]bool, len(p.Agents))
	for i := range p.Agents {
		a := &p.Agents[i]
		weight(fmt.Sprintf("agent %q: weight", a.ID), a.Weight)
		agents += a.Weight
		if known[a.ID] {
			fault("agent %q: is there twice", a.ID)
		}
		known[a.ID] = true
		if err := a.validate(p.Workspace); err != nil {
			fault("agent %q: %w", a.ID, err)
		}
	}
	if len(p.Agents) > 0 && agents == 0 {
		fault("agents: at least one needs a weight")
	}
	for _, spike := range p.Spikes {
		if spike.Times < 0 || spike.Times > maxSpike {
			fault("spike on %s: %d times is not between 0 and %d", spike.Day, spike.Times, maxSpike)
		}
		if !known[spike.Agent] {
			fault("spike on %s: there is no agent %q", spike.Day, spike.Agent)
		}
	}
	return errors.Join(faults...)
}

// validate checks the agent by an event that it could make.
func (a *Agent) validate(workspace schemas.WorkspaceID) error {
	var faults []error
	sum := func(what string, weights []int64) {
		total := int64(0)
		for _, w := range weights {
			if w < 0 || w > maxWeight {
				faults = append(faults, fmt.Errorf("%s: the weight %d is not between 0 and %d", what, w, maxWeight))
			}
			total += w
		}
		if total <= 0 {
			faults = append(faults, fmt.Errorf("%s: at least one needs a weight", what))
		}
	}
	var weights []int64
	for _, c := range a.Channels {
		weights = append(weights, c.Weight)
	}
	sum("channels", weights)
	weights = nil
	for _, m := range a.Models {
		weights = append(weights, m.Weight)
		if m.Times < 0 || m.Times > maxWeight {
			faults = append(faults, fmt.Errorf("model %q: %d times the price is not between 0 and %d", m.Name, m.Times, maxWeight))
		}
	}
	sum("models", weights)
	if a.Price.Base < 0 || a.Price.Step < 0 || a.Price.MostSteps < 0 || a.Price.MostSteps > maxWeight ||
		a.Price.Base > maxPrice || a.Price.Step > maxPrice/max(1, schemas.Credits(a.Price.MostSteps)) {
		faults = append(faults, fmt.Errorf("price: a part is negative, or a message may cost more than %s", maxPrice))
	}
	if a.MessagesPerConversation < 1 || a.MessagesPerConversation > maxConversation {
		faults = append(faults, fmt.Errorf("messages per conversation: %d is not between 1 and %d", a.MessagesPerConversation, maxConversation))
	}
	if a.PlaygroundPercent < 0 || a.PlaygroundPercent > 100 {
		faults = append(faults, fmt.Errorf("playground: %d %% is not between 0 and 100", a.PlaygroundPercent))
	}
	for _, c := range a.Channels {
		for _, m := range a.Models {
			e := schemas.Event{
				ID: "id", Workspace: workspace, Agent: a.ID, Channel: c.Name, Model: m.Name,
				OccurredAt: schemas.MinOccurredAt.Add(1), Messages: 1,
			}
			for _, why := range e.Validate() {
				if why.Field != "workspace_id" {
					faults = append(faults, why)
				}
			}
		}
	}
	return errors.Join(faults...)
}

const (
	maxPrice        = schemas.Credits(1_000_000 * schemas.MicroPerCredit)
	maxConversation = 100
)
