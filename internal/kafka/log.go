package kafka

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"
)

// slogAdapter passes franz-go's warnings and errors on. Its informational
// lines describe each request's weather and are left to debug level.
type slogAdapter struct {
	log *slog.Logger
}

func (a slogAdapter) Level() kgo.LogLevel {
	if a.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (a slogAdapter) Log(level kgo.LogLevel, message string, pairs ...any) {
	at := slog.LevelDebug
	if level == kgo.LogLevelError || level == kgo.LogLevelWarn {
		// The client retries by itself; what it gives up on, it returns.
		at = slog.LevelWarn
	}
	a.log.With("detail", message).Log(context.Background(), at, "kafka client", pairs...)
}
