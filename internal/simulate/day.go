package simulate

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"slices"
	"time"

	"agentmeter/schemas"
)

const maxGap = 180 * time.Second // between two answers of a conversation

// Day returns the events of one calendar day in the profile's zone, ordered by
// time. The profile must be valid.
//
// An event depends only on the seed, the workspace, the agent, the day and its
// place in the agent's day: changing how busy an agent is, or when it exists,
// adds or removes events and leaves the others as they are. So two versions of
// a profile that differ in nothing else never give one id two meanings.
func Day(p *Profile, seed uint64, day Date) []schemas.Event {
	span := day.Span(p.Zone)
	var events []schemas.Event
	for i := range p.Agents {
		events = p.Agents[i].appendDay(events, p, seed, day, span)
	}
	slices.SortFunc(events, func(a, b schemas.Event) int {
		return cmp.Or(a.OccurredAt.Compare(b.OccurredAt), cmp.Compare(a.ID, b.ID))
	})
	return events
}

// History returns the events with start ≤ time < end, ordered by time.
func History(p *Profile, seed uint64, start, end time.Time) iter.Seq[*schemas.Event] {
	return func(yield func(*schemas.Event) bool) {
		within := schemas.NewInterval(start, end)
		for day := DateOf(start.In(p.Zone)); !within.Empty() && startOfDay(day, p.Zone).Before(end); day = day.Next() {
			events := Day(p, seed, day)
			for i := range events {
				if within.Contains(events[i].OccurredAt) && !yield(&events[i]) {
					return
				}
			}
		}
	}
}

func (a *Agent) appendDay(events []schemas.Event, p *Profile, seed uint64, day Date, span schemas.Interval) []schemas.Event {
	r := newRandom(seed, "conversations", string(p.Workspace), string(a.ID), day.String())
	for range a.conversations(p, seed, day) {
		c := a.newConversation(&r)
		hour := pick(&r, p.Hours[:], func(w int64) int64 { return w })
		at := time.Date(day.Year, day.Month, day.Day, hour, 0, 0, 0, p.Zone).
			Add(time.Duration(r.below(int64(time.Hour/time.Microsecond))) * time.Microsecond).UTC()
		for range c.messages {
			e := c.event(&r, p.Workspace, at)
			// What lies outside is drawn all the same, so that what follows
			// does not depend on it.
			if span.Contains(at) && a.exists(at) {
				events = append(events, e)
			}
			at = at.Add(15*time.Second + time.Duration(r.below(int64((maxGap-15*time.Second)/time.Microsecond)))*time.Microsecond)
		}
	}
	return events
}

// conversations is how many conversations the agent has on a day.
func (a *Agent) conversations(p *Profile, seed uint64, day Date) int64 {
	total := int64(0)
	for i := range p.Agents {
		total += p.Agents[i].Weight
	}
	r := newRandom(seed, "count", string(p.Workspace), string(a.ID), day.String())
	weekday := time.Date(day.Year, day.Month, day.Day, 12, 0, 0, 0, time.UTC).Weekday()
	messages := p.MessagesPerDay * 1000 * a.Weight / total // in thousandths
	messages = messages * p.Weekdays[weekday] / 100
	messages = messages * (85 + r.below(31)) / 100 // no two days are alike
	for _, spike := range p.Spikes {
		if spike.Day == day && spike.Agent == a.ID {
			messages *= spike.Times
		}
	}
	// The remainder decides by chance, so that small agents are not rounded
	// away.
	each := 1000 * a.MessagesPerConversation
	n := messages / each
	if r.below(each) < messages%each {
		n++
	}
	return n
}

func (a *Agent) exists(at time.Time) bool {
	return !at.Before(a.From) && (a.Until.IsZero() || at.Before(a.Until))
}

// conversation is one talk with an agent.
type conversation struct {
	agent    *Agent
	id       string
	channel  string
	model    *Model
	messages int64 // how many there will be
}

func (a *Agent) newConversation(r *random) conversation {
	c := conversation{agent: a, messages: 1}
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], r.next())
	c.id = "conv_" + hex.EncodeToString(raw[:6])
	c.channel = a.Channels[pick(r, a.Channels, func(c Channel) int64 { return c.Weight })].Name
	if r.below(100) < a.PlaygroundPercent {
		c.channel = schemas.ChannelPlayground
	}
	c.model = &a.Models[pick(r, a.Models, func(m Model) int64 { return m.Weight })]
	for c.messages < 8*a.MessagesPerConversation && r.below(a.MessagesPerConversation) > 0 {
		c.messages++
	}
	return c
}

func (c *conversation) event(r *random, workspace schemas.WorkspaceID, at time.Time) schemas.Event {
	// The smaller of two draws makes cheap answers likelier than dear ones.
	steps := min(r.below(c.agent.Price.MostSteps+1), r.below(c.agent.Price.MostSteps+1))
	return schemas.Event{
		ID:           string(appendUUID(nil, r.next(), r.next())),
		Workspace:    workspace,
		Agent:        c.agent.ID,
		Conversation: c.id,
		OccurredAt:   at,
		Channel:      c.channel,
		Model:        c.model.Name,
		Credits:      (c.agent.Price.Base + c.agent.Price.Step*schemas.Credits(steps)) * schemas.Credits(c.model.Times),
		Messages:     1,
	}
}

// pick draws an index by weight.
func pick[T any](r *random, choices []T, weight func(T) int64) int {
	total := int64(0)
	for _, choice := range choices {
		total += weight(choice)
	}
	at := r.below(total)
	for i, choice := range choices {
		if at -= weight(choice); at < 0 {
			return i
		}
	}
	return 0 // only where no choice has a weight, which Validate refuses
}
