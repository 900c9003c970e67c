package simulate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"agentmeter/internal/eventclient"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// The demo.
const (
	DemoWorkspace schemas.WorkspaceID = "ws_demo"
	DemoSeed      uint64              = 1
	DemoDays                          = 90
)

const (
	half = schemas.MicroPerCredit / 2
	one  = schemas.MicroPerCredit
)

// demoZone is embedded in the binary by whoever imports time/tzdata; the demo
// does without where neither that nor the system has it.
func demoZone() *time.Location {
	zone, err := time.LoadLocation("Europe/Copenhagen")
	if err != nil {
		return time.UTC
	}
	return zone
}

// DemoProfile is the demo workspace's traffic as seen from now: some 60,000
// events in the DemoDays before, with quiet weekends, a viral day in each
// fortnight and an agent that was deleted some days ago. A day has the same
// events from wherever it is seen, but for how long the deleted agent still
// answers: who goes on with a demo gives the now that it began with.
func DemoProfile(now time.Time) *Profile {
	zone := demoZone()
	small := []Model{{Name: "small", Weight: 3, Times: 1}, {Name: "large", Weight: 1, Times: 2}}
	large := []Model{{Name: "small", Weight: 1, Times: 1}, {Name: "large", Weight: 2, Times: 2}}
	web := []Channel{{Name: "embed", Weight: 8}, {Name: "whatsapp", Weight: 2}, {Name: "api", Weight: 1}}
	chat := []Channel{{Name: "whatsapp", Weight: 5}, {Name: "embed", Weight: 3}}
	inside := []Channel{{Name: "slack", Weight: 9}, {Name: "api", Weight: 1}}

	p := &Profile{
		Workspace:      DemoWorkspace,
		Zone:           zone,
		MessagesPerDay: 750,
		Weekdays:       [7]int64{time.Sunday: 22, time.Monday: 108, time.Tuesday: 104, time.Wednesday: 100, time.Thursday: 98, time.Friday: 86, time.Saturday: 28},
		Hours:          [24]int64{2, 1, 1, 1, 1, 2, 5, 14, 34, 52, 58, 54, 44, 52, 56, 50, 40, 28, 20, 18, 16, 12, 7, 4},
		Agents: []Agent{
			{ID: "agt_support", Name: "Support Bot", Weight: 44, Channels: web, Models: small, Price: Price{Base: half, Step: half, MostSteps: 3}, MessagesPerConversation: 4, PlaygroundPercent: 1},
			{ID: "agt_sales", Name: "Sales Bot", Weight: 19, Channels: web, Models: large, Price: Price{Base: one, Step: half, MostSteps: 4}, MessagesPerConversation: 5, PlaygroundPercent: 3},
			{ID: "agt_onboarding", Name: "Onboarding Guide", Weight: 12, Channels: web, Models: small, Price: Price{Base: one, Step: one, MostSteps: 2}, MessagesPerConversation: 6, PlaygroundPercent: 4},
			{ID: "agt_billing", Name: "Billing Helper", Weight: 8, Channels: web, Models: small, Price: Price{Base: one}, MessagesPerConversation: 3, PlaygroundPercent: 2},
			{ID: "agt_docs", Name: "Docs Assistant", Weight: 6, Channels: web, Models: large, Price: Price{Base: one, Step: one, MostSteps: 3}, MessagesPerConversation: 2, PlaygroundPercent: 5},
			{ID: "agt_returns", Name: "Returns Desk", Weight: 4, Channels: chat, Models: small, Price: Price{Base: half, Step: half, MostSteps: 1}, MessagesPerConversation: 5, PlaygroundPercent: 2},
			{ID: "agt_booking", Name: "Booking Assistant", Weight: 3, Channels: chat, Models: small, Price: Price{Base: one, Step: half, MostSteps: 2}, MessagesPerConversation: 6, PlaygroundPercent: 6},
			{ID: "agt_people", Name: "People Desk", Weight: 1, Channels: inside, Models: large, Price: Price{Base: one, Step: one, MostSteps: 1}, MessagesPerConversation: 3, PlaygroundPercent: 10},
			{
				ID: "agt_launch", Name: "Spring Campaign", Weight: 5, Channels: chat, Models: small, Price: Price{Base: one, Step: half, MostSteps: 2}, MessagesPerConversation: 3, PlaygroundPercent: 2,
				Until: startOfDay(dateOfNumber(DateOf(now.In(zone)).number()-demoDeletedDays), zone),
			},
		},
	}
	today := DateOf(now.In(zone)).number()
	for n := today - DemoDays - demoSpikeEvery; n <= today+demoAhead; n++ {
		if agent, ok := demoSpike(n); ok {
			p.Spikes = append(p.Spikes, Spike{Day: dateOfNumber(n), Agent: agent.id, Times: agent.times})
		}
	}
	return p
}

