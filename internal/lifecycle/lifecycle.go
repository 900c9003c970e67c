// Package lifecycle starts the stages of a process in order and stops them in
// the opposite order, so that nothing is asked of a stage that has already
// gone.
//
// In flow the stages, downstream first (the engine before the rollup, the
// rollup before ingest). It promises that every stage that was started is
// stopped and waited for, each within its grace, and that the first failure
// stops the rest and is what Run returns.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Stage is one part of a process.
type Stage struct {
	Name string
	// Run blocks until ctx ends and the stage has drained. Returning earlier,
	// with or without an error, ends the process.
	Run func(ctx context.Context) error
	// Ready, where set, is asked until it returns nil before the next stage is
	// started.
	Ready func(ctx context.Context) error
	// Grace bounds how long the stage may take to stop; zero means DefaultGrace.
	Grace time.Duration
}

// DefaultGrace is how long a stage may take to stop.
const DefaultGrace = 15 * time.Second

// ErrStopping is the cause with which stages are told to stop in the ordinary
// way.
var ErrStopping = errors.New("asked to stop")

const readyPoll = 5 * time.Millisecond

type running struct {
	stage  Stage
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // set before done is closed
	told   bool  // its failure is already what Run returns
}

// Run starts the stages one after another, calls onReady once all are ready,
// and returns when ctx has ended, or a stage has, and every stage has stopped.
// An ordinary stop returns nil.
func Run(ctx context.Context, log *slog.Logger, onReady func(context.Context) error, stages ...Stage) error {
	ended := make(chan *running, len(stages))
	var started []*running
	var failure error
	for _, stage := range stages {
		r := start(ctx, stage, ended)
		started = append(started, r)
		if failure = waitReady(ctx, r, ended); failure != nil {
			break
		}
		log.DebugContext(ctx, "stage ready", "stage", stage.Name)
	}
	if failure == nil && ctx.Err() == nil && onReady != nil {
		failure = callReady(ctx, onReady, ended)
	}
	if failure == nil {
		select {
		case <-ctx.Done():
		case r := <-ended:
			failure = r.failure()
		}
	}
	if failure != nil {
		log.ErrorContext(ctx, "stopping", "error", failure)
	}
	return errors.Join(failure, stop(ctx, log, started))
}

// callReady calls onReady, which may wait for what the stages are still about
// to do, and cuts that short when one of them ends instead.
func callReady(ctx context.Context, onReady func(context.Context) error, ended <-chan *running) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var result error
	called := make(chan struct{})
	go func() {
		defer close(called)
		result = onReady(ctx)
	}()
	select {
	case <-called:
		return result
	case r := <-ended:
		cancel()
		<-called // what it makes of being cut short says nothing new
		return r.failure()
	}
}

func start(ctx context.Context, stage Stage, ended chan<- *running) *running {
	// The stage is stopped in its turn, not when ctx ends.
	stageCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &running{stage: stage, cancel: cancel, done: make(chan struct{})}
	go func() {
		r.err = stage.Run(stageCtx)
		close(r.done)
		ended <- r
	}()
	return r
}

// failure says that a stage ended although nobody asked it to.
func (r *running) failure() error {
	r.told = true
	if r.err != nil {
		return fmt.Errorf("%s: %w", r.stage.Name, r.err)
	}
	return fmt.Errorf("%s: ended without being asked to", r.stage.Name)
}

func waitReady(ctx context.Context, r *running, ended <-chan *running) error {
	if r.stage.Ready == nil {
		return nil
	}
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		if err := r.stage.Ready(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case other := <-ended:
			return other.failure()
		case <-ticker.C:
		}
	}
}

func stop(ctx context.Context, log *slog.Logger, started []*running) error {
	var faults []error
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		grace := r.stage.Grace
		if grace == 0 {
			grace = DefaultGrace
		}
		begun := time.Now()
		r.cancel(ErrStopping)
		timer := time.NewTimer(grace)
		select {
		case <-r.done:
			log.DebugContext(ctx, "stage stopped", "stage", r.stage.Name, "took", time.Since(begun))
			if r.err != nil && !r.told && !errors.Is(r.err, ErrStopping) && !errors.Is(r.err, context.Canceled) {
				faults = append(faults, r.failure())
			}
		case <-timer.C:
			faults = append(faults, fmt.Errorf("%s: did not stop within %s", r.stage.Name, grace))
		}
		timer.Stop()
	}
	return errors.Join(faults...)
}
