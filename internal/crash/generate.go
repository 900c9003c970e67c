package crash

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"agentmeter/schemas"
)

// generator makes events. It is used by one goroutine.
type generator struct {
	random *rand.Rand
	prefix string // makes its ids its own
	serial int
}

const (
	workspaces = 4
	agents     = 6
)

func workspaceName(i int) schemas.WorkspaceID {
	return schemas.WorkspaceID(fmt.Sprintf("ws_crash_%d", i))
}

func agentName(i int) schemas.AgentID { return schemas.AgentID(fmt.Sprintf("agt_%d", i)) }

var channels = []string{"embed", "api", "whatsapp", "slack"}

// event makes a new live or playground event.
func (g *generator) event() schemas.Event {
	g.serial++
	e := schemas.Event{
		ID:           g.id(),
		Workspace:    workspaceName(g.random.IntN(workspaces)),
		Agent:        agentName(g.random.IntN(agents)),
		Conversation: fmt.Sprintf("conv-%d", g.random.IntN(1000)),
		OccurredAt:   g.instant(),
		Channel:      channels[g.random.IntN(len(channels))],
		Model:        "model-a",
		Credits:      schemas.Credits(g.random.Int64N(5_000_000)),
		Messages:     1,
	}
	switch g.random.IntN(20) {
	case 0:
		e.Messages = int64(g.random.IntN(4))
	case 1:
		e.Channel = schemas.ChannelPlayground
	case 2:
		e.Credits = 0
	}
	return e
}

// adjustment makes a signed correction of an earlier event, or of nothing in
// particular.
func (g *generator) adjustment(of *entry) schemas.Event {
	g.serial++
	e := schemas.Event{
		ID:         g.id(),
		Workspace:  workspaceName(g.random.IntN(workspaces)),
		Agent:      agentName(g.random.IntN(agents)),
		OccurredAt: g.instant(),
		Credits:    schemas.Credits(g.random.Int64N(4_000_000) - 3_000_000),
		Messages:   int64(g.random.IntN(5)) - 3,
		Adjustment: &schemas.Adjustment{Reason: "correction by the crash harness"},
	}
	if of != nil {
		e.Workspace, e.Agent, e.OccurredAt = of.event.Workspace, of.event.Agent, of.event.OccurredAt
		e.Adjustment.EventID = of.event.ID
	}
	return e
}

// id alternates between UUIDs, which records pack, and other text.
func (g *generator) id() string {
	if g.serial%2 == 0 {
		var raw uuid.UUID
		for i := range raw {
			raw[i] = byte(g.random.Uint32())
		}
		return raw.String()
	}
	return fmt.Sprintf("%s-%d", g.prefix, g.serial)
}

// instant is mostly now, and otherwise where buckets and retention have their
// edges.
func (g *generator) instant() time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	back := func(most time.Duration) time.Time {
		return now.Add(-time.Duration(g.random.Int64N(int64(most)))).Truncate(time.Microsecond)
	}
	switch n := g.random.IntN(100); {
	case n < 70:
		return back(2 * time.Minute)
	case n < 80: // around a day's, a month's and a year's edge
		edges := []time.Time{
			time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC),
			time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC),
			time.Date(now.Year(), 1, 1, 0, 0, 0, 0, time.UTC),
		}
		edge := edges[g.random.IntN(len(edges))].Add(time.Duration(g.random.IntN(5)-2) * time.Microsecond)
		if edge.After(now) {
			return now
		}
		return edge
	case n < 90:
		return back(28 * 24 * time.Hour).Truncate(time.Minute)
	case n < 95:
		return back(400 * 24 * time.Hour).Truncate(time.Hour)
	default:
		return back(time.Hour)
	}
}

// other makes a different payload for the id of an event.
func (g *generator) other(e schemas.Event) schemas.Event {
	if g.random.IntN(2) == 0 {
		e.Agent = "agt_other"
	} else {
		e.Messages++
	}
	e.OccurredAt = e.OccurredAt.Add(time.Microsecond)
	return e
}
