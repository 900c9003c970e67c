package rollup

import "testing"

// A block that is counted between two stretches of a rebuild, or during one, is in
// each table once. TestRebuildBesideARunningRollupIsExact does so with all tables and
// without end.
func TestRebuildIsExactThoughEachOfItsStretchesMeetsMoreEvents(t *testing.T) {
	s := newStack(t)
	s.start()
	s.produce(testEvents(200)...)
	s.waitCounted()
	s.exec("TRUNCATE TABLE usage_day")
	s.exec("INSERT INTO usage_hour SELECT * FROM usage_hour")
	more := 200
	s.rebuild(RebuildOptions{Tables: []string{"usage_day", "usage_hour"}, Progress: func(RebuildProgress) {
		late := testEvent(more)
		late.OccurredAt = testEvent(more % 200).OccurredAt // in a bucket that is rebuilt
		s.produce(late)
		more++
	}})
	if more < 200+8 {
		t.Errorf("only %d stretches met more events", more-200)
	}
	s.waitCounted()
	s.exactlyTheLedger()
}
