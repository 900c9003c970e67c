package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/internal/pause"
)

func TestAPauseLastsAsLongAsItIsSaidTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !pause.For(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("it took %s", time.Since(began))
		}
	})
}

func TestAPauseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if pause.For(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("it took %s", time.Since(began))
		}
		if pause.For(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Error("it waited for a context that had ended")
		}
	})
}

func TestThereIsNoPauseWhereNothingIsToBeWaitedFor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	for _, d := range []time.Duration{0, -time.Hour} {
		if !pause.For(ctx, d) {
			t.Errorf("a pause of %s did not pass", d)
		}
	}
	cancel()
	for range 100 { // a timer and a context that are both over would be drawn from
		if pause.For(ctx, 0) {
			t.Fatal("a pause passed though its context had ended")
		}
	}
}
