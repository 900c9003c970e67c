package query

import (
	"context"
	"net/http"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// GetWorkspace answers GET /v1/workspaces/{ws}: its settings as they are now.
func (s *Service) GetWorkspace(w http.ResponseWriter, r *http.Request, id api.WorkspacePathParam) {
	if schemas.ValidateWorkspaceID("ws", id) != nil {
		httpapi.WriteError(w, r, httpapi.ErrNotFound) // there can be no such workspace
		return
	}
	s.serve(w, r, s.config.QueryTimeout, func(ctx context.Context) error {
		book, err := s.recentBook(ctx, r.Pattern, schemas.WorkspaceID(id))
		if err != nil {
			return err
		}
		held := book.settings.asOf(s.clock().UTC())
		zone, err := held.zone()
		if err != nil {
			return err
		}
		answer := workspaceAnswer(id, held)
		answer.Timezone = zone.String()
		w.Header().Set("Cache-Control", "private, no-cache")
		writeAnswer(ctx, w, r, answer)
		return nil
	})
}

// workspaceAnswer describes a workspace, but for its zone.
func workspaceAnswer(id string, held settings) api.Workspace {
	answer := api.Workspace{
		ID: id, Name: held.name,
		AgentSlots: limited(held.agentSlots), Seats: limited(held.seats),
		SupportEmail: held.supportEmail, ProductName: held.productName,
		Links: api.WorkspaceLinks{
			Billing:          linkOf(held.links, "billing"),
			CreditsExplained: linkOf(held.links, "credits_explained"),
			AutoRecharge:     linkOf(held.links, "auto_recharge"),
			Plans:            linkOf(held.links, "plans"),
			AgentAnalytics:   linkOf(held.links, "agent_analytics"),
		},
	}
	if answer.Name == "" {
		answer.Name = id
	}
	if held.billingAnchor != "" {
		answer.BillingAnchor = &held.billingAnchor
	}
	return answer
}

func linkOf(links map[string]string, name string) *string {
	if link := links[name]; link != "" {
		return &link
	}
	return nil
}
