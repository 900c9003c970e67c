package query

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/httpapi"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
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

// GetWorkspace answers GET /v1/workspaces/{ws}: its settings as they are now.
func (s *Service) GetWorkspace(w http.ResponseWriter, r *http.Request, id api.WorkspacePathParam) {
	if schemas.ValidateWorkspaceID("ws", id) != nil {
		httpapi.WriteError(w, r, httpapi.ErrNotFound) // there can be no such workspace
		return
	}
	s.serve(w, r, func(ctx context.Context) error {
		book, err := s.recentBook(ctx, r.Pattern, schemas.WorkspaceID(id))
		if err != nil {
			return err
		}
		current := book.settings.asOf(s.clock().UTC())
		zone, err := current.zone()
		if err != nil {
			return err
		}
		answer := workspaceAnswer(id, current)
		answer.Timezone = zone.String()
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

// workspaceAnswer describes a workspace, but for its zone.
func workspaceAnswer(id string, current settings) api.Workspace {
	answer := api.Workspace{
		ID: id, Name: current.name,
		AgentSlots: limited(current.agentSlots), Seats: limited(current.seats),
		SupportEmail: current.supportEmail, ProductName: current.productName,
		Links: api.WorkspaceLinks{
			Billing:          linkOf(current.links, "billing"),
			CreditsExplained: linkOf(current.links, "credits_explained"),
			AutoRecharge:     linkOf(current.links, "auto_recharge"),
			Plans:            linkOf(current.links, "plans"),
			AgentAnalytics:   linkOf(current.links, "agent_analytics"),
		},
	}
	if answer.Name == "" {
		answer.Name = id
	}
	if current.billingAnchor != "" {
		answer.BillingAnchor = &current.billingAnchor
	}
	return answer
}

func linkOf(links map[string]string, name string) *string {
	if link := links[name]; link != "" {
		return &link
	}
	return nil
}
