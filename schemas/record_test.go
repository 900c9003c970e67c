package schemas

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentmeter/schemas/usagev1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s changed; records that are in Kafka would be read differently\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func goldenEvents() []Event {
	at := time.Date(2026, 11, 24, 9, 31, 47, 123456000, time.UTC)
	return []Event{
		{ID: "0f8a1c2e-5b7d-4e6f-8a9b-0c1d2e3f4a5b", Workspace: "ws_acme", Agent: "agt_support", Conversation: "conv_17", OccurredAt: at, Channel: "embed", Model: "large", Credits: 1_500_000, Messages: 1},
		{ID: "0F8A1C2E-5B7D-4E6F-8A9B-0C1D2E3F4A5B", Workspace: "ws_acme", Agent: "agt_support", OccurredAt: at, Channel: "playground", Messages: 0},
		{ID: "an id that is no UUID", Workspace: "ws_æøå", Agent: "агент", OccurredAt: at, Channel: "api", Credits: 9_223_372_036_854_775_807, Messages: 3},
		{ID: "adj-1", Workspace: "ws_acme", Agent: "agt_support", OccurredAt: at, Credits: -1_500_000, Messages: -1, Adjustment: &Adjustment{Reason: "answered twice", EventID: "0f8a1c2e-5b7d-4e6f-8a9b-0c1d2e3f4a5b"}},
		{ID: "adj-2", Workspace: "ws_acme", Agent: "agt_support", OccurredAt: at, Credits: 250_000, Messages: 0, Adjustment: &Adjustment{Reason: "goodwill"}},
	}
}

func TestRecordsKeepTheirBytes(t *testing.T) {
	var out strings.Builder
	for _, e := range goldenEvents() {
		if faults := e.Validate(); faults != nil {
			t.Fatal(faults)
		}
		out.WriteString(hex.EncodeToString(EncodeEvent(nil, &e)) + "\n")
	}
	golden(t, "event_records.hex", []byte(out.String()))
}

func drawEvent(t *rapid.T) Event {
	text := func(label string, least int) string {
		s := rapid.StringOfN(rapid.RuneFrom(nil, printable...), least, 40, -1).Draw(t, label)
		return strings.TrimSpace(s)
	}
	e := Event{
		ID:           text("id", 1),
		Workspace:    WorkspaceID(text("workspace", 1)),
		Agent:        AgentID(text("agent", 1)),
		Conversation: text("conversation", 0),
		OccurredAt:   time.UnixMicro(rapid.Int64Range(1, MaxOccurredAt.UnixMicro()-1).Draw(t, "occurred")).UTC(),
		Channel:      rapid.SampledFrom([]string{"embed", "api", "whatsapp", "playground"}).Draw(t, "channel"),
		Model:        text("model", 0),
		Credits:      Credits(rapid.Int64Min(0).Draw(t, "credits")),
		Messages:     rapid.Int64Range(0, 5).Draw(t, "messages"),
	}
	if rapid.Bool().Draw(t, "uuid") {
		e.ID = unpackUUID([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid bytes")))
	}
	if rapid.Bool().Draw(t, "adjustment") {
		e.Adjustment = &Adjustment{Reason: text("reason", 1), EventID: text("event", 0)}
		e.Channel = ""
		e.Credits = Credits(rapid.Int64().Draw(t, "signed credits"))
		e.Messages = rapid.Int64Range(-5, 5).Draw(t, "signed messages")
	}
	return e
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	var decoder EventDecoder
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		if e.Validate() != nil {
			return
		}
		prefix := []byte("prefix")
		record := EncodeEvent(prefix, &e)
		var got Event
		if err := decoder.Decode(record[len(prefix):], &got); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v, want %+v", got, e)
		}
		if got.PayloadHash() != e.PayloadHash() || HashID(got.Workspace, got.ID) != HashID(e.Workspace, e.ID) {
			t.Fatalf("hashes of %+v changed on the way", e)
		}
	})
}

// decodeAny decodes by the generated code only.
func decodeAny(value []byte, e *Event) error {
	var record usagev1.Event
	if err := record.UnmarshalVT(value); err != nil {
		return err
	}
	return EventFromRecord(&record, e)
}

