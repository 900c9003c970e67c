package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"agentmeter/internal/fair"
	"agentmeter/internal/httpapi"
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
	release, err = l.gate.Enter(ctx, string(workspaceFrom(ctx)), 1)
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

// errTimeout is the cause of an answer that took too long.
var errTimeout = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)

// serve runs the answering of one request in its turn. What answer returns is written
// as a problem document; it must not have written anything by then.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, answer func(ctx context.Context) error) {
	if err := s.inTurn(r.Context(), s.config.QueryTimeout, answer); err != nil {
		httpapi.WriteError(w, r, err)
	}
}

// inTurn waits for a slot and runs what answers a question, within its time.
func (s *Service) inTurn(ctx context.Context, timeout time.Duration, answer func(ctx context.Context) error) error {
	release, err := s.limiter.acquire(ctx)
	if err != nil {
		return err
	}
	release = sync.OnceFunc(release)
	defer release()
	ctx = context.WithValue(ctx, slotKey{}, release)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	return answer(ctx)
}

type slotKey struct{}

// writeAnswer answers with v as JSON, after the question's slot has been given back:
// whoever reads slowly keeps nobody else waiting.
func writeAnswer(ctx context.Context, w http.ResponseWriter, r *http.Request, v any) {
	if release, ok := ctx.Value(slotKey{}).(func()); ok {
		release()
	}
	w.Header().Set("Cache-Control", "private, no-cache")
	httpapi.WriteJSON(w, r, http.StatusOK, v)
}
