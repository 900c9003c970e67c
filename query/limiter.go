package query

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"agentmeter/internal/httpapi"
)

// errBusy is told to whoever would wait too long.
var errBusy = errors.New("too many questions at once")

// limiter bounds what is put to ClickHouse at once. Beyond that requests wait,
// first come first served; beyond maxWaiting of them, or after waitTimeout,
// they are refused.
type limiter struct {
	slots       chan struct{}
	waiting     atomic.Int64
	maxWaiting  int64
	waitTimeout time.Duration
	metrics     *metrics
}

func newLimiter(config Config, m *metrics) *limiter {
	return &limiter{
		slots:       make(chan struct{}, config.MaxConcurrent),
		maxWaiting:  int64(config.MaxWaiting),
		waitTimeout: config.WaitTimeout,
		metrics:     m,
	}
}

// acquire takes a slot, which release gives back.
func (l *limiter) acquire(ctx context.Context) (release func(), err error) {
	release = func() { <-l.slots }
	select {
	case l.slots <- struct{}{}:
		return release, nil
	default:
	}
	if l.waiting.Add(1) > l.maxWaiting {
		l.waiting.Add(-1)
		return nil, l.refuse()
	}
	l.metrics.waiting.Inc()
	defer func() {
		l.waiting.Add(-1)
		l.metrics.waiting.Dec()
	}()
	timer := time.NewTimer(l.waitTimeout)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return release, nil
	case <-timer.C:
		return nil, l.refuse()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *limiter) refuse() error {
	l.metrics.refused.Inc()
	return httpapi.Unavailable("busy", "Too many questions are being answered. Try again.", time.Second, errBusy)
}
