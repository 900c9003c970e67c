package httpapi

import (
	"container/list"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Limits let each key do so much a second, so that one which does far more than
// the others does not take their turns. Memory is bounded: beyond a number of
// keys the one that was quiet for longest is forgotten, and begins anew.
type Limits struct {
	perSecond, burst, maxKeys int

	mu      sync.Mutex // guards what follows
	buckets map[string]*list.Element
	recent  *list.List // of *bucket, the last used one first
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

// maxLimitKeyBytes bounds what a key takes in memory. Longer ones are cut, and
// share what they begin with: none that is valid is as long.
const maxLimitKeyBytes = 1 << 10

// NewLimits let each of maxKeys keys do perSecond a second, and burst at once.
func NewLimits(perSecond, burst, maxKeys int) *Limits {
	return &Limits{
		perSecond: perSecond, burst: burst, maxKeys: maxKeys,
		buckets: make(map[string]*list.Element), recent: list.New(),
	}
}

// PerSecond is what each key may do.
func (l *Limits) PerSecond() int { return l.perSecond }

// limiter is a key's, which is the last used one from now on. The mutex is held.
func (l *Limits) limiter(key string) *rate.Limiter {
	key = key[:min(len(key), maxLimitKeyBytes)]
	if at := l.buckets[key]; at != nil {
		l.recent.MoveToFront(at)
		return at.Value.(*bucket).limiter //nolint:forcetypeassert // the list holds nothing else
	}
	if len(l.buckets) >= l.maxKeys {
		quiet := l.recent.Back()
		delete(l.buckets, l.recent.Remove(quiet).(*bucket).key) //nolint:forcetypeassert // the list holds nothing else
	}
	b := &bucket{key: strings.Clone(key), limiter: rate.NewLimiter(rate.Limit(l.perSecond), l.burst)}
	l.buckets[b.key] = l.recent.PushFront(b)
	return b.limiter
}

// Take takes one of a key's. If there is none left, wait is how long until there
// is; left is how many there are now.
func (l *Limits) Take(key string, now time.Time) (left int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.limiter(key)
	reservation := limiter.ReserveN(now, 1)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return 0, wait
	}
	return int(limiter.TokensAt(now)), 0
}

// Owe takes n of a key's, whether there are as many or not. What is missing has to
// come in again before the key can take any: it is for work whose size is known
// only once it is done.
func (l *Limits) Owe(key string, n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.limiter(key)
	for n > 0 {
		some := min(n, l.burst)
		limiter.ReserveN(now, some)
		n -= some
	}
}

// Admit takes one of a key's for a request and tells its sender what is left. If
// there is none left it counts that, answers 429 with the detail, and reports false.
func (l *Limits) Admit(w http.ResponseWriter, r *http.Request, key string, limited prometheus.Counter, detail string) bool {
	left, wait := l.Take(key, time.Now())
	l.Tell(w.Header(), left, wait)
	if wait <= 0 {
		return true
	}
	limited.Inc()
	WriteError(w, r, TooMany("rate_limited", detail, wait))
	return false
}

// Tell says by headers what is allowed and what is left of it.
func (l *Limits) Tell(header http.Header, left int, wait time.Duration) {
	header.Set("RateLimit-Limit", strconv.Itoa(l.perSecond))
	header.Set("RateLimit-Remaining", strconv.Itoa(left))
	header.Set("RateLimit-Reset", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
}

// TooMany is a 429 that may be tried again after the given time.
func TooMany(code, detail string, wait time.Duration) *Problem {
	return &Problem{Status: http.StatusTooManyRequests, Code: code, Detail: detail, RetryAfter: wait}
}
