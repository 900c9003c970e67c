package query

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// How the live stream keeps in touch.
const (
	// liveRetry is after how long a reader whose stream broke comes back.
	liveRetry = 2 * time.Second
	// liveSilence is after how long without news a comment is sent, so that
	// nothing in between takes the connection for dead.
	liveSilence = 15 * time.Second
)

// GetLive answers GET /v1/usage/live: a stream of watermarks, one whenever more
// has been counted. It ends when the reader goes, when its access expires, when
// the server drains, or when ClickHouse cannot be asked; the reader comes back,
// and says by Last-Event-ID what it has heard, so that it need not read its
// figures again where nothing has moved.
func (s *Service) GetLive(w http.ResponseWriter, r *http.Request, _ api.GetLiveParams) {
	p := readParameters(r)
	workspace := p.workspace()
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	if err := s.live.Take(string(workspace), 1); err != nil {
		httpapi.WriteError(w, r, s.metrics.refuse(err, "streams that are open", "streams are open", liveRetry))
		return
	}
	s.metrics.live.Inc()
	defer func() {
		s.metrics.live.Dec()
		s.live.Give(string(workspace), 1)
	}()
	stream := &liveStream{service: s, w: w, route: r.Pattern, workspace: workspace, heard: r.Header.Get(lastEventID)}
	update, err := stream.look(r.Context())
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // a proxy must not hold news back
	w.WriteHeader(http.StatusOK)
	opening := fmt.Appendf(nil, "retry: %d\n\n", liveRetry.Milliseconds())
	if stream.send(opening) != nil || stream.send(stream.event(update)) != nil {
		return
	}
	stream.run(r.Context())
}

type liveStream struct {
	service   *Service
	w         http.ResponseWriter
	route     string
	workspace schemas.WorkspaceID

	last  watermark
	heard string // the id of the last event that the reader has, whatever it says itself

	known     bool            // whether it was looked at the figures before
	positions string          // how far the workspace's partitions were counted then, as a watermark says it
	at        map[int32]int64 // the same by partition
	// unsure says how often a partition has yet to move until all that was in the
	// totals, when they last changed, is in every rollup for sure. A block may be in
	// one and not in another when its figures are asked for; it is the one after
	// what was known to be counted, or after what is known the next time.
	unsure map[int32]int
}

// surelyAfter is how many moves of a partition that takes.
const surelyAfter = 2

// lastEventID is the header in which a reader that comes back names the last
// event that it has received.
const lastEventID = "Last-Event-ID"

// liveID names what has been counted of a workspace, Playground tests included.
// Whoever has heard it and asks for figures with it gets all of that, from
// whichever process. It says nothing of how far the watermark was, which moves
// while a workspace is idle. Every process makes the same.
func liveID(workspace schemas.WorkspaceID, t *workspaceTotals) string {
	counted := t.before(lastEdge)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%d\n%d\n%d", workspace,
		counted.credits, counted.messages, counted.events, t.tests.messages, t.tests.events))
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}

func (l *liveStream) run(ctx context.Context) {
	tick := time.NewTicker(l.service.config.LiveInterval)
	defer tick.Stop()
	var expiry <-chan time.Time
	if expires := auth.AccessFrom(ctx).Expires; !expires.IsZero() {
		timer := time.NewTimer(time.Until(expires))
		defer timer.Stop()
		expiry = timer.C
	}
	spoken := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-httpapi.Draining(ctx):
			return
		case <-expiry:
			return
		case <-tick.C:
		}
		before := l.last
		update, err := l.look(ctx)
		if err != nil {
			if ctx.Err() == nil {
				l.service.log.WarnContext(ctx, "live stream ended", "error", err, "trace_id", httpapi.TraceID(ctx))
			}
			return
		}
		message := l.event(update)
		if !update.Changed && l.last.countedThrough.Equal(before.countedThrough) {
			if time.Since(spoken) < liveSilence {
				continue
			}
			message = []byte(": still here\n\n")
		}
		if l.send(message) != nil {
			return
		}
		spoken = time.Now()
	}
}

// look reads the watermark and, where partitions of the workspace have moved,
// whether it is this workspace that has new figures.
func (l *liveStream) look(ctx context.Context) (api.LiveUpdate, error) {
	var update api.LiveUpdate
	err := l.service.inTurn(ctx, l.service.config.QueryTimeout, func(ctx context.Context) error {
		progress, err := l.service.recentProgress(ctx, l.route)
		if err != nil {
			return err
		}
		now := l.service.clock().UTC()
		l.last = watermarkOf(l.workspace, progress).asOf(now)
		freshness := l.last.freshness(now)
		update.CountedThrough, update.LagSeconds = freshness.CountedThrough, freshness.LagSeconds
		if l.known && l.last.positions == l.positions {
			return nil
		}
		l.positions = l.last.positions
		at := map[int32]int64{}
		for _, p := range ownProgress(l.workspace, progress) {
			at[p.partition] = p.position
		}
		// Here figures begin, too.
		totals, err := l.service.totalsOf(ctx, usageRequest{route: l.route, workspace: l.workspace}, now, l.last)
		if err != nil {
			return err
		}
		// A reader that has heard nothing yet, or something that is not known here, may
		// have read its figures a moment too early.
		id := liveID(l.workspace, totals)
		news := id != l.heard
		update.Changed = news
		for partition, position := range at {
			if l.unsure[partition] > 0 && l.at[partition] != position {
				l.unsure[partition]--
				update.Changed = true
			}
		}
		if news || !l.known {
			l.unsure = map[int32]int{}
			for partition := range at {
				l.unsure[partition] = surelyAfter
			}
		}
		l.heard, l.known, l.at = id, true, at
		return nil
	})
	return update, err
}

// event is what is sent of an update.
func (l *liveStream) event(update api.LiveUpdate) []byte {
	data, err := json.Marshal(update)
	if err != nil {
		panic("query: encode live update: " + err.Error()) // a time, a number and a bool
	}
	return fmt.Appendf(nil, "event: watermark\nid: %s\ndata: %s\n\n", l.heard, data)
}

func (l *liveStream) send(message []byte) error {
	control := http.NewResponseController(l.w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // else the server's, which is for answers that end
	if _, err := l.w.Write(message); err != nil {
		return err
	}
	return control.Flush()
}
