package ingest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"agentmeter/internal/auth"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

var formats = []struct {
	mediaType string
	encode    func([]schemas.Event) []byte
}{
	{"application/json", jsonArrayOf},
	{"application/json; charset=utf-8", jsonArrayOf},
	{"application/x-ndjson", ndjsonOf},
	{"application/x-protobuf", protobufOf},
	{"application/cloudevents-batch+json", cloudEventsOf},
}

func TestEveryFormatAndEncodingArrivesInKafka(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	sent := map[string]schemas.Event{}
	for f, format := range formats {
		for e, encoding := range []string{"", "identity", "gzip", "x-gzip", "GZIP", "zstd"} {
			events := sampleEvents(20)
			for i := range events {
				events[i].ID += fmt.Sprintf("-%d-%d", f, e)
				sent[events[i].ID] = events[i]
			}
			w := s.do(t, call{mediaType: format.mediaType, encoding: encoding, body: compress(t, strings.ToLower(encoding), format.encode(events))})
			if got := acceptanceIn(t, w); got.Accepted != 20 || len(got.Rejected) != 0 {
				t.Errorf("%s %s: %s", format.mediaType, encoding, w.Body)
			}
		}
	}
	arrived := s.events(t)
	if len(arrived) != len(sent) {
		t.Errorf("%d events arrived, %d were sent", len(arrived), len(sent))
	}
	for id, e := range eventsByID(arrived) {
		if e != sent[id] {
			t.Errorf("sent %+v\narrived %+v", sent[id], e)
		}
	}
}

func TestOneEventNeedsNoArray(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	if got := acceptanceIn(t, s.sendJSON(t, " \n"+eventJSON(nil)+"\n ")); got.Accepted != 1 || len(got.Rejected) != 0 {
		t.Errorf("%+v", got)
	}
	envelope := `{"specversion":"1.0","type":"t","source":"agt_x","id":"ce-1","time":"` + time.Now().UTC().Format(time.RFC3339) +
		`","traceparent":"00-1","data":{"workspace_id":"ws_acme","channel":"api","credits":2}}`
	got := acceptanceIn(t, s.do(t, call{mediaType: "application/cloudevents+json", body: []byte(envelope)}))
	if got.Accepted != 1 {
		t.Errorf("%+v", got)
	}
	if e := eventsByID(s.events(t))["ce-1"]; e.Agent != "agt_x" || e.Credits != 2*schemas.MicroPerCredit || e.OccurredAt.IsZero() {
		t.Errorf("the envelope fills nothing in: %+v", e)
	}
}

func TestABatchArrivesInItsOrder(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	events := sampleEvents(2000)
	order := make(map[string]int, len(events))
	for i := range events {
		order[events[i].ID] = i
	}
	acceptanceIn(t, s.do(t, call{mediaType: "application/x-ndjson", body: ndjsonOf(events)}))
	last := map[int32]int{}
	for _, record := range s.records(t, kafka.TopicEvents) {
		var e schemas.Event
		if err := new(schemas.EventDecoder).Decode(record.Value, &e); err != nil {
			t.Fatal(err)
		}
		if order[e.ID] < last[record.Partition] {
			t.Fatalf("partition %d: item %d after %d", record.Partition, order[e.ID], last[record.Partition])
		}
		last[record.Partition] = order[e.ID]
	}
}

func TestTheSameEventIsTheSameRecordInEveryFormat(t *testing.T) {
	in := bareIngest()
	access := auth.Access{Workspace: schemas.AllWorkspaces, Scopes: []auth.Scope{auth.EventsWrite, auth.EventsImport}}
	text := rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019-_./\"\\ä漢😀<>&")), 1, 40, -1)
	rapid.Check(t, func(t *rapid.T) {
		id := text.Draw(t, "id")
		if rapid.Bool().Draw(t, "uuid") {
			id = rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).Draw(t, "id as a uuid")
		}
		e := schemas.Event{
			ID: id, Workspace: schemas.WorkspaceID(text.Draw(t, "workspace")), Agent: schemas.AgentID(text.Draw(t, "agent")),
			Conversation: text.Draw(t, "conversation"), Channel: text.Draw(t, "channel"), Model: text.Draw(t, "model"),
			OccurredAt: time.UnixMicro(rapid.Int64Range(1, time.Now().UnixMicro()).Draw(t, "occurred at")).UTC(),
			Credits:    schemas.Credits(rapid.Int64Min(0).Draw(t, "credits")),
			Messages:   rapid.Int64Range(0, schemas.MaxMessages).Draw(t, "messages"),
		}
		want := kgo.Record{Topic: kafka.TopicEvents, Key: schemas.RecordKey(e.Workspace, e.ID), Value: schemas.EncodeEvent(nil, &e)}
		for _, format := range formats {
			mediaType, _, _ := strings.Cut(format.mediaType, ";")
			b := in.newBatch(auth.WithAccess(t.Context(), access))
			defer b.release()
			if err := decoders[mediaType].decode(format.encode([]schemas.Event{e}), b); err != nil {
				t.Fatalf("%s: %v", mediaType, err)
			}
			if len(b.records) != 1 {
				t.Fatalf("%s: %+v", mediaType, b.rejected)
			}
			got := b.records[0]
			if got.Topic != want.Topic || !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.Value, want.Value) {
				t.Fatalf("%s: record %q %x\nwant %q %x", mediaType, got.Key, got.Value, want.Key, want.Value)
			}
		}
	})
}

