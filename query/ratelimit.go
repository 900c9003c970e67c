package query

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// rateLimits lets each workspace ask so many questions a second, so that one
// which asks far more than the others does not take their turns. What comes too
// fast is refused at once, before anything is read.
type rateLimits struct {
	perSecond, burst int
	metrics          *metrics

	mu         sync.Mutex // guards what follows
	workspaces map[schemas.WorkspaceID]*rate.Limiter
	swept      time.Time
}

// sweepEvery is how often workspaces that ask nothing are forgotten. By then
// their burst is whole again, so that nothing is lost.
const sweepEvery = time.Minute

func newRateLimits(perSecond int, m *metrics) *rateLimits {
	return &rateLimits{
		perSecond: perSecond, burst: 2 * perSecond, metrics: m,
		workspaces: map[schemas.WorkspaceID]*rate.Limiter{},
	}
}

// take takes one question of a workspace's. If there is none left, wait is how
// long until there is; left is how many there are now.
func (l *rateLimits) take(workspace schemas.WorkspaceID, now time.Time) (left int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) > sweepEvery {
		for id, limiter := range l.workspaces {
			if limiter.TokensAt(now) >= float64(l.burst) {
				delete(l.workspaces, id)
			}
		}
		l.swept = now
	}
	limiter := l.workspaces[workspace]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Limit(l.perSecond), l.burst)
		l.workspaces[workspace] = limiter
	}
	reservation := limiter.ReserveN(now, 1)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return 0, wait
	}
	return int(limiter.TokensAt(now)), 0
}

// limitedMux takes routes whose handlers a workspace may call so many times a
// second. It stands behind the guard, so that nobody uses up what is another's.
type limitedMux struct {
	httpapi.Mux
	limits *rateLimits
}

func (m limitedMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	m.Mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		workspace := r.PathValue("ws")
		if workspace == "" {
			workspace = r.URL.Query().Get("workspace")
		}
		left, wait := m.limits.take(schemas.WorkspaceID(workspace), time.Now())
		header := w.Header()
		header.Set("RateLimit-Limit", strconv.Itoa(m.limits.perSecond))
		header.Set("RateLimit-Remaining", strconv.Itoa(left))
		header.Set("RateLimit-Reset", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		if wait > 0 {
			m.limits.metrics.limited.Inc()
			httpapi.WriteError(w, r, &httpapi.Problem{
				Status: http.StatusTooManyRequests, Code: "rate_limited",
				Detail:     "This workspace asks more than " + strconv.Itoa(m.limits.perSecond) + " questions a second. Ask again a little later.",
				RetryAfter: wait,
			})
			return
		}
		handler(w, r)
	})
}
