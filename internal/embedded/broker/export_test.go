package broker

import (
	"context"
	"time"
)

// Trim applies the retention as if it were now.
func (b *Broker) Trim(ctx context.Context, now time.Time) error { return b.trim(ctx, now) }
