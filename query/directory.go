package query

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/query/calendar"
	"agentmeter/schemas"
)

// settings are what a workspace was said to be like from an instant on.
type settings struct {
	validFrom     time.Time
	change        int64
	name          string
	timezone      string
	billingAnchor string // a date, or ""
	agentSlots    int64  // -1: not limited
	seats         int64  // -1: not limited
	links         map[string]string
	supportEmail  string
	productName   string
}

// settingsHistory holds a workspace's settings, the oldest first.
type settingsHistory []settings

// asOf returns the settings that held at an instant, before the first those of
// a workspace of which nothing is known.
func (h settingsHistory) asOf(at time.Time) settings {
	for _, s := range slices.Backward(h) {
		if !s.validFrom.After(at) {
			return s
		}
	}
	return settings{agentSlots: -1, seats: -1}
}

// zone is the workspace's time zone, UTC where none was named.
func (s settings) zone() (*time.Location, error) {
	if s.timezone == "" {
		return time.UTC, nil
	}
	zone, err := calendar.LoadZone(s.timezone)
	if err != nil {
		// It was checked when it was set. Days of another zone would be wrong
		// figures without saying so.
		return nil, fmt.Errorf("workspace's time zone %q: %w", s.timezone, err)
	}
	return zone, nil
}

// anchorDay is the day of the month on which billing periods begin.
func (s settings) anchorDay() int {
	if anchor, err := calendar.ParseDate(s.billingAnchor); err == nil {
		return anchor.Day
	}
	return 1
}

func (s *Service) settingsOf(ctx context.Context, route string, workspace schemas.WorkspaceID) (settingsHistory, error) {
	var (
		validFrom, change, slots, seats                      proto.ColInt64
		name, zone, anchor, links, supportEmail, productName proto.ColStr
		history                                              settingsHistory
		broken                                               error
	)
	err := s.read(ctx, route, "workspace", render("workspace", nil), map[string]string{"workspace": string(workspace)}, proto.Results{
		{Name: "valid_from", Data: &validFrom},
		{Name: "change", Data: &change},
		{Name: "name", Data: &name},
		{Name: "timezone", Data: &zone},
		{Name: "billing_anchor", Data: &anchor},
		{Name: "agent_slots", Data: &slots},
		{Name: "seats", Data: &seats},
		{Name: "links", Data: &links},
		{Name: "support_email", Data: &supportEmail},
		{Name: "product_name", Data: &productName},
	}, func(rows int) {
		for i := range rows {
			row := settings{
				validFrom: time.UnixMicro(validFrom[i]).UTC(), change: change[i],
				name: name.Row(i), timezone: zone.Row(i), billingAnchor: anchor.Row(i),
				agentSlots: slots[i], seats: seats[i],
				supportEmail: supportEmail.Row(i), productName: productName.Row(i),
			}
			if err := json.Unmarshal(links.RowBytes(i), &row.links); err != nil {
				broken = fmt.Errorf("read workspace: links: %w", err)
			}
			history = append(history, row)
		}
	})
	if err == nil {
		err = broken
	}
	slices.SortFunc(history, func(a, b settings) int {
		return cmp.Or(a.validFrom.Compare(b.validFrom), cmp.Compare(a.change, b.change))
	})
	return history, err
}

// directory is the history of a workspace's agents and team members.
type directory struct {
	agents  map[string]entity
	members map[string]entity
}

// entity holds what was said of one agent or member, the oldest first.
type entity []change

type change struct {
	validFrom time.Time
	offset    int64
	name      string
	deleted   bool
}

// asOf returns the last change that was valid at an instant; ok is false
// before the first.
func (e entity) asOf(at time.Time) (last change, ok bool) {
	for _, c := range slices.Backward(e) {
		if !c.validFrom.After(at) {
			return c, true
		}
	}
	return change{}, false
}

// nameAt is the last name that the entity was given by an instant, or "".
func (e entity) nameAt(at time.Time) string {
	for _, c := range slices.Backward(e) {
		if !c.validFrom.After(at) && c.name != "" {
			return c.name
		}
	}
	return ""
}

// existing counts the entities that were there at an instant.
func existing(entities map[string]entity, at time.Time) int64 {
	n := int64(0)
	for _, e := range entities {
		if last, ok := e.asOf(at); ok && !last.deleted {
			n++
		}
	}
	return n
}

// holdsSlot reports whether an agent occupied a slot at an instant: because it
// was registered and not deleted, or because it had sent events without ever
// having been registered.
func (d directory) holdsSlot(agent string, at time.Time, hasSent bool) bool {
	if last, ok := d.agents[agent].asOf(at); ok {
		return !last.deleted
	}
	return hasSent
}

// describe returns the name that people know an agent by, its id where it has
// none, and whether it is deleted.
func (d directory) describe(agent string, now time.Time) (name string, deleted bool) {
	e := d.agents[agent]
	if last, ok := e.asOf(now); ok {
		deleted = last.deleted
	}
	if name = e.nameAt(now); name == "" {
		name = agent
	}
	return name, deleted
}

// changes counts what was said.
func (d directory) changes() int {
	n := 0
	for _, of := range []map[string]entity{d.agents, d.members} {
		for _, e := range of {
			n += len(e)
		}
	}
	return n
}

// version changes whenever something is said anew that holds by now.
func (d directory) version(now time.Time) (version [2]int64) {
	for _, of := range []map[string]entity{d.agents, d.members} {
		for _, e := range of {
			for _, c := range e {
				if !c.validFrom.After(now) {
					version[0]++
					version[1] += c.offset
				}
			}
		}
	}
	return version
}

func (s *Service) directoryOf(ctx context.Context, route string, workspace schemas.WorkspaceID) (directory, error) {
	var (
		kind              proto.ColUInt8
		validFrom, offset proto.ColInt64
		id, name          proto.ColStr
		deleted           proto.ColBool
	)
	d := directory{agents: map[string]entity{}, members: map[string]entity{}}
	err := s.read(ctx, route, "directory", render("directory", nil), map[string]string{"workspace": string(workspace)}, proto.Results{
		{Name: "kind", Data: &kind},
		{Name: "id", Data: &id},
		{Name: "valid_from", Data: &validFrom},
		{Name: "change", Data: &offset},
		{Name: "name", Data: &name},
		{Name: "deleted", Data: &deleted},
	}, func(rows int) {
		for i := range rows {
			of := d.agents
			if kind[i] != 0 {
				of = d.members
			}
			key := id.Row(i)
			of[key] = append(of[key], change{
				validFrom: time.UnixMicro(validFrom[i]).UTC(), offset: offset[i], name: name.Row(i), deleted: deleted[i],
			})
		}
	})
	for _, of := range []map[string]entity{d.agents, d.members} {
		for id, e := range of {
			slices.SortFunc(e, func(a, b change) int {
				return cmp.Or(a.validFrom.Compare(b.validFrom), cmp.Compare(a.offset, b.offset))
			})
			// A change that was stored twice is merged by the engine in its time.
			of[id] = slices.Compact(e)
		}
	}
	return d, err
}
