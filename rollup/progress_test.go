package rollup

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/internal/clickhouse"
	tables "agentmeter/schemas/clickhouse"
)

// Counted through T must mean: whatever was in the log at T is confirmed.
func TestCountedThroughIsNeverAheadOfTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w watermark
		start := time.Unix(1_700_000_000, 0).UTC()
		var ends []logSample
		var end, position int64
		for step := range rapid.IntRange(1, 600).Draw(t, "steps") {
			at := start.Add(time.Duration(step) * time.Second)
			end += rapid.Int64Range(0, 5).Draw(t, "arrived")
			position += rapid.Int64Range(0, end-position).Draw(t, "confirmed")
			ends = append(ends, logSample{at, end})
			before := w.countedThrough
			w.observe(at, end, position)
			if w.countedThrough.Before(before) {
				t.Fatalf("went back from %s to %s", before, w.countedThrough)
			}
			for _, sample := range ends {
				if !sample.at.After(w.countedThrough) && sample.end > position {
					t.Fatalf("counted through %s at position %d, but the log ended at %d then", w.countedThrough, position, sample.end)
				}
			}
			if position == end && !w.countedThrough.Equal(at) {
				t.Fatalf("caught up at %s, yet counted through %s", at, w.countedThrough)
			}
			if len(w.samples) > maxLogSamples {
				t.Fatalf("%d samples are kept", len(w.samples))
			}
		}
	})
}

func TestLedgerThatWasSetBackTakesItsPromisesBack(t *testing.T) {
	var w watermark
	at := time.Unix(1_700_000_000, 0).UTC()
	w.observe(at, 100, 100)
	w.observe(at.Add(time.Second), 100, 60)
	if !w.countedThrough.IsZero() {
		t.Errorf("counted through %s, although 40 records are to be counted again", w.countedThrough)
	}
	w.observe(at.Add(2*time.Second), 120, 100)
	if want := at.Add(time.Second); !w.countedThrough.Equal(want) {
		t.Errorf("counted through %s, want %s: what the log held then is confirmed", w.countedThrough, want)
	}
}

func TestProgressIsOfTheColumnsThatItsTableHas(t *testing.T) {
	client := newTables(t)
	var columns []clickhouse.Column
	var names []string
	err := client.SelectText(t.Context(), clickhouse.Statement{
		SQL:    "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
		Params: map[string]string{"table": tables.Progress},
	}, func(fields []string) error {
		columns = append(columns, clickhouse.Column{Name: fields[0], Type: fields[1]})
		names = append(names, fields[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(columns, progressColumns) {
		t.Errorf("progress is published as %v, and the table has %v", progressColumns, columns)
	}
	if list := "(" + strings.Join(names, ", ") + ")"; !strings.Contains(insertProgress, list) {
		t.Errorf("%s: want the columns %s", insertProgress, list)
	}
}
