package rollup

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/kafka"
)

// A lag that is only told together with progress stands still where progress
// does, which is when it is needed.
func TestLagGrowsWhileNothingIsPublished(t *testing.T) {
	since := time.Now().Add(-time.Minute)
	behind, ahead := &eventPartition{since: since}, &eventPartition{since: since}
	r := &Rollup{workers: map[topicPartition]*worker{
		{kafka.TopicEvents, 0}: {events: behind}, {kafka.TopicEvents, 1}: {events: ahead}, {kafka.TopicDirectory, 0}: {},
	}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newLag(r))
	within := func(name string, low, high float64) {
		t.Helper()
		if got := sumOf(t, registry, name); got < low || got > high {
			t.Errorf("%s is %v, want %v to %v", name, got, low, high)
		}
	}
	within("lag_seconds", 60, 100) // nothing was published since they began
	within("block_age_seconds", 0, 0)

	ahead.published(10, time.Now())
	within("lag_seconds", 60, 100)
	behind.published(10, time.Now().Add(-5*time.Second))
	within("lag_seconds", 5, 45)

	behind.setState(func(s *partitionState) { s.appending = time.Now().Add(-20 * time.Second) })
	within("block_age_seconds", 20, 60)
}

// Each batch is timed once, when progress is published that covers all of it.
func TestBatchesAreTimedWhenPublishedProgressCoversThem(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	p := &eventPartition{}
	p.setState(func(s *partitionState) {
		s.land([]row{{offset: 0, kafkaTime: at(1)}, {offset: 1, kafkaTime: at(1)}, {offset: 2, kafkaTime: at(2)}})
		s.land([]row{{offset: 3, kafkaTime: at(2)}, {offset: 4, kafkaTime: at(3)}}) // a batch across two blocks
	})
	for _, step := range []struct {
		position int64
		want     []landed
	}{
		{1, nil},
		{3, []landed{{at(1), 2}}},
		{4, []landed{{at(2), 4}}},
		{4, nil},
		{9, []landed{{at(3), 5}}},
	} {
		if got := p.published(step.position, at(9)); !slices.Equal(got, step.want) {
			t.Errorf("progress at %d covers %v, want %v", step.position, got, step.want)
		}
	}
}
