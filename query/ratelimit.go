package query

import (
	"context"
	"fmt"
	"net/http"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// maxLimitedWorkspaces bounds of how many workspaces it is known how much they
// ask: some megabytes.
const maxLimitedWorkspaces = 10_000

// newRateLimits lets each workspace ask so many questions a second, twice as many
// in a burst. What comes too fast is refused at once, before anything is read.
// With 0 each asks as many as it likes.
func newRateLimits(perSecond int) *httpapi.Limits {
	if perSecond == 0 {
		return nil
	}
	return httpapi.NewLimits(perSecond, 2*perSecond, maxLimitedWorkspaces)
}

// limitedMux takes routes whose handlers a workspace may call so many times a
// second, and tells them which it is. It stands behind the guard, so that nobody uses
// up what is another's.
type limitedMux struct {
	httpapi.Mux
	limits  *httpapi.Limits // nil: there are none
	metrics *metrics
}

func (m limitedMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	detail := ""
	if m.limits != nil {
		detail = fmt.Sprintf("This workspace asks more than %d questions a second. Ask again a little later.", m.limits.PerSecond())
	}
	m.Mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		workspace := workspaceOf(r)
		if m.limits == nil || m.limits.Admit(w, r, string(workspace), m.metrics.limited, detail) {
			handler(w, r.WithContext(withWorkspace(r.Context(), workspace)))
		}
	})
}

// workspaceOf is the workspace that a request is about.
func workspaceOf(r *http.Request) schemas.WorkspaceID {
	if workspace := r.PathValue("ws"); workspace != "" {
		return schemas.WorkspaceID(workspace)
	}
	return schemas.WorkspaceID(r.URL.Query().Get("workspace"))
}

type workspaceKey struct{}

func withWorkspace(ctx context.Context, workspace schemas.WorkspaceID) context.Context {
	return context.WithValue(ctx, workspaceKey{}, workspace)
}

func workspaceFrom(ctx context.Context) schemas.WorkspaceID {
	workspace, _ := ctx.Value(workspaceKey{}).(schemas.WorkspaceID)
	return workspace
}
