package simulate

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"time"

	"agentmeter/schemas"
)

// Workload is volume for benches: many events of workspaces of very different
// sizes, spread evenly over a range of time. Event i depends only on the
// workload and i, so that any part can be made anywhere.
type Workload struct {
	Seed uint64
	// Events is how many there are.
	Events int64
	// Range is when they happen.
	Range schemas.Interval
	// Workspaces are whose they are, see Zipf.
	Workspaces []WorkspaceSize
	// PlaygroundPermille is how many of a thousand events are tests.
	PlaygroundPermille int64
}

// WorkspaceSize is a workspace with its number of agents and its part of the
// events, which falls from agent to agent as 1, 1/2, 1/3, ….
type WorkspaceSize struct {
	ID     schemas.WorkspaceID
	Agents int
	Weight int64
}

// Zipf sizes workspaces as 1, 1/2, 1/3, … and gives each at least one of the
// agents and the larger ones more.
func Zipf(workspaces, agents int) []WorkspaceSize {
	sizes := make([]WorkspaceSize, workspaces)
	total := int64(0)
	for i := range sizes {
		sizes[i] = WorkspaceSize{ID: schemas.WorkspaceID(fmt.Sprintf("ws_%05d", i+1)), Agents: 1, Weight: zipfWeight(i)}
		total += sizes[i].Weight
	}
	left := agents - workspaces
	for i := range sizes {
		more := int(int64(max(0, agents-workspaces)) * sizes[i].Weight / total)
		sizes[i].Agents += more
		left -= more
	}
	for i := 0; left > 0 && workspaces > 0; i++ { // what rounding left over
		sizes[i%workspaces].Agents++
		left--
	}
	return sizes
}

func zipfWeight(rank int) int64 { return 1 << 20 / int64(rank+1) }

// Limits that keep the tables in memory and products within 64 bits.
const (
	maxWorkloadAgents = 1_000_000
	maxSizeWeight     = 1 << 22
)

// Validate reports everything that is wrong with the workload.
func (w *Workload) Validate() error {
	var faults []error
	if w.Events < 0 {
		faults = append(faults, errors.New("events: must not be negative"))
	}
	if w.Range.Empty() || !w.Range.Start.After(schemas.MinOccurredAt) || w.Range.End.After(schemas.MaxOccurredAt) {
		faults = append(faults, fmt.Errorf("range: %s is empty or outside what events may carry", w.Range))
	}
	if w.PlaygroundPermille < 0 || w.PlaygroundPermille > 1000 {
		faults = append(faults, errors.New("playground: must be 0 to 1,000 of a thousand"))
	}
	agents, weight := 0, int64(0)
	for _, size := range w.Workspaces {
		if why := schemas.ValidateWorkspaceID("workspace_id", string(size.ID)); why != nil {
			faults = append(faults, *why)
		}
		if size.Agents < 1 || size.Agents > maxWorkloadAgents || size.Weight < 0 || size.Weight > maxSizeWeight {
			faults = append(faults, fmt.Errorf("workspace %q: needs 1 to %d agents and a weight of at most %d", size.ID, maxWorkloadAgents, int64(maxSizeWeight)))
			continue
		}
		agents += size.Agents
		weight += size.Weight
	}
	if agents > maxWorkloadAgents {
		faults = append(faults, fmt.Errorf("workspaces: %d agents in all are more than %d", agents, maxWorkloadAgents))
	}
	if len(w.Workspaces) > maxWorkloadAgents || weight == 0 {
		faults = append(faults, errors.New("workspaces: at least one needs a weight"))
	}
	return errors.Join(faults...)
}

// Generator makes a workload's events. It is not safe for concurrent use;
// Clone one for each goroutine.
type Generator struct {
	*tables

	scratch []byte
}

// tables are shared between clones and do not change.
type tables struct {
	workload   Workload
	seed       uint64
	span       uint64 // of the range in microseconds
	startMicro int64
	cumulative []uint64 // weight of the agents up to and including this one
	agents     []workloadAgent
}

type workloadAgent struct {
	workspace schemas.WorkspaceID
	id        schemas.AgentID
	open      int64 // how many conversations it has at a time
}

// Conversations last for a window of events, and have about
// eventsPerConversation of them.
const (
	conversationWindow    = 1 << 14
	eventsPerConversation = 5
)

var (
	workloadChannels = [...]string{"embed", "embed", "embed", "embed", "api", "api", "whatsapp", "slack"}
	workloadModels   = [...]string{"small", "small", "small", "large"}
)

