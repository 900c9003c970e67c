package ingest

import (
	"fmt"
	"net/http"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
)

// maxLimitedKeys bounds of how many keys it is known how much they send: some
// megabytes.
const maxLimitedKeys = 10_000

// newRateLimits lets each key send so many events a second; nil: as many as it can.
func newRateLimits(config Config) *httpapi.Limits {
	if config.RateLimit == 0 {
		return nil
	}
	return httpapi.NewLimits(config.RateLimit, max(2*config.RateLimit, config.MaxEvents), maxLimitedKeys)
}

// limitKey is whose allowance a request uses up: that of whoever holds tokens of
// this subject for this workspace. A token that is renewed brings no new one.
func limitKey(r *http.Request) string {
	access := auth.AccessFrom(r.Context())
	return string(access.Workspace) + "\x00" + access.Subject
}

// limitedMux takes routes that a key may call as long as it has not sent too much.
// It stands behind the guard, so that nobody uses up what is another's, and
// refuses before a body is read. A request costs one event; what else it turns out
// to hold is owed.
type limitedMux struct {
	httpapi.Mux
	limits  *httpapi.Limits
	metrics *metrics
}

func (m limitedMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	detail := fmt.Sprintf("More than %d events a second come with this key. Nothing of this request was accepted; send it again a little later.", m.limits.PerSecond())
	m.Mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if m.limits.Admit(w, r, limitKey(r), m.metrics.limited, detail) {
			handler(w, r)
		}
	})
}

// charge puts the events of a request beyond its first on its key's account.
func (in *Ingest) charge(r *http.Request, events int) {
	if in.limits != nil && events > 1 {
		in.limits.Owe(limitKey(r), events-1, time.Now())
	}
}
