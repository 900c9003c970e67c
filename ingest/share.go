package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/auth"
	"agentmeter/internal/fair"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// What requests may hold is shared out between those who send. A body and what
// becomes of it count against one budget of memory, which makes nobody wait; being
// decoded, sent and acknowledged happens by turns, for which a request waits a
// moment: what one sender has under way is never long in front of another's.

// Bounds of the line for a turn.
const (
	maxWaiting = 512
	maxWait    = time.Second
	// minTurnBytes is what the smallest request counts: with the linger of the
	// producer it takes its time, however small it is.
	minTurnBytes = 16 << 10
)

// senderOf names whose share a request is of: a workspace's, whatever token it
// uses, or, of a token that covers all, its subject's.
func senderOf(ctx context.Context) string {
	access := auth.AccessFrom(ctx)
	if access.Workspace == schemas.AllWorkspaces {
		return "*" + access.Subject
	}
	return string(access.Workspace)
}

// holding is what something has of the budget.
type holding struct {
	in     *Ingest
	sender string
	paid   int64
	owed   int64 // in memory already, and not paid yet
}

func (in *Ingest) holding(ctx context.Context) holding {
	return holding{in: in, sender: senderOf(ctx)}
}

// payAtOnce is how much may be owed, so that not every item costs a lock.
const payAtOnce = 64 << 10

// pay takes from the budget what is owed.
func (h *holding) pay() error { return h.take(0) }

// take takes what is owed, and n bytes beyond.
func (h *holding) take(n int64) error {
	n += h.owed
	if n == 0 {
		return nil
	}
	if err := h.in.budget.Take(h.sender, n); err != nil {
		return h.in.refuse(err, "memory")
	}
	h.paid, h.owed = h.paid+n, 0
	return nil
}

// release gives everything back. Another release does nothing.
func (h *holding) release() {
	if h.paid > 0 {
		h.in.budget.Give(h.sender, h.paid)
	}
	h.paid, h.owed = 0, 0
}

// turn waits until a request of so many bytes may be decoded and sent.
func (in *Ingest) turn(ctx context.Context, bytes int) (leave func(), err error) {
	leave, err = in.turns.Enter(ctx, senderOf(ctx), int64(max(bytes, minTurnBytes)))
	if errors.Is(err, fair.ErrFull) || errors.Is(err, fair.ErrShare) {
		return nil, in.refuse(err, "turn")
	}
	return leave, err
}

// refuse is the answer where there is no room: to a sender that has its share 429,
// since the others go on, and 503 where nobody can.
func (in *Ingest) refuse(err error, of string) error {
	const retryAfter = time.Second
	if errors.Is(err, fair.ErrShare) {
		in.metrics.refused.WithLabelValues(of, "share").Inc()
		problem := httpapi.TooMany("too_much_in_flight", "This sender has its share of what can be in flight. Nothing of this request was accepted; send it again a little later.", retryAfter)
		problem.Cause = err
		return problem
	}
	in.metrics.refused.WithLabelValues(of, "full").Inc()
	return httpapi.Unavailable("overloaded", "Too much is in flight at this moment. Nothing of this request was accepted; send it again.", retryAfter, err)
}

func gauge(g prometheus.Gauge) func(int64) {
	return func(n int64) { g.Set(float64(n)) }
}