// Generator prepares the workload.
func (w *Workload) Generator() (*Generator, error) {
	if err := w.Validate(); err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	// All of it is in the seed, so that workloads that differ share no ids.
	r := newRandom(w.Seed, "workload", fmt.Sprint(w.Events, w.Range, w.PlaygroundPermille, w.Workspaces))
	t := &tables{
		workload: *w, seed: r.next(),
		span:       uint64(w.Range.Duration() / time.Microsecond),
		startMicro: w.Range.Start.UnixMicro(),
	}
	t.workload.Workspaces = slices.Clone(w.Workspaces)
	total := uint64(0)
	for _, size := range w.Workspaces {
		ranks := int64(0)
		for rank := range size.Agents {
			ranks += zipfWeight(rank)
		}
		for rank := range size.Agents {
			hi, lo := bits.Mul64(uint64(size.Weight)<<20, uint64(zipfWeight(rank)))
			weight, _ := bits.Div64(hi, lo, uint64(ranks))
			total += weight
			t.cumulative = append(t.cumulative, total)
			t.agents = append(t.agents, workloadAgent{workspace: size.ID, id: schemas.AgentID(fmt.Sprintf("agt_%04d", rank+1))})
		}
	}
	before := uint64(0)
	for i := range t.agents {
		hi, lo := bits.Mul64(t.cumulative[i]-before, conversationWindow/eventsPerConversation)
		open, _ := bits.Div64(hi, lo, total)
		t.agents[i].open = max(1, int64(open))
		before = t.cumulative[i]
	}
	return &Generator{tables: t}, nil
}

// Clone returns a generator of the same events for another goroutine.
func (g *Generator) Clone() *Generator { return &Generator{tables: g.tables} }

// Event writes event i, with 0 ≤ i < Events, into e.
func (g *Generator) Event(i int64, e *schemas.Event) {
	index := uint64(i)
	unique := mix(index ^ g.seed)
	r := random(unique)
	total := g.cumulative[len(g.cumulative)-1]
	at, _ := bits.Mul64(r.next(), total)
	lo, hi := 0, len(g.cumulative)-1
	for lo < hi { // the first whose cumulative weight is above at
		middle := int(uint(lo+hi) >> 1)
		if g.cumulative[middle] > at {
			hi = middle
		} else {
			lo = middle + 1
		}
	}
	agent := &g.agents[lo]
	choice := r.next()

	e.Workspace, e.Agent = agent.workspace, agent.id
	e.Channel = workloadChannels[choice%uint64(len(workloadChannels))]
	e.Model = workloadModels[choice>>8%uint64(len(workloadModels))]
	e.Credits = schemas.Credits(1+choice>>16%8) * schemas.MicroPerCredit / 2
	if g.workload.PlaygroundPermille > 0 && r.below(1000) < g.workload.PlaygroundPermille {
		e.Channel = schemas.ChannelPlayground
	}
	e.Messages = 1
	e.Adjustment = nil

	first := g.micro(index)
	slot := g.micro(index+1) - first
	e.OccurredAt = time.UnixMicro(g.startMicro + int64(first) + r.below(int64(slot))).UTC()

	window := mix(g.seed ^ (index/conversationWindow)<<24 ^ uint64(lo))
	conversation := mix(window + uint64(r.below(agent.open)))
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], conversation)
	g.scratch = appendUUID(g.scratch[:0], unique, r.next())
	idEnd := len(g.scratch)
	g.scratch = append(g.scratch, "conv_"...)
	g.scratch = hex.AppendEncode(g.scratch, raw[:6])
	text := string(g.scratch) // the one allocation
	e.ID, e.Conversation = text[:idEnd], text[idEnd:]
}

// micro is where the slot of event i begins, in microseconds from the start.
func (g *Generator) micro(i uint64) uint64 {
	hi, lo := bits.Mul64(i, g.span)
	at, _ := bits.Div64(hi, lo, uint64(g.workload.Events))
	return at
}

// Range returns the events from ≤ i < to, ordered by time. The Event is the
// same one each time, so copy what is to be kept.
func (g *Generator) Range(from, to int64) iter.Seq[*schemas.Event] {
	return func(yield func(*schemas.Event) bool) {
		var e schemas.Event
		for i := from; i < to; i++ {
			g.Event(i, &e)
			if !yield(&e) {
				return
			}
		}
	}
}

// All returns all events.
func (g *Generator) All() iter.Seq[*schemas.Event] { return g.Range(0, g.workload.Events) }
