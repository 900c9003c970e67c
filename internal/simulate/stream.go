package simulate

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"agentmeter/schemas"
)

// Stream is live traffic: a profile's agents answering at a steady rate from a
// given instant on, without the rhythm of day and week. It is not safe for
// concurrent use.
type Stream struct {
	profile *Profile
	agents  []*Agent
	open    []conversation // by agent; messages is how many are left
	random  random
	start   time.Time
	every   time.Duration
	n       int64 // events so far, left out ones included
	due     time.Time
}

// MaxRate is the highest rate of a Stream, in events a second.
const MaxRate = 1_000_000

// NewStream returns a stream of rate events a second. Agents that do not exist
// at its start never answer in it. Streams that start at another instant have
// other ids.
func NewStream(p *Profile, seed uint64, rate float64, start time.Time) (*Stream, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if !(rate > 0 && rate <= MaxRate) {
		return nil, fmt.Errorf("--rate: %v events a second is not above 0 and at most %d", rate, MaxRate)
	}
	s := &Stream{profile: p, start: start.UTC().Truncate(time.Microsecond), every: time.Duration(min(float64(time.Second)/rate, float64(24*time.Hour)))}
	s.random = newRandom(seed, "stream", string(p.Workspace), strconv.FormatInt(s.start.UnixMicro(), 10), s.every.String())
	for i := range p.Agents {
		if a := &p.Agents[i]; a.Weight > 0 && a.exists(s.start) {
			s.agents = append(s.agents, a)
		}
	}
	if len(s.agents) == 0 {
		return nil, errors.New("profile: no agent exists at the start of the stream")
	}
	s.open = make([]conversation, len(s.agents))
	s.schedule()
	return s, nil
}

// schedule draws when the next event is due: somewhere in its slot, so that
// the gaps are uneven and the rate is exact.
func (s *Stream) schedule() {
	at := s.start.Add(time.Duration(s.n)*s.every + time.Duration(s.random.below(int64(s.every))))
	s.due = at.Truncate(time.Microsecond)
}

// Due is when the next event happens.
func (s *Stream) Due() time.Time { return s.due }

// Next returns the next event.
func (s *Stream) Next() schemas.Event {
	i := pick(&s.random, s.agents, func(a *Agent) int64 { return a.Weight })
	c := &s.open[i]
	if c.messages == 0 {
		*c = s.agents[i].newConversation(&s.random)
	}
	c.messages--
	e := c.event(&s.random, s.profile.Workspace, s.due)
	s.n++
	s.schedule()
	return e
}

// Skip leaves out the events that are due before t and returns how many.
func (s *Stream) Skip(t time.Time) int64 {
	if !s.due.Before(t) {
		return 0
	}
	before := s.n
	s.n = max(s.n+1, int64(t.Sub(s.start)/s.every))
	s.schedule()
	for s.due.Before(t) { // at most the one whose slot t lies in
		s.n++
		s.schedule()
	}
	return s.n - before
}