func TestThePartitionerIsTheOneThatRollupRecomputes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 64).Draw(t, "partitions")
		key := schemas.RecordKey(schemas.WorkspaceID(rapid.String().Draw(t, "workspace")), rapid.String().Draw(t, "id"))
		partitioner := kgo.StickyKeyPartitioner(nil).ForTopic(kafka.TopicEvents)
		if got, want := partitioner.Partition(&kgo.Record{Key: key}, partitions), schemas.PartitionOf(key, int32(partitions)); got != int(want) {
			t.Fatalf("key %q of %d: the producer chooses %d, schemas %d", key, partitions, got, want)
		}
	})
}

// answer is what a request must get.
type answer struct {
	status   int
	code     string // of the problem, if it is one
	accepted int
	rejected []string // codes by index, "" for accepted items
}

type eventCase struct {
	name string
	edit map[string]any
	code string // "" is accepted
	says string // in the detail
}

// eventCases are events with one thing about them that is good to take, or not.
func eventCases() []eventCase {
	long := strings.Repeat("x", 129)
	return []eventCase{
		{"complete", map[string]any{"conversation_id": "c", "model": "m", "messages": 3}, "", ""},
		{"nulls are absent", map[string]any{"conversation_id": raw("null"), "model": raw("null"), "messages": raw("null")}, "", ""},
		{"credits as a number", map[string]any{"credits": raw("0.1")}, "", ""},
		{"credits as a number with an exponent", map[string]any{"credits": raw("25E-2")}, "", ""},
		{"no credits cost", map[string]any{"credits": "0"}, "", ""},
		{"minus nothing", map[string]any{"credits": raw("-0.0")}, "", ""},
		{"messages as a string", map[string]any{"messages": "2"}, "", ""},
		{"messages as a whole float", map[string]any{"messages": raw("2.0")}, "", ""},
		{"no messages", map[string]any{"messages": 0}, "", ""},
		{"128 characters", map[string]any{"id": strings.Repeat("ä", 128)}, "", ""},
		{"escapes", map[string]any{"id": raw(`"\u0061\"\\\/\ud83d\ude00"`)}, "", ""},
		{"playground", map[string]any{"channel": "playground"}, "", ""},
		{"offset", map[string]any{"occurred_at": time.Now().In(time.FixedZone("", 5*3600+45*60)).Format(time.RFC3339)}, "", ""},

		{"no id", map[string]any{"id": nil}, "id_missing", "id: is required"},
		{"null id", map[string]any{"id": raw("null")}, "id_missing", ""},
		{"empty id", map[string]any{"id": ""}, "id_missing", ""},
		{"long id", map[string]any{"id": long}, "id_invalid", "129 characters"},
		{"id is a number", map[string]any{"id": 7}, "id_invalid", "not a string"},
		{"id is an object", map[string]any{"id": map[string]any{"a": []any{1, "}"}}}, "id_invalid", "not a string"},
		{"NUL in the id", map[string]any{"id": "a\x00b"}, "id_invalid", "control character"},
		{"space around the id", map[string]any{"id": " a"}, "id_invalid", "white space"},
		{"no workspace", map[string]any{"workspace_id": nil}, "workspace_id_missing", ""},
		{"star workspace", map[string]any{"workspace_id": "*"}, "workspace_id_invalid", ""},
		{"no agent", map[string]any{"agent_id": nil}, "agent_id_missing", ""},
		{"no channel", map[string]any{"channel": nil}, "channel_missing", ""},
		{"channel is a list", map[string]any{"channel": []string{"api"}}, "channel_invalid", ""},
		{"no time", map[string]any{"occurred_at": nil}, "occurred_at_missing", ""},
		{"time is a number", map[string]any{"occurred_at": 1795532918}, "occurred_at_invalid", ""},
		{"time without a zone", map[string]any{"occurred_at": "2026-11-24T09:31:47"}, "occurred_at_invalid", "RFC 3339"},
		{"time with a comma", map[string]any{"occurred_at": "2026-11-24T09:31:47,5Z"}, "occurred_at_invalid", ""},
		{"hour of one digit", map[string]any{"occurred_at": "2026-11-24T9:31:47Z"}, "occurred_at_invalid", ""},
		{"no seconds", map[string]any{"occurred_at": "2026-11-24T09:31Z"}, "occurred_at_invalid", ""},
		{"point without a fraction", map[string]any{"occurred_at": "2026-11-24T09:31:47.Z"}, "occurred_at_invalid", ""},
		{"offset of a day", map[string]any{"occurred_at": "2026-11-24T09:31:47+24:00"}, "occurred_at_invalid", ""},
		{"offset of 60 minutes", map[string]any{"occurred_at": "2026-11-24T09:31:47+01:60"}, "occurred_at_invalid", ""},
		{"offset without a colon", map[string]any{"occurred_at": "2026-11-24T09:31:47+0100"}, "occurred_at_invalid", ""},
		{"lower case", map[string]any{"occurred_at": "2026-11-24t09:31:47z"}, "occurred_at_invalid", ""},
		{"25 hours", map[string]any{"occurred_at": "2026-11-24T25:31:47Z"}, "occurred_at_invalid", ""},
		{"31 February", map[string]any{"occurred_at": "2026-02-31T09:31:47Z"}, "occurred_at_invalid", ""},
		{"before all time", map[string]any{"occurred_at": "1969-12-31T23:59:59Z"}, "occurred_at_out_of_range", ""},
		{"too old", map[string]any{"occurred_at": time.Now().Add(-35*24*time.Hour - time.Minute).Format(time.RFC3339)}, "occurred_at_too_old", "events:import"},
		{"in the future", map[string]any{"occurred_at": time.Now().Add(6 * time.Minute).Format(time.RFC3339)}, "occurred_at_in_future", "clock"},
		{"no credits", map[string]any{"credits": nil}, "credits_missing", ""},
		{"null credits", map[string]any{"credits": raw("null")}, "credits_missing", ""},
		{"negative credits", map[string]any{"credits": "-1"}, "credits_negative", "adjustments"},
		{"negative credits as a number", map[string]any{"credits": raw("-0.000001")}, "credits_negative", ""},
		{"seven decimals", map[string]any{"credits": "0.0000001"}, "credits_precision", ""},
		{"seven decimals as a number", map[string]any{"credits": raw("1e-7")}, "credits_precision", ""},
		{"too many credits", map[string]any{"credits": "9223372036854.775808"}, "credits_out_of_range", ""},
		{"an endless exponent", map[string]any{"credits": raw("1e999999999")}, "credits_out_of_range", ""},
		{"an exponent in a string", map[string]any{"credits": "1e3"}, "credits_invalid", ""},
		{"credits in words", map[string]any{"credits": "one"}, "credits_invalid", ""},
		{"credits are true", map[string]any{"credits": true}, "credits_invalid", ""},
		{"half a message", map[string]any{"messages": raw("0.5")}, "messages_invalid", "whole"},
		{"negative messages", map[string]any{"messages": -1}, "messages_negative", ""},
		{"too many messages", map[string]any{"messages": 1_000_000_001}, "messages_out_of_range", ""},
		{"endlessly many messages", map[string]any{"messages": raw("1e30")}, "messages_out_of_range", ""},
		{"unknown member", map[string]any{"cost": 1}, "field_unknown", "cost: is not a member"},
		{"unknown member of a wrong case", map[string]any{"ID": "x"}, "field_unknown", "ID: "},
		{"a member of adjustments", map[string]any{"reason": "x"}, "field_unknown", "reason"},
		{"a long name of a member", map[string]any{strings.Repeat("y", 5000): 1}, "field_unknown", ""},
		{"several faults", map[string]any{"agent_id": nil, "credits": "x"}, "credits_invalid", "; agent_id: is required"},
	}
}

