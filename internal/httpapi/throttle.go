package httpapi

import (
	"sync"
	"time"
)

// throttle lets one log line a key and interval through and counts the rest.
// Keys are problem codes and the like, so the map is bounded.
type throttle struct {
	interval time.Duration

	mu   sync.Mutex // guards keys
	keys map[string]*throttled
}

type throttled struct {
	last       time.Time
	suppressed int
}

func newThrottle(interval time.Duration) *throttle {
	return &throttle{interval: interval, keys: make(map[string]*throttled)}
}

// allow reports whether a line of key may be written now, and how many were
// held back since the one before.
func (t *throttle) allow(key string, now time.Time) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[key]
	if k == nil {
		k = &throttled{}
		t.keys[key] = k
	} else if now.Sub(k.last) < t.interval {
		k.suppressed++
		return 0, false
	}
	suppressed = k.suppressed
	k.last, k.suppressed = now, 0
	return suppressed, true
}
