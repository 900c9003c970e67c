package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/internal/lifecycle"
)

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) stage(name string, delay time.Duration) lifecycle.Stage {
	ready := make(chan struct{})
	return lifecycle.Stage{
		Name: name,
		Run: func(ctx context.Context) error {
			time.Sleep(delay)
			j.add("start " + name)
			close(ready)
			<-ctx.Done()
			time.Sleep(delay)
			j.add("stop " + name)
			return context.Cause(ctx)
		},
		Ready: func(context.Context) error {
			select {
			case <-ready:
				return nil
			default:
				return errors.New("not yet")
			}
		},
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestStagesStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var j journal
		err := lifecycle.Run(ctx, discard(), func(context.Context) error { j.add("ready"); cancel(); return nil },
			j.stage("engine", 3*time.Second), j.stage("rollup", time.Second), j.stage("http", 2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"start engine", "start rollup", "start http", "ready", "stop http", "stop rollup", "stop engine"}
		if !slices.Equal(j.lines, want) {
			t.Errorf("got %v, want %v", j.lines, want)
		}
	})
}

func TestFailedStageStopsTheOthersAndIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		broke := errors.New("broke")
		err := lifecycle.Run(t.Context(), discard(), nil, j.stage("engine", time.Second), lifecycle.Stage{
			Name: "rollup",
			Run:  func(context.Context) error { time.Sleep(time.Minute); return broke },
		})
		if !errors.Is(err, broke) {
			t.Errorf("got %v, want it to wrap %v", err, broke)
		}
		if want := []string{"start engine", "stop engine"}; !slices.Equal(j.lines, want) {
			t.Errorf("got %v, want %v", j.lines, want)
		}
	})
}

func TestStageThatFailsBeforeItIsReadyEndsTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		broke := errors.New("no library")
		never := errors.New("not yet")
		err := lifecycle.Run(t.Context(), discard(), nil,
			lifecycle.Stage{
				Name:  "engine",
				Run:   func(context.Context) error { return broke },
				Ready: func(context.Context) error { return never },
			},
			j.stage("rollup", time.Second))
		if !errors.Is(err, broke) {
			t.Errorf("got %v, want it to wrap %v", err, broke)
		}
		if len(j.lines) != 0 {
			t.Errorf("later stages ran: %v", j.lines)
		}
	})
}

func TestStageThatDoesNotStopIsLeftAfterItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		begun := time.Now()
		err := lifecycle.Run(ctx, discard(), func(context.Context) error { cancel(); return nil }, lifecycle.Stage{
			Name:  "stuck",
			Run:   func(context.Context) error { <-release; return nil },
			Grace: 4 * time.Second,
		})
		if err == nil {
			t.Error("a stage that did not stop was not reported")
		}
		if took := time.Since(begun); took != 4*time.Second {
			t.Errorf("waited %s, want the grace of 4s", took)
		}
		close(release)
	})
}

func TestStageThatFailsWhileOthersWaitToBeReadyEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broke := errors.New("foreign topic")
		err := lifecycle.Run(t.Context(), discard(), func(ctx context.Context) error {
			<-ctx.Done() // as a readiness that never comes
			return ctx.Err()
		}, lifecycle.Stage{Name: "rollup", Run: func(context.Context) error { time.Sleep(time.Second); return broke }})
		if !errors.Is(err, broke) {
			t.Errorf("got %v, want it to wrap %v", err, broke)
		}
	})
}