func TestCanonicalRecordsAreTheEncodersOwn(t *testing.T) {
	var decoder EventDecoder
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		record := EncodeEvent(nil, &e)
		if n := rapid.IntRange(-1, len(record)-1).Draw(t, "flipped"); n >= 0 {
			record[n] ^= rapid.Byte().Draw(t, "by")
		}
		var got, want Event
		if !decoder.DecodeCanonical(record, &got) {
			return
		}
		taken++
		if err := decodeAny(record, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%x is %+v, want %+v, %v", record, got, want, err)
		}
		if again := EncodeEvent(nil, &got); !bytes.Equal(again, record) {
			t.Fatalf("%x was taken for canonical and is encoded as %x", record, again)
		}
	})
	if taken == 0 {
		t.Error("none was taken for canonical")
	}
}

func TestUsualRecordsAreCanonical(t *testing.T) {
	var decoder EventDecoder
	for _, e := range goldenEvents() {
		var got Event
		if want := e.Adjustment == nil; decoder.DecodeCanonical(EncodeEvent(nil, &e), &got) != want {
			t.Errorf("%+v: canonical is %v, want %v", e, !want, want)
		}
	}
}

func TestIDsOfManyRecordsStandSideBySide(t *testing.T) {
	var decoder EventDecoder
	const n = 1000 // several allocations' worth
	events := make([]Event, n)
	want := make([]string, n)
	for i := range events {
		e := goldenEvents()[0]
		want[i] = unpackUUID([16]byte{byte(i), byte(i >> 8)})
		e.ID = want[i]
		if err := decoder.Decode(EncodeEvent(nil, &e), &events[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range events {
		if events[i].ID != want[i] {
			t.Fatalf("the id of record %d is %s by now, want %s", i, events[i].ID, want[i])
		}
	}
}

func TestEachPartOfThePayloadTellsEventsApart(t *testing.T) {
	base := goldenEvents()[0]
	again := goldenEvents()[0]
	if again.PayloadHash() != base.PayloadHash() {
		t.Fatal("the hash of one event varies")
	}
	for name, change := range map[string]func(*Event){
		"workspace":   func(e *Event) { e.Workspace = "ws_other" },
		"agent":       func(e *Event) { e.Agent = "agt_other" },
		"occurred_at": func(e *Event) { e.OccurredAt = e.OccurredAt.Add(time.Microsecond) },
		"channel":     func(e *Event) { e.Channel = "api" },
		"credits":     func(e *Event) { e.Credits++ },
		"messages":    func(e *Event) { e.Messages++ },
		"adjustment":  func(e *Event) { e.Adjustment = &Adjustment{Reason: "x"} },
	} {
		changed := base
		change(&changed)
		if changed.PayloadHash() == base.PayloadHash() {
			t.Errorf("another %s is taken for the same payload", name)
		}
	}
	described := base
	described.Model, described.Conversation = "other", "other"
	if described.PayloadHash() != base.PayloadHash() {
		t.Error("model and conversation are description, not payload")
	}
}

func TestRecordWithoutATimeIsRefused(t *testing.T) {
	e := goldenEvents()[0]
	e.OccurredAt = time.Unix(0, 0)
	var decoder EventDecoder
	var fault FieldError
	if err := decoder.Decode(EncodeEvent(nil, &e), &e); !errors.As(err, &fault) || fault.Code != "occurred_at_missing" {
		t.Errorf("got %v, want occurred_at_missing", err)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, e := range goldenEvents() {
		f.Add(EncodeEvent(nil, &e))
	}
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte("\x1a\x03abc"))
	f.Fuzz(func(t *testing.T, value []byte) {
		var decoder EventDecoder
		var e, again Event
		if decoder.DecodeCanonical(value, &e) {
			if err := decodeAny(value, &again); err != nil || !reflect.DeepEqual(e, again) {
				t.Fatalf("read as %+v, by the generated code as %+v, %v", e, again, err)
			}
			if encoded := EncodeEvent(nil, &e); !bytes.Equal(encoded, value) {
				t.Fatalf("taken for canonical, and encoded as %x", encoded)
			}
		}
		if err := decoder.Decode(value, &e); err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("%v does not wrap ErrRecord", err)
			}
			return
		}
		if faults := e.Validate(); faults != nil {
			t.Fatalf("an event that does not validate was let through: %v", faults)
		}
		if err := decoder.Decode(EncodeEvent(nil, &e), &again); err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v comes back as %+v, %v", e, again, err)
		}
	})
}
