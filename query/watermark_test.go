package query

import (
	"testing"
	"time"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func TestBarsSayHowFarTheyCanBeTrusted(t *testing.T) {
	t.Parallel()
	now := frozen
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	bar := func(from, to time.Duration) schemas.Interval {
		return schemas.Interval{Start: ago(from), End: ago(to)}
	}
	fresh := watermark{countedThrough: ago(time.Second)}
	tests := []struct {
		name string
		w    watermark
		bar  schemas.Interval
		want api.BarState
	}{
		{"long ended", fresh, bar(3*time.Hour, 2*time.Hour), api.BarFinal},
		{"ended ten minutes before", fresh, bar(time.Hour, 10*time.Minute+time.Second), api.BarFinal},
		{"ended a little less before", fresh, bar(time.Hour, 10*time.Minute), api.BarSettling},
		{"ended as it was counted", fresh, bar(time.Hour, time.Second), api.BarSettling},
		{"ends after what was counted", fresh, bar(time.Hour, time.Second-time.Millisecond), api.BarInProgress},
		{"begun and not ended", fresh, bar(time.Minute, -time.Hour), api.BarInProgress},
		{"begins now", fresh, bar(0, -time.Hour), api.BarFuture},
		{"begins later", fresh, bar(-time.Hour, -2*time.Hour), api.BarFuture},
		{"nothing is known", watermark{}, bar(3*time.Hour, 2*time.Hour), api.BarInProgress},
		{"nothing is known of what has not begun", watermark{}, bar(-time.Hour, -2*time.Hour), api.BarFuture},
		{"before a halt", watermark{ago(time.Hour), ago(time.Hour), "", ""}, bar(3*time.Hour, 2*time.Hour), api.BarFinal},
		{"across a halt", watermark{ago(time.Hour), ago(time.Hour), "", ""}, bar(2*time.Hour, 30*time.Minute), api.BarMissing},
		{"after a halt", watermark{ago(time.Hour), ago(time.Hour), "", ""}, bar(30*time.Minute, -time.Minute), api.BarMissing},
		{"up to a halt", watermark{ago(time.Hour), ago(time.Hour), "", ""}, bar(2*time.Hour, time.Hour), api.BarSettling},
		{"to come, with a halt", watermark{ago(time.Hour), ago(time.Hour), "", ""}, bar(-time.Minute, -time.Hour), api.BarFuture},
	}
	for _, tt := range tests {
		if got := tt.w.state(tt.bar, now); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestNothingIsCountedAheadOfTheClock(t *testing.T) {
	t.Parallel()
	ahead := watermark{countedThrough: frozen.Add(time.Minute)}.asOf(frozen)
	if !ahead.countedThrough.Equal(frozen) {
		t.Errorf("a consumer whose clock runs ahead has counted through %s, want %s", ahead.countedThrough, frozen)
	}
	current := schemas.Interval{Start: frozen.Add(-time.Hour), End: frozen.Add(time.Second)}
	if got := ahead.state(current, frozen); got != api.BarInProgress {
		t.Errorf("a bar that has not ended is %s, want %s", got, api.BarInProgress)
	}
	behind := watermark{countedThrough: frozen.Add(-time.Minute)}
	if got := behind.asOf(frozen); got != behind {
		t.Errorf("%+v, want %+v", got, behind)
	}
	if got := (watermark{}).asOf(frozen); !got.countedThrough.IsZero() {
		t.Errorf("what was unknown is counted through %s", got.countedThrough)
	}
}

func TestAnswersSayWhetherTheyAreComplete(t *testing.T) {
	t.Parallel()
	now := frozen
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	day := func(from, to time.Duration) schemas.Interval {
		return schemas.Interval{Start: ago(from), End: ago(to)}
	}
	const h = time.Hour
	tests := []struct {
		name string
		w    watermark
		i    schemas.Interval
		want api.Completeness
	}{
		{"open and fresh", watermark{countedThrough: ago(time.Second)}, day(14*h, -10*h), api.Complete},
		{"open and two minutes behind", watermark{countedThrough: ago(2 * time.Minute)}, day(14*h, -10*h), api.Complete},
		{"open and further behind", watermark{countedThrough: ago(2*time.Minute + time.Second)}, day(14*h, -10*h), api.Partial},
		{"closed long before what was counted", watermark{countedThrough: ago(h)}, day(48*h, 24*h), api.Complete},
		{"closed and not yet counted to its end", watermark{countedThrough: ago(25 * h)}, day(48*h, 24*h), api.Partial},
		{"closed and almost counted to its end", watermark{countedThrough: ago(24*h + time.Minute)}, day(48*h, 24*h), api.Complete},
		{"nothing is known", watermark{}, day(48*h, 24*h), api.Partial},
		{"nothing has happened yet", watermark{}, day(-24*h, -48*h), api.Complete},
		{"halted within", watermark{ago(30 * h), ago(30 * h), "", ""}, day(48*h, 24*h), api.Partial},
		{"halted after", watermark{ago(h), ago(h), "", ""}, day(48*h, 24*h), api.Complete},
	}
	for _, tt := range tests {
		if got := tt.w.completeness(tt.i, now); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestOnlyTheWorkspacesOwnPartitionsHoldItBack(t *testing.T) {
	t.Parallel()
	const partitions = 64
	own := schemas.PartitionsOf("ws_acme", partitions)
	if len(own) == 0 || len(own) > schemas.Spread {
		t.Fatalf("a workspace has %d partitions", len(own))
	}
	isOwn := map[int32]bool{}
	for _, p := range own {
		isOwn[p] = true
	}
	var all []partitionProgress
	for p := range int32(partitions) {
		one := partitionProgress{partition: p, partitions: partitions, countedThrough: frozen}
		if !isOwn[p] {
			one.countedThrough, one.halted, one.haltedFrom = frozen.Add(-time.Hour), true, frozen.Add(-time.Hour)
		}
		all = append(all, one)
	}
	w := watermarkOf("ws_acme", all)
	if !w.countedThrough.Equal(frozen) || !w.haltedFrom.IsZero() {
		t.Errorf("others hold it back: %+v", w)
	}
	before := w.snapshot
	for i := range all {
		if isOwn[all[i].partition] {
			all[i].countedThrough = frozen.Add(-time.Minute)
			break
		}
	}
	w = watermarkOf("ws_acme", all)
	if !w.countedThrough.Equal(frozen.Add(-time.Minute)) {
		t.Errorf("its slowest partition does not hold it back: %s", w.countedThrough)
	}
	if w.snapshot == before {
		t.Error("the snapshot's name stays though the ledger is another")
	}
	for i := range all {
		if isOwn[all[i].partition] {
			w = watermarkOf("ws_acme", append(all[:i:i], all[i+1:]...))
			break
		}
	}
	if !w.countedThrough.IsZero() {
		t.Errorf("one of its partitions was never spoken of, and yet it is counted through %s", w.countedThrough)
	}
	if w := watermarkOf("ws_acme", nil); !w.countedThrough.IsZero() {
		t.Errorf("nothing was ever said, and yet it is counted through %s", w.countedThrough)
	}
}
