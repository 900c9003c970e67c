package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sethvargo/go-retry"
)

// Retries says how often, for how long and with which waits a request is tried
// again. It is the only retry policy that this repository's clients have.
type Retries struct {
	// Attempts is how often a request is sent at most; zero means
	// DefaultAttempts, 1 that nothing is tried again, and a negative number that
	// only For bounds it.
	Attempts int
	// For is for how long a request is tried again, counted from its first
	// failure; zero means DefaultRetryFor.
	For time.Duration
	// MinBackoff and MaxBackoff bound the waits between attempts, which double
	// from one to the next, give or take a quarter; zero means the defaults. A
	// longer Retry-After of the server's is honoured.
	MinBackoff, MaxBackoff time.Duration
	// OnRetry, where set, is told before each wait, from several goroutines at
	// once if several use the client.
	OnRetry func(Retry)
}

// The defaults of Retries. Six attempts take about three seconds.
const (
	DefaultAttempts   = 6
	DefaultRetryFor   = 2 * time.Minute
	DefaultMinBackoff = 100 * time.Millisecond
	DefaultMaxBackoff = 10 * time.Second
)

// Retry tells of a failed attempt after which the client waits and tries again.
type Retry struct {
	Err     error
	Attempt int // the failed attempt's number, from 1
	Wait    time.Duration
	GiveUp  time.Time // when it stops trying, at the latest
}

func (r Retries) validate() error {
	var faults []error
	if r.For < 0 {
		faults = append(faults, errors.New("retries: the time to try for is negative"))
	}
	if r.MinBackoff < 0 || r.MaxBackoff < 0 {
		faults = append(faults, errors.New("backoff: a wait is negative"))
	} else if r.MaxBackoff > 0 && r.MinBackoff > r.MaxBackoff {
		faults = append(faults, errors.New("backoff: the least wait is longer than the longest"))
	}
	return errors.Join(faults...)
}

func (r Retries) withDefaults() Retries {
	if r.Attempts == 0 {
		r.Attempts = DefaultAttempts
	}
	if r.For == 0 {
		r.For = DefaultRetryFor
	}
	if r.MinBackoff == 0 {
		r.MinBackoff = DefaultMinBackoff
		if r.MaxBackoff > 0 {
			r.MinBackoff = min(r.MinBackoff, r.MaxBackoff)
		}
	}
	if r.MaxBackoff == 0 {
		r.MaxBackoff = max(r.MinBackoff, DefaultMaxBackoff)
	}
	return r
}

func (r Retries) backoff() retry.Backoff {
	return retry.WithCappedDuration(r.MaxBackoff, retry.WithJitterPercent(25, retry.NewExponential(r.MinBackoff)))
}

// GaveUpError is returned when a request could not be completed within Retries,
// or before the context's deadline. Nothing is known about a write: it may have
// been done or not, and can be sent again later.
type GaveUpError struct {
	Attempts int
	Tried    time.Duration // since the first failure
	Last     error
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("gave up after %s: %v", e.Tried.Round(100*time.Millisecond), e.Last)
}

func (e *GaveUpError) Unwrap() error { return e.Last }

// errTimeout is the cause with which one attempt is given up.
var errTimeout = errors.New("no answer in time")

// connectionError is whatever happened between sending a request and having read
// its answer: the network's or a restart's doing.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// safety says what sending an operation twice would do.
type safety uint8

const (
	// reads change nothing.
	reads safety = iota
	// writes come to the same if they are done twice: an id counts once, and
	// stating the same again changes nothing.
	writes
	// onceOnly makes something new each time.
	onceOnly
)

// retryable decides whether the same request may succeed later. It is the only
// place that does.
func (s safety) retryable(err error) bool {
	var problem *Problem
	var broken *connectionError
	var certificate *tls.CertificateVerificationError
	switch {
	case s == onceOnly:
		return false
	case errors.As(err, &problem):
		switch problem.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		default:
			// A write may have been lost with whatever failed. A read lost nothing,
			// and would most likely meet the same fault again.
			return s == writes && problem.Status >= http.StatusInternalServerError
		}
	case errors.As(err, &certificate):
		return false // it would not become valid within minutes
	default:
		return errors.As(err, &broken)
	}
}

// do makes attempts until one succeeds, one fails for good, or patience ends.
func (c *Client) do(ctx context.Context, op operation) error {
	at, err := c.source.address(ctx, false)
	if err != nil {
		return err
	}
	backoff := c.retries.backoff()
	attempts := c.retries.Attempts
	if op.untiring && attempts != 1 {
		attempts = -1
	}
	var firstFailure time.Time
	renewed := false
	for n := 1; ; n++ {
		lost := false // whether it is not known where the server is
		if at.baseURL == "" {
			lost = true
		} else {
			err = c.attempt(ctx, at, op)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !renewed && hasStatus(err, http.StatusUnauthorized) {
			// The token may have run out; a new one gets one try at once.
			renewed = true
			if next, askErr := c.source.address(ctx, true); askErr == nil && next != at {
				at = next
				continue
			}
		}
		if !lost && !op.safety.retryable(err) {
			return err
		}
		now := time.Now()
		if firstFailure.IsZero() {
			firstFailure = now
		}
		wait, _ := backoff.Next()
		var problem *Problem
		if errors.As(err, &problem) {
			wait = max(wait, problem.RetryAfter)
		}
		giveUp := firstFailure.Add(c.retries.For)
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(giveUp) {
			giveUp = deadline
		}
		if n == attempts || now.Add(wait).After(giveUp) {
			return &GaveUpError{Attempts: n, Tried: now.Sub(firstFailure), Last: err}
		}
		if c.retries.OnRetry != nil {
			c.retries.OnRetry(Retry{Err: err, Attempt: n, Wait: wait, GiveUp: giveUp})
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		if at, err = c.source.address(ctx, true); err != nil {
			at = address{} // it may be about to start again
		}
	}
}

func hasStatus(err error, status int) bool {
	var problem *Problem
	return errors.As(err, &problem) && problem.Status == status
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads a Retry-After header: seconds or an HTTP date. Zero means
// that there is none that makes sense.
func retryAfter(header string, now time.Time) time.Duration {
	if header == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
