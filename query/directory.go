package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/schemas"
)

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