func TestEveryFaultOfAnEventHasItsCode(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, tt := range eventCases() {
		t.Run(tt.name, func(t *testing.T) {
			w := s.sendJSON(t, eventJSON(tt.edit))
			if tt.code == "" {
				if got := acceptanceIn(t, w); got.Accepted != 1 {
					t.Errorf("%s", w.Body)
				}
				return
			}
			problem := problemIn(t, w)
			if w.Code != http.StatusUnprocessableEntity || problem.Code != codeNothingAccepted || problem.Rejected == nil || len(*problem.Rejected) != 1 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			item := (*problem.Rejected)[0]
			if item.Index != 0 || item.Code != tt.code || !strings.Contains(item.Detail, tt.says) {
				t.Errorf("%+v", item)
			}
			if len(problem.Errors) == 0 || problem.Errors[0].Code != tt.code {
				t.Errorf("errors %+v", problem.Errors)
			}
		})
	}
}

func TestCreditsAreReadExactly(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	want := map[string]schemas.Credits{}
	var body strings.Builder
	for i, text := range []string{
		"0.1", "0.2", "1e-6", "9223372036854.775807", "123456789012.123456", "4.35", "0.000001", "1.10", "1234567.000000", "12E2", "0.15e1",
	} {
		micro, err := schemas.ParseCreditsNumber(text)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("n-%d", i)
		want[id] = micro
		body.WriteString(eventJSON(map[string]any{"id": id, "credits": raw(text)}) + "\n")
		if !strings.ContainsAny(text, "eE") {
			want["s-"+id] = micro
			body.WriteString(eventJSON(map[string]any{"id": "s-" + id, "credits": text}) + "\n")
		}
	}
	acceptanceIn(t, s.do(t, call{mediaType: "application/x-ndjson", body: []byte(body.String())}))
	arrived := eventsByID(s.events(t))
	for id, credits := range want {
		if arrived[id].Credits != credits {
			t.Errorf("%s: %s, want %s", id, arrived[id].Credits, credits)
		}
	}
}

