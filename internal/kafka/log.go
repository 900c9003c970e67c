package kafka

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// repeatedAfter lies at least between two lines that say the same of a broker.
const repeatedAfter = 10 * time.Second

// clientLog passes franz-go's warnings and errors on. Its informational lines
// describe each request's weather and are left to debug level, and so is what it
// repeats of a broker with each attempt: an outage is a line when it begins, one
// from time to time, and one when it is over.
type clientLog struct {
	log *slog.Logger

	mu      sync.Mutex // guards brokers
	brokers map[string]*trouble
}

// trouble is what is said of one broker.
type trouble struct {
	since time.Time // when connecting to it began to fail; zero: it does not
	said  map[string]*said
}

// said is a line that may be repeated.
type said struct {
	last time.Time
	held int // how often it was not repeated since
}

var (
	_ kgo.Logger            = (*clientLog)(nil)
	_ kgo.HookBrokerConnect = (*clientLog)(nil)
)

func newClientLog(log *slog.Logger) *clientLog {
	return &clientLog{log: log, brokers: make(map[string]*trouble)}
}

// Level implements kgo.Logger.
func (l *clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// Log implements kgo.Logger.
func (l *clientLog) Log(level kgo.LogLevel, message string, pairs ...any) {
	at := slog.LevelDebug
	if level == kgo.LogLevelError || level == kgo.LogLevelWarn {
		// The client retries by itself; what it gives up on, it returns.
		at = slog.LevelWarn
		if broker := brokerOf(pairs); broker != "" {
			held, ok := l.allow(broker, message)
			if held > 0 {
				pairs = append(pairs, "similar_lines_held_back", held)
			}
			if !ok {
				at = slog.LevelDebug
			}
		}
	}
	l.log.With("detail", message).Log(context.Background(), at, "kafka client", pairs...)
}

// brokerOf is the broker that a line of franz-go's is about, if it is about one.
func brokerOf(pairs []any) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "broker" {
			name, _ := pairs[i+1].(string)
			return name
		}
	}
	return ""
}

// allow reports whether a line may be said of a broker now, and how many were held
// back since the one before.
func (l *clientLog) allow(broker, message string) (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.of(broker)
	s := t.said[message]
	if s == nil {
		t.said[message] = &said{last: time.Now()}
		return 0, true
	}
	if time.Since(s.last) < repeatedAfter {
		s.held++
		return 0, false
	}
	held, s.held, s.last = s.held, 0, time.Now()
	return held, true
}

// of is what is said of a broker. The mutex is held.
func (l *clientLog) of(broker string) *trouble {
	t := l.brokers[broker]
	if t == nil {
		t = &trouble{said: make(map[string]*said)}
		l.brokers[broker] = t
	}
	return t
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (l *clientLog) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	name := kgo.NodeName(meta.NodeID)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.brokers[name]
	switch {
	case err != nil:
		if t = l.of(name); t.since.IsZero() {
			t.since = time.Now()
		}
	case t != nil && !t.since.IsZero():
		delete(l.brokers, name)
		l.log.Info("kafka broker is reached again", "addr", net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port))), "broker", name, "after", time.Since(t.since).Round(time.Millisecond))
	}
}
