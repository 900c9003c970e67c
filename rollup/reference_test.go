package rollup

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"agentmeter/schemas"
	tables "agentmeter/schemas/clickhouse"
)

// reference is what ought to be counted, derived from the log alone: the
// records of each partition in the order of their offsets, and for each the
// outcome that it must have. It shares no arithmetic with the rollup.
type reference struct {
	partitions int32
	logs       map[int32][]logged
}

// logged is a record that the broker acknowledged.
type logged struct {
	offset int64
	event  *schemas.Event // nil for a record that is no event
	home   bool           // it lies in the partition that its id asks for
	at     time.Time      // when it was acknowledged
}

func newReference(partitions int32) *reference {
	return &reference{partitions: partitions, logs: make(map[int32][]logged)}
}

func (m *reference) add(partition int32, record logged) {
	log := append(m.logs[partition], record)
	slices.SortStableFunc(log, func(a, b logged) int { return cmp.Compare(a.offset, b.offset) })
	m.logs[partition] = log
}

// logPlace is an offset of a partition.
type logPlace struct {
	partition int32
	offset    int64
}

// identity is what makes two events the same one, and payload what they must
// then agree on.
type identity struct {
	workspace schemas.WorkspaceID
	id        string
}

type content struct {
	agent      schemas.AgentID
	at         int64
	channel    string
	credits    schemas.Credits
	messages   int64
	adjustment bool
}

func contentOf(e *schemas.Event) content {
	return content{e.Agent, e.OccurredAt.UnixMicro(), e.Channel, e.Credits, e.Messages, e.Adjustment != nil}
}

func (m *reference) outcomes() map[logPlace]schemas.Outcome {
	outcomes := make(map[logPlace]schemas.Outcome)
	first := make(map[identity]content)
	for partition, log := range m.logs {
		for _, record := range log {
			outcome := schemas.OutcomeInvalid
			if e := record.event; e != nil && record.home {
				known, seen := first[identity{e.Workspace, e.ID}]
				switch {
				case seen && known == contentOf(e):
					outcome = schemas.OutcomeDuplicate
				case seen: // it stays invalid
				default:
					first[identity{e.Workspace, e.ID}] = contentOf(e)
					switch {
					case e.Adjustment != nil:
						outcome = schemas.OutcomeAdjustment
					case e.Channel == "playground":
						outcome = schemas.OutcomePlayground
					default:
						outcome = schemas.OutcomeCounted
					}
				}
			}
			outcomes[logPlace{partition, record.offset}] = outcome
		}
	}
	return outcomes
}

// bucket is the key of a rollup's row, without the stream.
type bucket struct {
	partition int32
	workspace schemas.WorkspaceID
	time      int64 // seconds since 1970
	agent     schemas.AgentID
}

type sums struct{ credits, messages, events int64 }

var rollupSeconds = map[string]int64{
	tables.Minute.Table: 60, tables.Quarter.Table: 900, tables.Hour.Table: 3600, tables.Day.Table: 86400,
	tables.WorkspaceHour.Table: 3600, tables.Playground.Table: 900,
}

// bucketOf returns where an event of the given outcome enters a rollup, and
// with what; ok is false where it does not.
func bucketOf(rollup tables.Rollup, partition int32, e *schemas.Event, outcome schemas.Outcome) (key bucket, add sums, ok bool) {
	playground := rollup.Table == tables.Playground.Table
	switch outcome {
	case schemas.OutcomeCounted, schemas.OutcomeAdjustment:
		ok = !playground
	case schemas.OutcomePlayground:
		ok = playground
	default:
	}
	if !ok {
		return key, add, false
	}
	seconds := e.OccurredAt.Unix()
	key = bucket{partition: partition, workspace: e.Workspace, time: seconds - seconds%rollupSeconds[rollup.Table]}
	if rollup.ByAgent {
		key.agent = e.Agent
	}
	add = sums{messages: e.Messages, events: 1}
	if rollup.Credits {
		add.credits = int64(e.Credits)
	}
	return key, add, true
}

// rollup is what the rows of a rollup must sum up to.
func (m *reference) rollup(rollup tables.Rollup) map[bucket]sums {
	want := make(map[bucket]sums)
	outcomes := m.outcomes()
	for partition, log := range m.logs {
		for _, record := range log {
			if key, add, ok := bucketOf(rollup, partition, record.event, outcomes[logPlace{partition, record.offset}]); ok {
				want[key] = want[key].plus(add)
			}
		}
	}
	return want
}

func (s sums) plus(other sums) sums {
	return sums{s.credits + other.credits, s.messages + other.messages, s.events + other.events}
}

// differences says, in words, where two maps differ: nothing where they do not.
func differences[K comparable, V comparable](got, want map[K]V) []string {
	var list []string
	var none V
	for key, value := range want {
		if got[key] != value {
			list = append(list, fmt.Sprintf("%v is %v, want %v", key, got[key], value))
		}
	}
	for key, value := range got {
		if _, ok := want[key]; !ok && value != none {
			list = append(list, fmt.Sprintf("%v is %v, want nothing", key, value))
		}
	}
	slices.Sort(list)
	const most = 10
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	return list
}
