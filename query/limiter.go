package query

import (
	"context"
	"errors"
	"net/http"
	"time"

	"agentmeter/internal/fair"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// errBusy is told to whoever would wait too long.
var errBusy = errors.New("too many questions at once")

// limiter bounds what is put to ClickHouse at once, and shares it out between
// workspaces, so that one which asks much waits for itself. Beyond that requests
// wait; beyond MaxWaiting of them, or after WaitTimeout, they are refused.
type limiter struct {
	gate    *fair.Gate
	metrics *metrics
}

func newLimiter(config Config, m *metrics) *limiter {
	return &limiter{
		gate: fair.New(fair.Config{
			Capacity: int64(config.MaxConcurrent), MaxWaiting: config.MaxWaiting, MaxWait: config.WaitTimeout,
			Waiting: func(n int64) { m.waiting.Set(float64(n)) },
		}),
		metrics: m,
	}
}

// acquire takes a slot for the workspace that ctx is about, which release gives
// back.
func (l *limiter) acquire(ctx context.Context) (release func(), err error) {
	release, err = l.gate.Enter(ctx, string(askedAbout(ctx)), 1)
	if err != nil {
		return nil, l.metrics.refuse(err, "questions that are answered at once", "questions are being answered", time.Second)
	}
	return release, nil
}

// refuse is the answer where a gate has no room: 429 to a workspace that has its
// share of something, since the others go on, and 503 where too many are under way
// for anybody.
func (m *metrics) refuse(err error, of, underWay string, retryAfter time.Duration) error {
	switch {
	case errors.Is(err, fair.ErrShare):
		m.refused.WithLabelValues("share").Inc()
		problem := httpapi.TooMany("too_many_at_once", "This workspace has its share of the "+of+". Try again.", retryAfter)
		problem.Cause = errBusy
		return problem
	case errors.Is(err, fair.ErrFull):
		m.refused.WithLabelValues("full").Inc()
		return httpapi.Unavailable("busy", "Too many "+underWay+". Try again.", retryAfter, errBusy)
	}
	return err
}

// workspaceAsked is the workspace that a request is about.
func workspaceAsked(r *http.Request) schemas.WorkspaceID {
	if workspace := r.PathValue("ws"); workspace != "" {
		return schemas.WorkspaceID(workspace)
	}
	return schemas.WorkspaceID(r.URL.Query().Get("workspace"))
}

type askedAboutKey struct{}

func withAskedAbout(ctx context.Context, workspace schemas.WorkspaceID) context.Context {
	return context.WithValue(ctx, askedAboutKey{}, workspace)
}

func askedAbout(ctx context.Context) schemas.WorkspaceID {
	workspace, _ := ctx.Value(askedAboutKey{}).(schemas.WorkspaceID)
	return workspace
}
