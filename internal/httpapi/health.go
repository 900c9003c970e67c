package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"agentmeter/schemas/api"
)

// Bounds of a readiness check.
const (
	checkTimeout = 2 * time.Second
	// readinessAge is for how long an answer serves again: /readyz needs no
	// token, so asking it often must not become load on Kafka or ClickHouse.
	readinessAge = 500 * time.Millisecond
	// startingAge is the same until it has been ready once: whoever waits for
	// that does not wait for us to look again.
	startingAge = 20 * time.Millisecond
)

// Health says whether the process lives and whether it can do its work.
type Health struct {
	log      *slog.Logger
	draining chan struct{}
	drain    sync.Once

	mu      sync.Mutex // guards what follows, and makes checks run once at a time
	checks  []readinessCheck
	last    api.Readiness
	checked time.Time
	started bool // it has been ready
}

type readinessCheck struct {
	name  string
	check func(context.Context) error
	known bool // whether ok is known
	ok    bool
}

// NewHealth makes a Health that is not ready until it has checks.
func NewHealth(log *slog.Logger) *Health {
	return &Health{log: log, draining: make(chan struct{})}
}

// AddCheck adds something that must work for the process to be ready. The
// check must return when its context ends.
func (h *Health) AddCheck(name string, check func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, readinessCheck{name: name, check: check})
	h.checked = time.Time{}
}

// Drain makes the process not ready for good. It may be called more than once.
func (h *Health) Drain() { h.drain.Do(func() { close(h.draining) }) }

// Draining is closed by Drain.
func (h *Health) Draining() <-chan struct{} { return h.draining }

// Readiness runs the checks, all at once, unless it has just done so.
func (h *Health) Readiness(ctx context.Context) api.Readiness {
	h.mu.Lock()
	defer h.mu.Unlock()
	age := readinessAge
	if !h.started {
		age = startingAge
	}
	if time.Since(h.checked) > age {
		h.last, h.checked = h.run(ctx), time.Now()
		h.started = h.started || h.last.Status == api.Ready
	}
	readiness := h.last
	select {
	case <-h.draining:
		readiness.Status = api.Draining
	default:
	}
	return readiness
}

func (h *Health) run(ctx context.Context) api.Readiness {
	// Another caller may be served this answer, so the first one's going away
	// must not spoil it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	faults := make([]error, len(h.checks))
	var running sync.WaitGroup
	for i := range h.checks {
		running.Go(func() { faults[i] = h.checks[i].check(ctx) })
	}
	running.Wait()

	readiness := api.Readiness{Status: api.Ready, Checks: make([]api.ReadinessCheck, len(h.checks))}
	if len(h.checks) == 0 {
		readiness.Status = api.NotReady
	}
	for i := range h.checks {
		c := &h.checks[i]
		ok := faults[i] == nil
		if !ok {
			readiness.Status = api.NotReady
		}
		readiness.Checks[i] = api.ReadinessCheck{Name: c.name, Ok: ok}
		switch {
		case !ok && (!c.known || c.ok && !h.started):
			// Starting takes its time, which is nothing to be warned of, not even where a
			// check has passed before another one does.
			h.log.InfoContext(ctx, "readiness check not passing yet", "check", c.name, "reason", faults[i])
		case !ok && c.ok:
			h.log.WarnContext(ctx, "readiness check failing", "check", c.name, "error", faults[i])
		case ok && c.known && !c.ok:
			h.log.InfoContext(ctx, "readiness check passing", "check", c.name)
		}
		c.known, c.ok = true, ok
	}
	return readiness
}

// ServeHealth answers GET /healthz: the process lives.
func (h *Health) ServeHealth(w http.ResponseWriter, r *http.Request) {
	WriteJSON(w, r, http.StatusOK, api.Health{Status: "ok"})
}

// ServeReadiness answers GET /readyz. Why a check fails goes to the log, not to
// a caller without a token.
func (h *Health) ServeReadiness(w http.ResponseWriter, r *http.Request) {
	readiness := h.Readiness(r.Context())
	status := http.StatusOK
	if readiness.Status != api.Ready {
		status = http.StatusServiceUnavailable
	}
	WriteJSON(w, r, status, readiness)
}