func TestTimesAreCutToMicroseconds(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	at := time.Now().UTC().Truncate(time.Second)
	acceptanceIn(t, s.sendJSON(t, eventJSON(map[string]any{"occurred_at": at.Format("2006-01-02T15:04:05") + ".123456999Z"})))
	if got := s.events(t)[0].OccurredAt; !got.Equal(at.Add(123456 * time.Microsecond)) {
		t.Errorf("%v", got)
	}
}

func TestEveryBodyGetsItsAnswer(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	good := eventJSON(nil)
	bad := eventJSON(map[string]any{"credits": "-1"})
	proto := protobufOf(sampleEvents(1))
	ce := func(members string) string {
		return `{"specversion":"1.0","type":"t","source":"s","id":"i",` + members + `}`
	}
	ceData := `"data":` + good
	for _, tt := range []struct {
		name      string
		mediaType string
		encoding  string
		body      string
		want      answer
	}{
		{"no media type", "", "", good, answer{status: 415, code: "media_type_missing"}},
		{"what curl sends by itself", "application/x-www-form-urlencoded", "", good, answer{status: 415, code: "media_type_unsupported"}},
		{"another charset", "application/json; charset=utf-16", "", good, answer{status: 415, code: "charset_unsupported"}},
		{"another encoding", "application/json", "br", good, answer{status: 415, code: "encoding_unsupported"}},
		{"two encodings", "application/json", "gzip, gzip", good, answer{status: 415, code: "encoding_unsupported"}},
		{"not gzip", "application/json", "gzip", good, answer{status: 400, code: "encoding_invalid"}},
		{"not zstd", "application/json", "zstd", good, answer{status: 400, code: "encoding_invalid"}},
		{"half of a gzip", "application/json", "gzip", string(compress(t, "gzip", []byte(good))[:40]), answer{status: 400, code: "encoding_invalid"}},
		{"half of a zstd", "application/json", "zstd", string(compress(t, "zstd", []byte(good))[:40]), answer{status: 400, code: "encoding_invalid"}},
		{"more after a gzip", "application/json", "gzip", string(compress(t, "gzip", []byte(good))) + "x", answer{status: 400, code: "encoding_invalid"}},
		{"nothing as gzip", "application/json", "gzip", "", answer{status: 400, code: "encoding_invalid"}},

		{"nothing", "application/json", "", "", answer{status: 400, code: "json_invalid"}},
		{"white space", "application/json", "", " \n", answer{status: 400, code: "json_invalid"}},
		{"a number", "application/json", "", "7", answer{status: 400, code: "json_invalid"}},
		{"null", "application/json", "", "null", answer{status: 400, code: "json_invalid"}},
		{"half an object", "application/json", "", good[:len(good)-1], answer{status: 400, code: "json_invalid"}},
		{"half an array", "application/json", "", "[" + good + ",", answer{status: 400, code: "json_invalid"}},
		{"an array that breaks", "application/json", "", "[" + good + "," + good + ",{]", answer{status: 400, code: "json_invalid"}},
		{"a trailing comma", "application/json", "", "[" + good + ",]", answer{status: 400, code: "json_invalid"}},
		{"two documents", "application/json", "", good + good, answer{status: 400, code: "json_invalid"}},
		{"something after the array", "application/json", "", "[" + good + "]x", answer{status: 400, code: "json_invalid"}},
		{"a comment", "application/json", "", "[" + good + "/*x*/]", answer{status: 400, code: "json_invalid"}},
		{"invalid UTF-8", "application/json", "", "[" + good + `,{"id":"` + "\xff" + `"}]`, answer{status: 400, code: "json_invalid"}},
		{"half a surrogate", "application/json", "", `[{"id":"\ud800"}]`, answer{status: 400, code: "json_invalid"}},
		{"a NUL byte", "application/json", "", "[" + good + ",\x00]", answer{status: 400, code: "json_invalid"}},
		{"a byte order mark", "application/json", "", "\ufeff" + good, answer{status: 400, code: "json_invalid"}},
		{"endless nesting", "application/json", "", strings.Repeat("[", 1<<20), answer{status: 400, code: "json_invalid"}},
		{"endless nesting inside", "application/json", "", "[" + good + `,{"id":` + strings.Repeat(`{"a":`, 1<<17), answer{status: 400, code: "json_invalid"}},
		{"an empty array", "application/json", "", "[]", answer{status: 422, code: "batch_empty"}},
		{"an array of odd things", "application/json", "", `[7,"x",null,[],` + good + `]`, answer{accepted: 1, rejected: []string{"event_invalid", "event_invalid", "event_invalid", "event_invalid", ""}}},
		{"good and bad", "application/json", "", "[" + good + "," + bad + "," + good + "]", answer{accepted: 2, rejected: []string{"", "credits_negative", ""}}},
		{"only bad", "application/json", "", "[" + bad + "," + bad + "]", answer{status: 422, code: "nothing_accepted", rejected: []string{"credits_negative", "credits_negative"}}},
		{"a duplicate member", "application/json", "", `[{"id":"a","id":"a"},` + good + `]`, answer{accepted: 1, rejected: []string{"field_duplicate", ""}}},
		{"a duplicate in other letters", "application/json", "", `[` + strings.Replace(good, "{", `{"\u0069d":"x",`, 1) + `,` + good + `]`, answer{accepted: 1, rejected: []string{"field_duplicate", ""}}},

		{"no lines", "application/x-ndjson", "", "", answer{status: 422, code: "batch_empty"}},
		{"empty lines", "application/x-ndjson", "", "\n\r\n  \n", answer{status: 422, code: "batch_empty"}},
		{"the last line is open", "application/x-ndjson", "", good, answer{accepted: 1}},
		{"Windows lines", "application/x-ndjson", "", good + "\r\n" + good + "\r\n", answer{accepted: 2}},
		{"broken lines", "application/x-ndjson", "", "{\n" + good + "\n\n" + good + good + "\n[" + good + "]\n\xff\n" + good, answer{accepted: 2, rejected: []string{"event_invalid", "", "event_invalid", "event_invalid", "event_invalid", ""}}},
		{"an array is no line", "application/x-ndjson", "", "[" + good + "]", answer{status: 422, code: "nothing_accepted", rejected: []string{"event_invalid"}}},

		{"no protobuf", "application/x-protobuf", "", "", answer{status: 422, code: "batch_empty"}},
		{"half a protobuf", "application/x-protobuf", "", string(proto[:len(proto)-3]), answer{status: 400, code: "protobuf_invalid"}},
		{"JSON as protobuf", "application/x-protobuf", "", good, answer{status: 400, code: "protobuf_invalid"}},
		{"a batch's unknown field", "application/x-protobuf", "", string(proto) + "\x12\x01x", answer{status: 400, code: "protobuf_invalid"}},
		{"a broken event", "application/x-protobuf", "", "\x0a\x03\x0a\x09x" + string(proto), answer{accepted: 1, rejected: []string{"event_invalid", ""}}},

		{"a CloudEvent", "application/cloudevents+json", "", ce(ceData), answer{accepted: 1}},
		{"a CloudEvent with extensions", "application/cloudevents+json; charset=UTF-8", "", ce(`"datacontenttype":"application/json; charset=utf-8","subject":"x","dataschema":null,"partitionkey":"a","sequence":7,` + ceData), answer{accepted: 1}},
		{"an array as one CloudEvent", "application/cloudevents+json", "", "[" + ce(ceData) + "]", answer{status: 400, code: "json_invalid"}},
		{"one CloudEvent as an array", "application/cloudevents-batch+json", "", ce(ceData), answer{status: 400, code: "json_invalid"}},
		{"an empty array of CloudEvents", "application/cloudevents-batch+json", "", "[]", answer{status: 422, code: "batch_empty"}},
		{"a duplicate in an envelope", "application/cloudevents-batch+json", "", "[" + ce(ceData) + "," + ce(`"id":"j",`+ceData) + "]", answer{accepted: 1, rejected: []string{"", "field_duplicate"}}},
		{"odd CloudEvents", "application/cloudevents-batch+json", "", "[" + strings.Join([]string{
			ce(ceData), "7", `{}`, ce(`"data":[]`), ce(`"data_base64":"e30="`), ce(`"datacontenttype":"text/xml",` + ceData),
			ce(`"myExtension":1,` + ceData), ce(`"nested":{},` + ceData), strings.Replace(ce(ceData), "1.0", "0.3", 1), ce(`"time":"yesterday",` + ceData),
			ce(`"data":{"id":"x"}`),
		}, ",") + "]", answer{accepted: 1, rejected: []string{
			"", "event_invalid", "cloudevent_invalid", "cloudevent_invalid", "cloudevent_invalid", "cloudevent_invalid",
			"field_unknown", "cloudevent_invalid", "cloudevent_invalid", "time_invalid", "credits_missing",
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(s.records(t, kafka.TopicEvents))
			w := s.do(t, call{mediaType: tt.mediaType, encoding: tt.encoding, body: []byte(tt.body)})
			checkAnswer(t, w, tt.want)
			if got := len(s.records(t, kafka.TopicEvents)) - before; got != tt.want.accepted {
				t.Errorf("%d records arrived, %d events were accepted", got, tt.want.accepted)
			}
		})
	}
}

func checkAnswer(t *testing.T, w *httptest.ResponseRecorder, want answer) {
	t.Helper()
	rejected := []string{}
	if want.status != 0 {
		problem := problemIn(t, w)
		if w.Code != want.status || problem.Code != want.code {
			t.Fatalf("answered %d %s, want %d %s: %s", w.Code, problem.Code, want.status, want.code, w.Body)
		}
		if problem.Rejected == nil {
			if len(want.rejected) > 0 {
				t.Errorf("nothing is listed as rejected: %s", w.Body)
			}
			return
		}
		for _, item := range *problem.Rejected {
			if item.Index != len(rejected) {
				t.Errorf("index %d at %d", item.Index, len(rejected))
			}
			rejected = append(rejected, item.Code)
		}
	} else {
		acceptance := acceptanceIn(t, w)
		if acceptance.Accepted != want.accepted {
			t.Errorf("accepted %d, want %d: %s", acceptance.Accepted, want.accepted, w.Body)
		}
		for _, item := range acceptance.Rejected {
			for len(rejected) < item.Index {
				rejected = append(rejected, "")
			}
			rejected = append(rejected, item.Code)
		}
		for len(rejected) < len(want.rejected) {
			rejected = append(rejected, "")
		}
	}
	if strings.Join(rejected, ",") != strings.Join(want.rejected, ",") {
		t.Errorf("rejected %q, want %q: %s", rejected, want.rejected, w.Body)
	}
}

func TestProtobufFaultsAreThoseOfJSON(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	now := time.Now().UnixMicro()
	one := int64(1)
	for name, tt := range map[string]struct {
		edit func(*usagev1.Event)
		code string
	}{
		"good":               {func(*usagev1.Event) {}, ""},
		"id as bytes":        {func(e *usagev1.Event) { e.Id, e.IdUuid = "", make([]byte, 16) }, ""},
		"both ids":           {func(e *usagev1.Event) { e.IdUuid = make([]byte, 16) }, "id_invalid"},
		"15 bytes":           {func(e *usagev1.Event) { e.Id, e.IdUuid = "", make([]byte, 15) }, "id_invalid"},
		"no id":              {func(e *usagev1.Event) { e.Id = "" }, "id_missing"},
		"no time":            {func(e *usagev1.Event) { e.OccurredAtUs = 0 }, "occurred_at_missing"},
		"negative":           {func(e *usagev1.Event) { e.CreditsMicro = -1 }, "credits_negative"},
		"invalid UTF-8":      {func(e *usagev1.Event) { e.Model = "\xff" }, "model_invalid"},
		"an adjustment":      {func(e *usagev1.Event) { e.Adjustment = &usagev1.Adjustment{Reason: "x"} }, "adjustment_not_allowed"},
		"an unknown field":   {func(e *usagev1.Event) { e.ProtoReflect().SetUnknown([]byte{0x78, 1}) }, "field_unknown"},
		"messages given":     {func(e *usagev1.Event) { e.Messages = &one }, ""},
		"out of reach":       {func(e *usagev1.Event) { e.WorkspaceId = "ws_other" }, "workspace_not_covered"},
		"hidden by its mess": {func(e *usagev1.Event) { e.WorkspaceId, e.Id, e.CreditsMicro = "ws_other", "", -1 }, "workspace_not_covered"},
	} {
		event := &usagev1.Event{Id: "m", WorkspaceId: "ws_acme", AgentId: "a", OccurredAtUs: now, Channel: "api", CreditsMicro: 5}
		tt.edit(event)
		// Google's runtime refuses what is no UTF-8; this one does not.
		body, err := (&usagev1.EventBatch{Events: []*usagev1.Event{event}}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		w := s.do(t, call{mediaType: "application/x-protobuf", body: body, token: s.mint(t, "ws_acme", auth.EventsWrite)})
		if tt.code == "" {
			acceptanceIn(t, w)
			continue
		}
		if problem := problemIn(t, w); w.Code != 422 || (*problem.Rejected)[0].Code != tt.code {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestAWorkspaceOutOfReachIsARejectedItem(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	token := s.mint(t, "ws_acme", auth.EventsWrite)
	body := "[" + eventJSON(map[string]any{"id": "mine"}) + "," +
		eventJSON(map[string]any{"id": "theirs", "workspace_id": "ws_other"}) + "," +
		eventJSON(map[string]any{"id": "nobodys", "workspace_id": "ws_\u0000", "credits": "-1", "junk": 1}) + "]"
	acceptance := acceptanceIn(t, s.do(t, call{mediaType: "application/json", body: []byte(body), token: token}))
	if acceptance.Accepted != 1 || len(acceptance.Rejected) != 2 {
		t.Fatalf("%+v", acceptance)
	}
	theirs, nobodys := acceptance.Rejected[0], acceptance.Rejected[1]
	if theirs.Code != "workspace_not_covered" || theirs.Code != nobodys.Code || theirs.Detail != nobodys.Detail || strings.Contains(theirs.Detail, "ws_other") {
		t.Errorf("%+v\n%+v", theirs, nobodys)
	}
	if *theirs.ID != "theirs" || theirs.Index != 1 {
		t.Errorf("%+v", theirs)
	}
}

func TestImportsMayGoBackToAnyDate(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ancient := eventJSON(map[string]any{"occurred_at": "1999-12-31T23:59:59Z"})
	future := eventJSON(map[string]any{"occurred_at": time.Now().Add(time.Hour).Format(time.RFC3339)})
	token := s.mint(t, "ws_acme", auth.EventsWrite, auth.EventsImport)
	acceptanceIn(t, s.do(t, call{mediaType: "application/json", body: []byte(ancient), token: token}))
	if w := s.do(t, call{mediaType: "application/json", body: []byte(future), token: token}); w.Code != 422 {
		t.Errorf("%d", w.Code)
	}
	if w := s.do(t, call{mediaType: "application/json", body: []byte(ancient), token: s.mint(t, "ws_acme", auth.EventsImport)}); w.Code != 403 {
		t.Errorf("events:import alone: %d", w.Code)
	}
	if w := s.do(t, call{mediaType: "application/json", body: []byte(ancient)}); w.Code != 422 {
		t.Errorf("without events:import: %d", w.Code)
	}
}

func TestLimitsAreExact(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.MaxBodyBytes, c.MaxEventBytes, c.MaxEvents = 8<<10, 1<<10, 10 })
	pad := func(size int) string { // an event of exactly that size
		e := eventJSON(nil)
		return strings.Replace(e, "{", "{"+strings.Repeat(" ", size-len(e)), 1)
	}
	array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(eventJSON(nil)+",", n), ",") + "]" }
	fill := func(size int) string {
		e := eventJSON(nil)
		return e + strings.Repeat("\n", size-len(e))
	}
	for _, tt := range []struct {
		name, mediaType, body string
		want                  answer
	}{
		{"ten events", "application/json", array(10), answer{accepted: 10}},
		{"eleven events", "application/json", array(11), answer{status: 413, code: "too_many_events"}},
		{"eleven lines", "application/x-ndjson", strings.Repeat(eventJSON(nil)+"\n", 11), answer{status: 413, code: "too_many_events"}},
		{"eleven broken lines", "application/x-ndjson", strings.Repeat("x\n", 11), answer{status: 413, code: "too_many_events"}},
		{"eleven records", "application/x-protobuf", string(protobufOf(sampleEvents(11))), answer{status: 413, code: "too_many_events"}},
		{"the largest event", "application/json", pad(1024), answer{accepted: 1}},
		{"one byte more", "application/json", pad(1025), answer{status: 413, code: "event_too_large", rejected: []string{"event_too_large"}}},
		{"one of several", "application/json", "[" + pad(1025) + "," + pad(1024) + "]", answer{accepted: 1, rejected: []string{"event_too_large", ""}}},
		{"all of several", "application/x-ndjson", strings.Repeat(pad(1025)+"\n", 2), answer{status: 413, code: "event_too_large", rejected: []string{"event_too_large", "event_too_large"}}},
		{"a broken line that is too long", "application/x-ndjson", pad(1025)[:1026-1] + "x\n" + pad(500), answer{accepted: 1, rejected: []string{"event_too_large", ""}}},
		{"too large and wrong", "application/json", "[" + pad(1025) + ",{}]", answer{status: 422, code: "nothing_accepted", rejected: []string{"event_too_large", "id_missing"}}},
		{"the largest body", "application/x-ndjson", fill(8 << 10), answer{accepted: 1}},
		{"one byte more of it", "application/x-ndjson", fill(8<<10 + 1), answer{status: 413, code: "body_too_large"}},
	} {
		for _, encoding := range []string{"", "gzip", "zstd"} {
			t.Run(tt.name+encoding, func(t *testing.T) {
				if tt.mediaType == "application/json" && strings.HasPrefix(tt.body, " ") {
					t.Fatal("the padding is not part of the event")
				}
				w := s.do(t, call{mediaType: tt.mediaType, encoding: encoding, body: compress(t, encoding, []byte(tt.body))})
				if tt.name == "too large and wrong" {
					tt.want.rejected[1] = "credits_missing" // the decoder's faults come first
				}
				checkAnswer(t, w, tt.want)
			})
		}
	}
}

func TestBombsAreCutOff(t *testing.T) {
	// Not parallel: it measures what the process allocates.
	s := newStand(t)
	for _, encoding := range []string{"gzip", "zstd"} {
		bomb := compress(t, encoding, make([]byte, 256<<20))
		if len(bomb) > 1<<20 {
			t.Fatalf("%s: %d bytes are no bomb", encoding, len(bomb))
		}
		before := allocatedBytes()
		w := s.do(t, call{mediaType: "application/x-ndjson", encoding: encoding, body: bomb})
		if problem := problemIn(t, w); w.Code != 413 || problem.Code != "body_too_large" {
			t.Errorf("%s: %d %s", encoding, w.Code, w.Body)
		}
		if grown := allocatedBytes() - before; grown > 128<<20 {
			t.Errorf("%s: %d MiB were allocated for a body that is cut off at 16", encoding, grown>>20)
		}
	}
	if used := s.ingest.budget.InUse(); used != 0 {
		t.Errorf("%d bytes stay reserved", used)
	}
}

func allocatedBytes() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func TestABodyOfUnknownLengthIsCutOffToo(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.MaxBodyBytes, c.MaxEventBytes = 64<<10, 1<<10 })
	server := httptest.NewServer(s.router)
	defer server.Close()
	send := func(body []byte) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/events", struct{ *bytes.Reader }{bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = -1
		r.Header.Set("Content-Type", "application/x-ndjson")
		r.Header.Set("Authorization", "Bearer "+s.token)
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	if got := send(ndjsonOf(sampleEvents(200))); got != 202 {
		t.Errorf("%d", got)
	}
	if got := send(bytes.Repeat([]byte("\n"), 65<<10)); got != 413 {
		t.Errorf("%d", got)
	}
}

