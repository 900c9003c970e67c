package simulate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/internal/eventclient"
	"agentmeter/schemas"
)

// SenderConfig says how traffic is sent.
type SenderConfig struct {
	// Client is required; it decides how long a batch is tried again.
	Client *eventclient.Client
	// Log is required.
	Log *slog.Logger
	// BatchEvents is how many events a request has at most; zero means
	// DefaultBatchEvents.
	BatchEvents int
	// InFlight is how many requests are under way at once; zero means
	// DefaultInFlight.
	InFlight int
	// FlushEvery is how long a stream's events are gathered before they are
	// sent; zero means DefaultFlushEvery.
	FlushEvery time.Duration
	// MaxBehind is how late a stream's events may be sent. Later ones are left
	// out. Zero means DefaultMaxBehind.
	MaxBehind time.Duration
	// Grace is how long requests that are under way when the context ends may
	// take; zero means DefaultGrace.
	Grace time.Duration
	// Progress, where set, is told the totals after each answer, never by two
	// goroutines at once.
	Progress func(Totals)
	// Now is the clock of streams; nil means time.Now.
	Now func() time.Time
}

// The defaults.
const (
	DefaultBatchEvents = 1_000
	DefaultInFlight    = 2
	DefaultFlushEvery  = 200 * time.Millisecond
	DefaultMaxBehind   = 5 * time.Second
	DefaultGrace       = 5 * time.Second
)

const reportEvery = 10 * time.Second

// Validate reports everything that is wrong with the configuration.
func (c SenderConfig) Validate() error {
	var faults []error
	if c.Client == nil {
		faults = append(faults, errors.New("client: is required"))
	}
	if c.Log == nil {
		faults = append(faults, errors.New("log: is required"))
	}
	if c.BatchEvents < 0 || c.InFlight < 0 {
		faults = append(faults, errors.New("batch events, requests in flight: must not be negative"))
	}
	if c.FlushEvery < 0 || c.MaxBehind < 0 || c.Grace < 0 {
		faults = append(faults, errors.New("durations: must not be negative"))
	}
	return errors.Join(faults...)
}

// Totals are what a Sender has done.
type Totals struct {
	Accepted int64
	Rejected int64
	// Skipped events of a stream were due but left out, because the server is
	// slower than the stream.
	Skipped int64
}

// Sender posts events. One Sender runs one Send or Stream at a time.
type Sender struct {
	cfg SenderConfig

	mu           sync.Mutex // guards the fields below
	totals       Totals
	rejectLogged time.Time
}

// NewSender returns a sender.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	if cfg.BatchEvents == 0 {
		cfg.BatchEvents = DefaultBatchEvents
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = DefaultInFlight
	}
	if cfg.FlushEvery == 0 {
		cfg.FlushEvery = DefaultFlushEvery
	}
	if cfg.MaxBehind == 0 {
		cfg.MaxBehind = DefaultMaxBehind
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sender{cfg: cfg}, nil
}

// Totals returns what has been done so far.
func (s *Sender) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

// Send posts all events as fast as the server takes them. It returns when each
// has its answer, at the first request that fails for good, or, when ctx ends,
// after the requests that are under way.
func (s *Sender) Send(ctx context.Context, events iter.Seq[*schemas.Event]) (Totals, error) {
	p := s.newPosts(ctx)
	err := func() error {
		b, err := p.take(ctx)
		if err != nil {
			return err
		}
		for e := range events {
			b.AddEvent(e)
			if b.Len() < s.cfg.BatchEvents {
				continue
			}
			p.post(b)
			if b, err = p.take(ctx); err != nil {
				return err
			}
		}
		p.post(b)
		return nil
	}()
	return s.finish(p, err)
}

// Stream posts a stream's events as they become due, until ctx ends, which is
// not an error, or a request fails for good. While every request slot is busy
// nothing is gathered; what is late by more than MaxBehind by then is left
// out, counted and logged.
func (s *Sender) Stream(ctx context.Context, stream *Stream) (Totals, error) {
	p := s.newPosts(ctx)
	totals, err := s.finish(p, s.stream(ctx, p, stream))
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil
	}
	return totals, err
}

func (s *Sender) stream(ctx context.Context, p *posts, stream *Stream) error {
	lag := lagReport{log: s.cfg.Log}
	for {
		if err := p.wait(ctx, max(s.cfg.FlushEvery, stream.Due().Sub(s.cfg.Now()))); err != nil {
			s.flush(ctx, p, stream)
			return err
		}
		for full := true; full; {
			b, err := p.take(ctx)
			if err != nil {
				s.flush(ctx, p, stream)
				return err
			}
			now := s.cfg.Now()
			lag.behind(ctx, now, s.skip(stream, now.Add(-s.cfg.MaxBehind)))
			full = s.gather(b, stream, now)
			p.post(b)
			if !full {
				lag.level(ctx, now)
			}
		}
	}
}

