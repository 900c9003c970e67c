package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"
)

// TraceHeader carries the trace id of every answer.
const TraceHeader = "Trace-Id"

// exchange is what the router knows about the request it is serving.
type exchange struct {
	traceID  string
	log      *slog.Logger
	throttle *throttle
	metrics  *metrics
	draining <-chan struct{}
	attempts *attempts
}

type exchangeKey struct{}

func exchangeFrom(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// TraceID is the trace id of the request that ctx belongs to, 32 hexadecimal
// digits, or "" outside a Router.
func TraceID(ctx context.Context) string {
	if x := exchangeFrom(ctx); x != nil {
		return x.traceID
	}
	return ""
}

// Draining is closed when the server begins to drain. Answers that would go
// on for ever end then; ordinary ones finish. It is nil outside a Router.
func Draining(ctx context.Context) <-chan struct{} {
	if x := exchangeFrom(ctx); x != nil {
		return x.draining
	}
	return nil
}

// traceIDOf takes the trace id from a valid W3C traceparent, or makes one.
func traceIDOf(r *http.Request) string {
	if values := r.Header.Values("Traceparent"); len(values) == 1 {
		if id, ok := parseTraceparent(values[0]); ok {
			return id
		}
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never fails
	return hex.EncodeToString(raw[:])
}

// parseTraceparent reads version-traceid-parentid-flags. Versions after 00 may
// append fields; ff is not a version.
func parseTraceparent(text string) (traceID string, ok bool) {
	const v0Length = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if len(text) < v0Length || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return "", false
	}
	version := text[:2]
	if !lowerHex(version) || version == "ff" || (version == "00" && len(text) != v0Length) ||
		(len(text) > v0Length && text[v0Length] != '-') {
		return "", false
	}
	traceID, parentID := text[3:35], text[36:52]
	if !lowerHex(traceID) || !lowerHex(parentID) || !lowerHex(text[53:55]) ||
		strings.Trim(traceID, "0") == "" || strings.Trim(parentID, "0") == "" {
		return "", false
	}
	return traceID, true
}

func lowerHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
