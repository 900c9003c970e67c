package schemas

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

var printable = []*unicode.RangeTable{unicode.L, unicode.N, unicode.P, unicode.Zs}

func TestEachFaultOfAnEventIsNamed(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Event)
		codes  []string
	}{
		{"none", func(*Event) {}, nil},
		{"no id", func(e *Event) { e.ID = "" }, []string{"id_missing"}},
		{"129 characters", func(e *Event) { e.ID = strings.Repeat("ä", 129) }, []string{"id_invalid"}},
		{"128 characters", func(e *Event) { e.ID = strings.Repeat("ä", 128) }, nil},
		{"control character", func(e *Event) { e.Agent = "a\x00b" }, []string{"agent_id_invalid"}},
		{"broken UTF-8", func(e *Event) { e.Agent = "a\xffb" }, []string{"agent_id_invalid"}},
		{"white space", func(e *Event) { e.Workspace = " ws" }, []string{"workspace_id_invalid"}},
		{"the wildcard", func(e *Event) { e.Workspace = "*" }, []string{"workspace_id_invalid"}},
		{"right to left is fine", func(e *Event) { e.Agent = "סוכן" }, nil},
		{"no time", func(e *Event) { e.OccurredAt = time.Time{} }, []string{"occurred_at_missing"}},
		{"before 1970", func(e *Event) { e.OccurredAt = time.Unix(-1, 0) }, []string{"occurred_at_out_of_range"}},
		{"after 2105", func(e *Event) { e.OccurredAt = MaxOccurredAt }, []string{"occurred_at_out_of_range"}},
		{"no channel", func(e *Event) { e.Channel = "" }, []string{"channel_missing"}},
		{"negative", func(e *Event) { e.Credits, e.Messages = -1, -1 }, []string{"credits_negative", "messages_negative"}},
		{"too many messages", func(e *Event) { e.Messages = MaxMessages + 1 }, []string{"messages_out_of_range"}},
		{"adjustment", func(e *Event) { e.Credits, e.Channel, e.Adjustment = -1, "", &Adjustment{Reason: "x"} }, nil},
		{"adjustment without a reason", func(e *Event) { e.Adjustment = &Adjustment{} }, []string{"reason_missing"}},
		{"several", func(e *Event) { e.ID, e.Agent = "", "" }, []string{"id_missing", "agent_id_missing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := goldenEvents()[0]
			test.change(&e)
			var codes []string
			for _, fault := range e.Validate() {
				codes = append(codes, fault.Code)
				if fault.Detail == "" || fault.Field == "" {
					t.Errorf("%+v does not say what is wrong where", fault)
				}
			}
			if !slices.Equal(codes, test.codes) {
				t.Errorf("got %v, want %v", codes, test.codes)
			}
		})
	}
}

func TestOutcomesHaveTheNamesOfTheLedger(t *testing.T) {
	var names []string
	for _, o := range Outcomes {
		names = append(names, o.String())
	}
	want := []string{"counted", "playground", "adjustment", "duplicate", "invalid", "gap", "erased"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if got := Outcome(0).String(); got != "outcome(0)" {
		t.Errorf("an undecided outcome is called %q", got)
	}
}