// gather adds what is due by now and reports whether there may be more.
func (s *Sender) gather(b *eventclient.Batch, stream *Stream, now time.Time) (full bool) {
	for b.Len() < s.cfg.BatchEvents && !stream.Due().After(now) {
		e := stream.Next()
		b.AddEvent(&e)
	}
	return b.Len() == s.cfg.BatchEvents
}

func (s *Sender) skip(stream *Stream, until time.Time) int64 {
	skipped := stream.Skip(until)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Skipped += skipped
	return skipped
}

// flush ends a stream: what is due and fits the free requests is sent, the
// rest is counted as left out.
func (s *Sender) flush(ctx context.Context, p *posts, stream *Stream) {
	now := s.cfg.Now()
	for full := ctx.Err() != nil && p.ctx.Err() == nil; full; {
		select {
		case b := <-p.free:
			b.Reset()
			full = s.gather(b, stream, now)
			p.post(b)
		default:
			full = false
		}
	}
	s.skip(stream, now)
}

// finish waits for the requests that are under way.
func (s *Sender) finish(p *posts, err error) (Totals, error) {
	if postErr := p.finish(); postErr != nil {
		err = postErr // it says more than that ctx ended or that a request failed
	}
	return s.Totals(), err
}

// posts are the requests under way: as many as there are batches to fill.
type posts struct {
	sender *Sender
	free   chan *eventclient.Batch
	group  *errgroup.Group
	// ctx is the requests': it outlives the caller's by the grace, and ends
	// with the first request that fails.
	ctx context.Context //nolint:containedctx // see above
	end func()
}

// errPostFailed stands for the error of a request, which the group keeps.
var errPostFailed = errors.New("a request failed")

func (s *Sender) newPosts(ctx context.Context) *posts {
	lasting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(s.cfg.Grace, func() { cancel(context.Cause(ctx)) })
	})
	group, groupCtx := errgroup.WithContext(lasting)
	p := &posts{sender: s, free: make(chan *eventclient.Batch, s.cfg.InFlight), group: group, ctx: groupCtx}
	for range s.cfg.InFlight {
		p.free <- new(eventclient.Batch)
	}
	p.end = func() {
		stop()
		cancel(nil)
	}
	return p
}

// take returns an empty batch as soon as there is a free one.
func (p *posts) take(ctx context.Context) (*eventclient.Batch, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case b := <-p.free:
		b.Reset()
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.ctx.Done():
		return nil, errPostFailed
	}
}

func (p *posts) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.ctx.Done():
		return errPostFailed
	case <-timer.C:
		return nil
	}
}

// post sends the batch and makes it free again.
func (p *posts) post(b *eventclient.Batch) {
	if b.Len() == 0 {
		p.free <- b
		return
	}
	p.group.Go(func() error {
		answer, err := p.sender.cfg.Client.Post(p.ctx, b)
		if err != nil {
			return fmt.Errorf("send events: %w", err)
		}
		p.sender.answered(p.ctx, answer)
		p.free <- b
		return nil
	})
}

func (p *posts) finish() error {
	defer p.end()
	return p.group.Wait()
}

func (s *Sender) answered(ctx context.Context, answer eventclient.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Accepted += int64(answer.Accepted)
	s.totals.Rejected += int64(len(answer.Rejected))
	if now := time.Now(); len(answer.Rejected) > 0 && (s.rejectLogged.IsZero() || now.Sub(s.rejectLogged) >= reportEvery) {
		s.rejectLogged = now
		first := answer.Rejected[0]
		s.cfg.Log.WarnContext(ctx, "simulated events rejected",
			"rejected", len(answer.Rejected), "rejected_in_all", s.totals.Rejected, "first_code", first.Code, "first_detail", first.Detail)
	}
	if s.cfg.Progress != nil {
		s.cfg.Progress(s.totals)
	}
}

// lagReport logs that a stream falls behind, and that it has caught up.
type lagReport struct {
	log     *slog.Logger
	logged  time.Time
	skipped int64 // since the line before
	lagging bool
}

func (l *lagReport) behind(ctx context.Context, now time.Time, skipped int64) {
	if l.skipped += skipped; skipped == 0 {
		return
	}
	if l.lagging && now.Sub(l.logged) < reportEvery {
		return
	}
	l.log.WarnContext(ctx, "the server is slower than the simulated traffic; events are left out", "left_out", l.skipped)
	l.lagging, l.logged, l.skipped = true, now, 0
}

// level is called when everything that is due has been handed over.
func (l *lagReport) level(ctx context.Context, now time.Time) {
	if !l.lagging || now.Sub(l.logged) < reportEvery {
		return
	}
	l.log.InfoContext(ctx, "the simulated traffic has caught up", "left_out", l.skipped)
	l.lagging, l.skipped = false, 0
}
