// Package pause waits for a while, unless there is nobody to wait for any more.
package pause

import (
	"context"
	"time"
)

// For waits until d has passed or ctx has ended, and reports whether all of d passed. Where
// d is not positive it reports at once whether ctx is still going.
func For(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
