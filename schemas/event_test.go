package schemas

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
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

func TestPlainTextIsTextWithoutAProblem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aZ~ \x7f\x1f\x00\u0080ä")), 0, 20, -1).Draw(t, "text")
		most := rapid.IntRange(0, 24).Draw(t, "most")
		ascii := !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
		if got, want := TextProblem(text, most), anyTextProblem(text, most); got != want {
			t.Fatalf("%q, at most %d: %q, want %q", text, most, got, want)
		}
		if got, want := plainText(text, most), ascii && anyTextProblem(text, most) == ""; got != want {
			t.Fatalf("%q, at most %d: plain is %v, want %v", text, most, got, want)
		}
	})
}

func TestEachByteMayMakeAWordUnprintable(t *testing.T) {
	for at := range 8 {
		for b := range 256 {
			word := []byte("abcdefgh")
			word[at] = byte(b)
			if got, want := printable8(string(word)), b >= 0x20 && b < 0x7f; got != want {
				t.Errorf("%q: printable is %v, want %v", word, got, want)
			}
		}
	}
}

func TestEventsAreValidWhereEachOfTheirFieldsIs(t *testing.T) {
	valid := 0
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		odd := rapid.SampledFrom([]string{e.ID, "", "*", " x", "\x7f", strings.Repeat("x", MaxTextRunes+1)})
		for _, field := range []*string{&e.ID, (*string)(&e.Workspace), (*string)(&e.Agent), &e.Conversation, &e.Channel, &e.Model} {
			*field = "plain"
			if rapid.IntRange(0, 19).Draw(t, "odd") == 0 {
				*field = odd.Draw(t, "odd text")
			}
		}
		e.Credits = Credits(rapid.Int64Range(-1, 5).Draw(t, "credits"))
		e.Messages = rapid.SampledFrom([]int64{-1, 0, 1, MaxMessages, MaxMessages + 1}).Draw(t, "messages")
		e.OccurredAt = rapid.SampledFrom([]time.Time{{}, MinOccurredAt, e.OccurredAt, e.OccurredAt, MaxOccurredAt}).Draw(t, "occurred at")
		want := e.Workspace != AllWorkspaces && e.OccurredAt.After(MinOccurredAt) && e.OccurredAt.Before(MaxOccurredAt) &&
			e.Messages <= MaxMessages && e.Messages >= -MaxMessages
		texts := map[string]int{e.ID: MaxIDRunes, string(e.Workspace): MaxIDRunes, string(e.Agent): MaxIDRunes}
		if e.Adjustment == nil {
			want = want && e.Credits >= 0 && e.Messages >= 0 && e.Channel != ""
		} else {
			texts[e.Adjustment.Reason] = MaxReasonRunes
			want = want && anyTextProblem(e.Adjustment.EventID, MaxIDRunes) == ""
		}
		for text, most := range texts {
			want = want && text != "" && anyTextProblem(text, most) == ""
		}
		for _, text := range []string{e.Conversation, e.Channel, e.Model} {
			want = want && anyTextProblem(text, MaxTextRunes) == ""
		}
		if faults := e.Validate(); (faults == nil) != want {
			t.Fatalf("%+v: valid is %v, want %v: %v", e, !want, want, faults)
		}
		if want {
			valid++
		}
	})
	if valid == 0 {
		t.Error("no event was valid")
	}
}