const (
	demoDeletedDays = 12    // how long ago the deleted agent last answered
	demoAhead       = 1_000 // days for which viral days are planned
	demoSpikeEvery  = 13    // days; no multiple of a week, so that weekdays vary
	demoSpikeSpread = 5
)

type viral struct {
	id    schemas.AgentID
	times int64
}

// demoSpike says which agent, if any, goes viral on a day. It goes by the
// calendar and not by when the demo is started, so that a day keeps its events.
func demoSpike(day int64) (viral, bool) {
	block := day / demoSpikeEvery
	r := newRandom(DemoSeed, "spikes", strconv.FormatInt(block, 10))
	at := block*demoSpikeEvery + r.below(demoSpikeSpread)
	switch weekday := dateOfNumber(at); time.Date(weekday.Year, weekday.Month, weekday.Day, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday: // nothing goes viral while everyone is away
		at += 2
	case time.Sunday:
		at++
	default:
	}
	virals := [...]viral{{"agt_sales", 9}, {"agt_support", 4}, {"agt_onboarding", 12}}
	return virals[block%int64(len(virals))], day == at
}

// Directory is what a workspace's back office tells Agentmeter.
type Directory struct {
	Workspace schemas.WorkspaceID
	Settings  api.WorkspaceSettings
	Agents    []Entity
	// DeletedAgents were registered once, and removed again.
	DeletedAgents []Entity
	Members       []Entity
}

// Entity is an agent or a team member.
type Entity struct{ ID, Name string }

// DemoDirectory is the demo workspace's. The billing period that now is in
// began some three weeks ago, so that there is something to see in it.
func DemoDirectory(now time.Time) Directory {
	profile := DemoProfile(now)
	anchor := dateOfNumber(DateOf(now.In(profile.Zone)).number() - 22)
	link := func(page string) *api.Link { return new("https://example.com/" + page) }
	d := Directory{
		Workspace: DemoWorkspace,
		Settings: api.WorkspaceSettings{
			Name:          new("Demo"),
			Timezone:      new(profile.Zone.String()),
			BillingAnchor: new(anchor.String()),
			AgentSlots:    new(int64(10)),
			Seats:         new(int64(5)),
			Links: &api.WorkspaceLinks{
				Billing: link("billing"), CreditsExplained: link("credits"), AutoRecharge: link("auto-recharge"),
				Plans: link("plans"), AgentAnalytics: link("analytics"),
			},
			SupportEmail: new("support@example.com"),
			ProductName:  new("Example Agents"),
		},
		Members: []Entity{{"mem_maja", "Maja Holm"}, {"mem_jonas", "Jonas Lind"}, {"mem_priya", "Priya Nair"}},
	}
	for i := range profile.Agents {
		a := Entity{ID: string(profile.Agents[i].ID), Name: profile.Agents[i].Name}
		if profile.Agents[i].Until.IsZero() {
			d.Agents = append(d.Agents, a)
		} else {
			d.DeletedAgents = append(d.DeletedAgents, a)
		}
	}
	return d
}

// Register sends the directory. Doing it twice changes nothing but the
// history's length.
func (d *Directory) Register(ctx context.Context, client *eventclient.Client) error {
	if err := client.PutWorkspace(ctx, d.Workspace, d.Settings); err != nil {
		return fmt.Errorf("register workspace: %w", err)
	}
	for _, agents := range [][]Entity{d.DeletedAgents, d.Agents} {
		for _, a := range agents {
			if err := client.PutAgent(ctx, d.Workspace, schemas.AgentID(a.ID), a.Name); err != nil {
				return fmt.Errorf("register agent: %w", err)
			}
		}
	}
	for _, a := range d.DeletedAgents {
		if err := client.DeleteAgent(ctx, d.Workspace, schemas.AgentID(a.ID)); err != nil {
			return fmt.Errorf("remove agent: %w", err)
		}
	}
	for _, m := range d.Members {
		if err := client.PutMember(ctx, d.Workspace, m.ID, m.Name); err != nil {
			return fmt.Errorf("register member: %w", err)
		}
	}
	return nil
}
