package query

import (
	"net/http"
	"strconv"
	"time"

	"agentmeter/internal/httpapi"
)

// maxLimitedWorkspaces bounds of how many workspaces it is known how much they
// ask: some megabytes.
const maxLimitedWorkspaces = 10_000

// newRateLimits lets each workspace ask so many questions a second, twice as many
// in a burst. What comes too fast is refused at once, before anything is read.
func newRateLimits(perSecond int) *httpapi.Limits {
	return httpapi.NewLimits(perSecond, 2*perSecond, maxLimitedWorkspaces)
}

// limitedMux takes routes whose handlers a workspace may call so many times a
// second. It stands behind the guard, so that nobody uses up what is another's.
type limitedMux struct {
	httpapi.Mux
	limits  *httpapi.Limits
	metrics *metrics
}

func (m limitedMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.Mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		workspace := workspaceAsked(r)
		left, wait := m.limits.Take(string(workspace), time.Now())
		m.limits.Tell(w.Header(), left, wait)
		if wait > 0 {
			m.metrics.limited.Inc()
			httpapi.WriteError(w, r, httpapi.TooMany("rate_limited",
				"This workspace asks more than "+strconv.Itoa(m.limits.PerSecond())+" questions a second. Ask again a little later.", wait))
			return
		}
		handler(w, r.WithContext(withAskedAbout(r.Context(), workspace)))
	})
}