func TestResentBatchesAreTheSameRecords(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	body := ndjsonOf(sampleEvents(50))
	for range 2 {
		acceptanceIn(t, s.do(t, call{mediaType: "application/x-ndjson", body: body}))
	}
	copies := map[string]int{}
	for _, record := range s.records(t, kafka.TopicEvents) {
		copies[fmt.Sprintf("%d %s %x", record.Partition, record.Key, record.Value)]++
	}
	if len(copies) != 50 {
		t.Errorf("%d different records for 50 events", len(copies))
	}
	for record, n := range copies {
		if n != 2 {
			t.Errorf("%s: %d times", record, n)
		}
	}
}

func TestMetricsTellWhatWasAcceptedAndWhatWasNot(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendJSON(t, "["+eventJSON(nil)+","+eventJSON(map[string]any{"credits": "-1"})+","+eventJSON(map[string]any{"very-own-member": 1})+"]")
	if got := testutil.ToFloat64(s.ingest.metrics.accepted.WithLabelValues(kindEvent)); got != 1 {
		t.Errorf("accepted %v", got)
	}
	for _, code := range []string{"credits_negative", codeFieldUnknown} {
		if got := testutil.ToFloat64(s.ingest.metrics.rejected.WithLabelValues(code)); got != 1 {
			t.Errorf("rejected as %s: %v", code, got)
		}
	}
	if n := testutil.CollectAndCount(s.ingest.metrics.rejected); n != 2 {
		t.Errorf("%d codes: the sender's words have become labels", n)
	}
	if got := testutil.ToFloat64(s.ingest.metrics.inFlightBytes); got != 0 {
		t.Errorf("in flight: %v", got)
	}
}

func TestDecodingCostsFewAllocations(t *testing.T) {
	const n = 1000
	in := bareIngest()
	access := auth.Access{Workspace: schemas.AllWorkspaces, Scopes: []auth.Scope{auth.EventsWrite}}
	events := sampleEvents(n)
	for _, format := range formats[1:] {
		mediaType := strings.TrimSuffix(format.mediaType, "; charset=utf-8")
		body := format.encode(events)
		const ceiling = 0.2 // what the batch takes, and nothing for each
		perEvent := testing.AllocsPerRun(10, func() {
			b := in.newBatch(auth.WithAccess(t.Context(), access))
			b.expect(len(body), decoders[mediaType].usualEventBytes)
			if err := decoders[mediaType].decode(body, b); err != nil || len(b.records) != n {
				t.Fatal(err, len(b.records))
			}
			b.release()
		}) / n
		if perEvent > ceiling {
			t.Errorf("%s: %.2f allocations an event, at most %.1f", mediaType, perEvent, ceiling)
		}
	}
}
