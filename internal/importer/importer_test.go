package importer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"agentmeter/internal/eventclient"
	"agentmeter/internal/eventclient/eventclienttest"
	"agentmeter/internal/importer"
	"agentmeter/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is one import command: a server, a state directory, and what was
// written where.
type bench struct {
	server         *eventclienttest.Server
	opts           importer.Options
	stdout, stderr *buffer
	dir            string
}

// buffer is written by several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newBench(t *testing.T, configure func(*eventclienttest.Server)) *bench {
	t.Helper()
	b := &bench{server: eventclienttest.Start(t, configure), dir: t.TempDir(), stdout: new(buffer), stderr: new(buffer)}
	b.opts = importer.Options{
		Endpoint: eventclient.Static(b.server.URL, eventclienttest.Token), StateDir: t.TempDir(),
		MinBackoff: time.Microsecond, MaxBackoff: 10 * time.Microsecond,
		Stdout: b.stdout, Stderr: b.stderr, Stdin: strings.NewReader(""),
	}.WithSaveInterval(time.Nanosecond)
	return b
}

func (b *bench) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	data := []byte(content)
	if strings.HasSuffix(name, ".gz") {
		data = zipped(t, content)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t interface{ Fatal(...any) }, content string) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b *bench) run(t *testing.T, want importer.Outcome, names ...string) importer.Result {
	t.Helper()
	result, err := importer.Run(t.Context(), b.opts, names...)
	if got := result.Outcome(); got != want {
		t.Fatalf("%s (%v), want: %s\nstdout: %s\nstderr: %s", got, err, want, b.stdout, b.stderr)
	}
	return result
}

func line(i int) string {
	return fmt.Sprintf(`{"id":"m-%d","workspace_id":"ws","agent_id":"agt","occurred_at":"2026-11-24T09:31:47Z","channel":"api","credits":"1.5"}`, i)
}

func lines(from, to int) string {
	var out strings.Builder
	for i := from; i < to; i++ {
		out.WriteString(line(i))
		out.WriteByte('\n')
	}
	return out.String()
}

// envelope is a line of FILE.rejected.ndjson.
type envelope struct {
	Line        int64           `json:"line"`
	Code        string          `json:"code"`
	Detail      string          `json:"detail"`
	Event       json.RawMessage `json:"event"`
	EventBase64 []byte          `json:"event_base64"`
}

func readRejected(t interface{ Fatal(...any) }, path string) []envelope {
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []envelope
	for text := range strings.Lines(string(content)) {
		var e envelope
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err, text)
		}
		all = append(all, e)
	}
	return all
}

func TestSummaryIsOneLineAFile(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	plain, packed := b.write(t, "a.ndjson", lines(0, 12)), b.write(t, "b.ndjson.gz", lines(12, 6000))
	b.run(t, importer.AllAccepted, plain, packed)
	want := regexp.MustCompile(`^\S+/a\.ndjson: 12 accepted, 0 rejected in \d+\.\ds \([\d,]+ events/s\)\n\S+/b\.ndjson\.gz: 5988 accepted, 0 rejected in \d+\.\ds \([\d,]+ events/s\)\n$`)
	if got := b.stdout.String(); !want.MatchString(got) {
		t.Errorf("stdout is\n%s", got)
	}
	if n := len(b.server.Accepted()); n != 6000 {
		t.Errorf("%d events arrived", n)
	}
	if sizes := b.server.Sizes(); len(sizes) != 3 {
		t.Errorf("batches %v, want 12, 5,000 and 988", sizes)
	}
	if left, err := os.ReadDir(b.opts.StateDir); err != nil || len(left) != 2 {
		t.Errorf("the state directory holds %v (%v), want only the two locks", left, err)
	}
}

func TestTraceIsImportedWhole(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	trace, err := filepath.Abs("../../testdata/trace/llm_conversations_2023.ndjson.gz")
	if err != nil {
		t.Fatal(err)
	}
	b.opts.Compress = eventclient.CompressAlways
	link := filepath.Join(b.dir, "llm.ndjson.gz")
	if err := os.Symlink(trace, link); err != nil {
		t.Fatal(err)
	}
	result := b.run(t, importer.AllAccepted, link)
	if got := result.Files[0]; got.Accepted != 19_366 || got.Rejected != 0 || got.Lines != 19_366 {
		t.Errorf("got %+v", got)
	}
	if n := len(b.server.Accepted()); n != 19_366 {
		t.Errorf("%d events arrived", n)
	}
	for _, encoding := range b.server.Encodings() {
		if encoding != "gzip" {
			t.Errorf("a request was sent as %q", encoding)
		}
	}

	// What arrived adds up to what was computed without any of our code.
	var expected struct {
		Agents []struct {
			ID       string `json:"agent_id"`
			Credits  string `json:"credits"`
			Messages string `json:"messages"`
		} `json:"agents"`
	}
	content, err := os.ReadFile("../../testdata/trace/expected.json")
	if err == nil {
		err = json.Unmarshal(content, &expected)
	}
	if err != nil {
		t.Fatal(err)
	}
	credits, messages := map[string]schemas.Credits{}, map[string]int64{}
	for _, e := range b.server.Accepted() {
		if !e.Playground() {
			credits[string(e.Agent)] += e.Credits
			messages[string(e.Agent)] += e.Messages
		}
	}
	for _, want := range expected.Agents {
		if got := credits[want.ID].String(); got != want.Credits || fmt.Sprint(messages[want.ID]) != want.Messages {
			t.Errorf("%s has %s credits of %d messages, want %s and %s", want.ID, got, messages[want.ID], want.Credits, want.Messages)
		}
	}
	if len(expected.Agents) != 10 || len(credits) != 10 {
		t.Errorf("%d agents, want %d", len(credits), len(expected.Agents))
	}
}

func TestRejectedLinesAreListedWithTheirNumbers(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	content := "\ufeff" + line(1) + "\r\n\r\n" + // 1, and a blank 2
		`{"id":"m-3","workspace_id":"ws","agent_id":"agt","occurred_at":"2026-11-24T09:31:47Z","channel":"api","credits":"-1"}` + "\n" + // 3
		"   \t\n\n" + // blank 4 and 5
		line(6) + "\n" +
		`{"id":"m-7",` + "\n" + // 7
		"\u00a0\n" + // blank 8
		"\x00\xff" + "\n" + // 9
		"  " + line(10) // 10, without a line feed
	path := b.write(t, "events.ndjson", content)
	b.opts.BatchEvents = 2
	// The binary line must not make the file look binary.
	if _, err := importer.Run(t.Context(), b.opts, path); !errors.Is(err, importer.ErrMisuse) {
		t.Fatalf("a NUL byte at the beginning: %v", err)
	}
	path = b.write(t, "events.ndjson", strings.ReplaceAll(content, "\x00", "\\"))
	result := b.run(t, importer.NotAll, path)
	if got := result.Files[0]; got.Accepted != 3 || got.Rejected != 3 || got.Lines != 10 || !got.Finished {
		t.Errorf("got %+v", got)
	}
	want := fmt.Sprintf("%[1]s:3: credits_negative: credits: is negative; corrections go to POST /v1/adjustments (id m-3)\n"+
		"%[1]s:7: event_invalid: unexpected EOF\n"+
		"%[1]s:9: event_invalid: invalid character '\\\\' looking for beginning of value\n"+
		"%[1]s: the rejected lines are in %[1]s.rejected.ndjson\n"+
		"%[1]s: 3 accepted, 3 rejected in ", path)
	if got := b.stdout.String(); !strings.HasPrefix(got, want) {
		t.Errorf("stdout is\n%s\nwant\n%s", got, want)
	}
	rejected := readRejected(t, path+".rejected.ndjson")
	if len(rejected) != 3 {
		t.Fatalf("the rejected file has %+v", rejected)
	}
	if r := rejected[0]; r.Line != 3 || r.Code != "credits_negative" || !bytes.Contains(r.Event, []byte(`"credits":"-1"`)) {
		t.Errorf("got %+v", r)
	}
	if r := rejected[1]; r.Line != 7 || string(r.Event) != `"{\"id\":\"m-7\","` {
		t.Errorf("got %+v, event %s", r, r.Event)
	}
	if r := rejected[2]; r.Line != 9 || string(r.EventBase64) != "\\\xff" || r.Event != nil {
		t.Errorf("got %+v", r)
	}
}

// What was rejected is corrected where it was written to, and that file imported.
func TestRejectedLinesAreCorrectedAndImportedAsTheyAre(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	broken := strings.TrimSuffix(line(3), "}")
	path := b.write(t, "x.ndjson", line(1)+"\n"+strings.Replace(line(2), "1.5", "-1.5", 1)+"\n"+broken+"\n"+strings.Replace(line(4), "1.5", "-4", 1)+"\n\xff\n")
	b.run(t, importer.NotAll, path)
	rejected := path + ".rejected.ndjson"
	content, err := os.ReadFile(rejected)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(broken)
	if err != nil {
		t.Fatal(err)
	}
	corrected := strings.Replace(string(content), `"credits":"-1.5"`, `"credits":"1.5"`, 1)
	corrected = strings.Replace(corrected, string(quoted), line(3), 1)
	if err := os.WriteFile(rejected, []byte(corrected), 0o600); err != nil {
		t.Fatal(err)
	}
	result := b.run(t, importer.NotAll, rejected)
	if got := result.Files[0]; got.Accepted != 2 || got.Rejected != 2 || got.First[0].Line != 3 || got.First[0].ID != "m-4" {
		t.Errorf("got %+v", got)
	}
	for _, id := range []string{"m-1", "m-2", "m-3"} {
		if _, arrived := b.server.Accepted()[id]; !arrived {
			t.Errorf("%s did not arrive", id)
		}
	}
	// What is rejected again is no envelope within an envelope.
	again := readRejected(t, rejected+".rejected.ndjson")
	if len(again) != 2 || again[0].Line != 3 || string(again[0].Event) != strings.Replace(line(4), "1.5", "-4", 1) || string(again[1].EventBase64) != "\xff" {
		t.Errorf("rejected again: %+v", again)
	}
}

func TestNoLineOfARejectedFileIsMoreThanOneEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	wrap := func(event string) string {
		quoted, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		return `{"line":1,"code":"c","detail":"d","event":` + string(quoted) + "}\n"
	}
	path := b.write(t, "x.ndjson.rejected.ndjson",
		wrap(line(1)+"\n"+line(2))+wrap("")+wrap("\u00a0")+wrap(strings.Replace(line(3), ",", ",\n", 1))+
			wrap(`{"id":"`+strings.Repeat(`"`, importer.MaxEventBytes)+`"}`)+`{"line":1,"event":`+line(4)+`,"more":1}`+"\n"+line(5))
	result := b.run(t, importer.NotAll, path)
	if got := result.Files[0]; got.Accepted != 2 || got.Rejected != 5 || got.Lines != 7 {
		t.Errorf("got %+v\n%s", got, b.stdout)
	}
	if n := len(b.server.Accepted()); n != 2 {
		t.Errorf("%d events arrived, want those of lines 4 and 7", n)
	}
}

func TestWholeBatchRefusedIsListedLineByLine(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.opts.BatchEvents, b.opts.ListLimit = 3, 4
	var content strings.Builder
	for i := range 10 {
		fmt.Fprintf(&content, "{\"id\":\"m-%d\"}\n", i)
	}
	content.WriteString(line(10))
	path := b.write(t, "x.ndjson", content.String())
	result := b.run(t, importer.NotAll, path)
	if got := result.Files[0]; got.Accepted != 1 || got.Rejected != 10 || len(got.First) != 4 {
		t.Errorf("got %+v", got)
	}
	if got := b.stdout.String(); strings.Count(got, "credits_invalid") != 4 || !strings.Contains(got, "x.ndjson: and 6 more rejected lines, 10 in all\n") {
		t.Errorf("stdout is\n%s", got)
	}
	rejected := readRejected(t, path+".rejected.ndjson")
	for i, r := range rejected {
		if r.Line != int64(i+1) || string(r.Event) != fmt.Sprintf(`{"id":"m-%d"}`, i) {
			t.Errorf("rejection %d is %+v", i, r)
		}
	}
	if len(rejected) != 10 {
		t.Errorf("%d rejections", len(rejected))
	}
}

func TestHugeLineIsRejectedWithoutBeingSent(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	pad := func(n int) string { // an event of n bytes, which is refused for its long model
		head, tail := `{"id":"big","workspace_id":"ws","agent_id":"agt","occurred_at":"2026-11-24T09:31:47Z","channel":"api","credits":"1","model":"`, `"}`
		return head + strings.Repeat("é", (n-len(head)-len(tail))/2) + strings.Repeat("x", (n-len(head)-len(tail))%2) + tail
	}
	path := b.write(t, "x.ndjson.gz", line(1)+"\n"+pad(importer.MaxEventBytes)+"\r\n"+pad(importer.MaxEventBytes+1)+"\n"+line(4)+"\n"+pad(20<<20))
	b.opts.BatchBytes = 1 << 20
	result := b.run(t, importer.NotAll, path)
	if got := result.Files[0]; got.Accepted != 2 || got.Rejected != 3 {
		t.Errorf("got %+v", got)
	}
	if n := b.server.Received("big"); n != 1 {
		t.Errorf("%d of the big lines were sent, want only the one of exactly 1 MiB", n)
	}
	rejected := readRejected(t, path+".rejected.ndjson")
	for i, want := range []struct {
		line int64
		code string
	}{{2, "model_invalid"}, {3, "event_too_large"}, {5, "event_too_large"}} {
		if rejected[i].Line != want.line || rejected[i].Code != want.code {
			t.Errorf("rejection %d is on line %d with %s, want %+v", i, rejected[i].Line, rejected[i].Code, want)
		}
	}
	if n := len(rejected[2].Event) + len(rejected[2].EventBase64); n > 2000 {
		t.Errorf("%d bytes of the huge line are kept", n)
	}
}

func TestCSVBecomesEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	content := "\ufeffcredits, id,workspace_id,agent_id,occurred_at,channel,model,messages,conversation_id\r\n" +
		`0.1,m-1,ws,agt,2026-11-24T09:31:47.123456Z,embed,,,` + "\r\n" +
		"\r\n" +
		`"2","m-2",ws,"agt, the ""second""",2026-11-24T10:31:47+01:00,api,large,3,conv` + "\n" +
		`1,m-5,ws,agt` + "\n" + // line 5
		`1,m"6,ws,agt,2026-11-24T09:31:47Z,api,,,` + "\n" + // line 6
		"1,m-7,ws,agt,2026-11-24T09:31:47Z,api,\xff,,\n" + // line 7
		"1,\"m-8\nm-9,ws\",ws,agt,2026-11-24T09:31:47Z,api,,,\n" + // lines 8 and 9
		`,m-10,ws,agt,2026-11-24T09:31:47Z,api,,,` + "\n" + // line 10
		`1,m-11,ws,agt,2026-11-24T09:31:47Z,api,,,`
	path := b.write(t, "events.csv", content)
	result := b.run(t, importer.NotAll, path)
	if got := result.Files[0]; got.Accepted != 3 || got.Rejected != 5 || got.Lines != 11 {
		t.Errorf("got %+v\n%s", got, b.stdout)
	}
	accepted := b.server.Accepted()
	if e := accepted["m-1"]; e.Credits != 100_000 || e.Messages != 1 || e.OccurredAt.Nanosecond() != 123456000 || e.Model != "" {
		t.Errorf("m-1 is %+v", e)
	}
	if e := accepted["m-2"]; e.Agent != `agt, the "second"` || e.Messages != 3 || e.Model != "large" || e.Conversation != "conv" || e.OccurredAt.Hour() != 9 {
		t.Errorf("m-2 is %+v", e)
	}
	rejected := readRejected(t, path+".rejected.ndjson")
	for i, want := range []struct {
		line   int64
		code   string
		detail string
	}{
		{5, "event_invalid", "has 4 fields, but the header row has 9"},
		{6, "event_invalid", "quote"},
		{7, "model_invalid", "UTF-8"},
		{8, "id_invalid", "control character"},
		{10, "credits_", ""},
	} {
		if r := rejected[i]; r.Line != want.line || !strings.HasPrefix(r.Code, want.code) || !strings.Contains(r.Detail, want.detail) {
			t.Errorf("rejection %d is %d %s: %s; want %+v", i, r.Line, r.Code, r.Detail, want)
		}
	}
	if string(rejected[0].Event) != `"1,m-5,ws,agt"` || string(rejected[2].EventBase64) != "1,m-7,ws,agt,2026-11-24T09:31:47Z,api,\xff,," {
		t.Errorf("the original lines are kept as %s and %s", rejected[0].Event, rejected[2].EventBase64)
	}
}

func TestMisuseIsFoundBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	header := "id,workspace_id,agent_id,occurred_at,channel,credits\n"
	for _, test := range []struct {
		name, file, content string
		want                []string
	}{
		{"unknown column", "x.csv", "id,workspace_id,agent_id,occurred_at,channel,price\n", []string{`"price"`, "credits", "conversation_id", "messages", "x.csv"}},
		{"missing column", "x.csv", "id,workspace_id,agent_id,occurred_at,channel\n", []string{"credits is missing"}},
		{"column twice", "x.csv", "id,id,workspace_id,agent_id,occurred_at,channel,credits\n", []string{"the column id is there twice"}},
		{"column without a name", "x.csv", "id,workspace_id,agent_id,occurred_at,channel,credits,\n", []string{"column 7 has no name"}},
		{"semicolons", "x.csv", strings.ReplaceAll(header, ",", ";"), []string{"separated by commas"}},
		{"CSV by its content", "events", "a,b\n", []string{`unknown column "a"`}},
		{"broken header", "x.csv", "id,work\"space\n", []string{"header row", "quote"}},
		{"open header", "x.csv", "\"id,work\n", []string{"header row", "never closed"}},
		{"JSON array", "x.json", " [\n" + line(1) + "]", []string{"JSON array", "jq"}},
		{"binary", "x.ndjson", "PK\x03\x04\x00\x00", []string{"not text"}},
		{"UTF-16", "x.csv", "\xff\xfei\x00d\x00", []string{"UTF-16", "UTF-8"}},
		{"damaged gzip header", "x.gz", "", []string{"unpack"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			good, bad := b.write(t, "good.ndjson", lines(0, 3)), b.write(t, test.file, test.content)
			if test.content == "" {
				if err := os.WriteFile(bad, []byte("\x1f\x8bnonsense"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			result := b.run(t, importer.NothingDone, good, bad)
			for _, want := range test.want {
				if !strings.Contains(result.Err.Error(), want) {
					t.Errorf("%q does not mention %q", result.Err, want)
				}
			}
			if b.server.Calls() != 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestMisuseOfTheCommandLineIsNamed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*importer.Options)
		names  []string
		want   string
	}{
		{"no files", nil, nil, "name the files"},
		{"not there", nil, []string{"/nowhere/x.ndjson"}, "/nowhere/x.ndjson"},
		{"a directory", nil, []string{"/"}, "directory"},
		{"stdin twice", nil, []string{"-", "-"}, "only once"},
		{"negative bounds", func(o *importer.Options) { o.InFlight, o.BatchEvents, o.Progress = -1, -1, 9 }, []string{"-"}, "--in-flight"},
		{"no endpoint", func(o *importer.Options) { o.Endpoint = nil }, []string{"-"}, "endpoint"},
		{"no instance", func(o *importer.Options) {
			o.Endpoint = func(context.Context) (string, string, error) {
				return "", "", errors.New("no instance is running in DIR")
			}
		}, []string{"-"}, "no instance is running in DIR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			if test.change != nil {
				test.change(&b.opts)
			}
			result := b.run(t, importer.NothingDone, test.names...)
			if !strings.Contains(result.Err.Error(), test.want) {
				t.Errorf("%q does not mention %q", result.Err, test.want)
			}
		})
	}
}

func TestRefusedTokenOrAddressSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		want   string
	}{
		{http.StatusUnauthorized, "agentmeter token"},
		{http.StatusForbidden, "events:write"},
		{http.StatusNotFound, "is this the address"},
		{http.StatusMethodNotAllowed, "is this the address"},
		{http.StatusOK, "answered 200 OK"},
	} {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(s *eventclienttest.Server) {
				s.Intercept = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
					eventclienttest.WriteProblem(w, test.status, "some_code", "Some detail.")
					return true
				}
			})
			path := b.write(t, "x.ndjson", lines(0, 3))
			result := b.run(t, importer.NothingDone, path, path)
			if !strings.Contains(result.Err.Error(), test.want) || len(result.Files) != 1 {
				t.Errorf("%q does not mention %q", result.Err, test.want)
			}
			if !strings.Contains(b.stdout.String(), "not finished") {
				t.Errorf("stdout is %s", b.stdout)
			}
			if b.server.Calls() != 1 {
				t.Errorf("%d requests", b.server.Calls())
			}
		})
	}
}

// A token that runs out on the way ends an import that has begun.
func TestAnImportThatHasBegunIsNotFinishedRatherThanMisuse(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(s *eventclienttest.Server) {
		s.Intercept = func(call int, w http.ResponseWriter, _ *http.Request) bool {
			if call == 0 {
				return false
			}
			eventclienttest.WriteProblem(w, http.StatusUnauthorized, "token_expired", "It has run out.")
			return true
		}
	})
	b.opts.BatchEvents, b.opts.InFlight = 10, 1
	path := b.write(t, "x.ndjson", lines(0, 30))
	b.run(t, importer.NotAll, path)
	b.run(t, importer.NothingDone, path) // nothing more can be done with it
}

func TestInterruptedImportGoesOnWhereItsAnswersEnd(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancelCause(t.Context())
	b := newBench(t, func(s *eventclienttest.Server) {
		s.Intercept = func(call int, _ http.ResponseWriter, r *http.Request) bool {
			if call == 5 {
				interrupt(errors.New("asked to stop"))
				_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client go
				<-r.Context().Done()
				return true
			}
			return false
		}
	})
	b.opts.BatchEvents, b.opts.InFlight = 10, 1
	path := b.write(t, "x.ndjson", lines(0, 30)+"{}\n"+lines(31, 100))
	result, err := importer.Run(ctx, b.opts, path)
	if result.Outcome() != importer.NotAll || !strings.Contains(err.Error(), "run the same command again") || !strings.Contains(err.Error(), "asked to stop") {
		t.Fatalf("%s, %v", result.Outcome(), err)
	}
	if got := result.Files[0]; got.Finished || got.Lines != 50 || got.Accepted != 49 || got.Rejected != 1 {
		t.Fatalf("got %+v", got)
	}
	if !strings.Contains(b.stdout.String(), "x.ndjson:31: ") || !strings.Contains(b.stdout.String(), "not finished: answered up to line 50") {
		t.Errorf("stdout is\n%s", b.stdout)
	}

	result = b.run(t, importer.NotAll, path)
	if got := result.Files[0]; !got.Finished || got.Lines != 100 || got.Accepted != 99 || got.Rejected != 1 || got.ResumedAt != 50 || got.First[0].Line != 31 {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(b.stderr.String(), "going on after line 50") {
		t.Errorf("stderr is\n%s", b.stderr)
	}
	for i := range 100 {
		if want := 1; i != 30 && b.server.Received(fmt.Sprintf("m-%d", i)) != want {
			t.Errorf("m-%d was processed %d times", i, b.server.Received(fmt.Sprintf("m-%d", i)))
		}
	}
	if r := readRejected(t, path+".rejected.ndjson"); len(r) != 1 || r[0].Line != 31 {
		t.Errorf("rejected %+v", r)
	}

	// It is finished, so the next run begins anew.
	result = b.run(t, importer.NotAll, path)
	if result.Files[0].ResumedAt != 0 || b.server.Received("m-1") != 2 {
		t.Errorf("got %+v", result.Files[0])
	}
}

func TestImportStartsOverUnlessEverythingIsTheSame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(t *testing.T, b *bench, path string)
		note   string
		resume bool
	}{
		{"nothing changed", func(*testing.T, *bench, string) {}, "going on after line 20", true},
		{"the file has grown", func(t *testing.T, b *bench, path string) {
			b.write(t, filepath.Base(path), "{}\n"+lines(1, 41))
		}, "starting over: the file has changed", false},
		{"the file was written again", func(t *testing.T, _ *bench, path string) {
			if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, "starting over: the file has changed", false},
		{"another destination", func(_ *testing.T, b *bench, _ string) { b.opts.Target = "another" }, "", false},
		{"asked to", func(_ *testing.T, b *bench, _ string) { b.opts.Restart = true }, "starting over, as asked", false},
		{"unreadable progress", func(t *testing.T, b *bench, _ string) {
			for _, name := range stateFiles(t, b, "*.json") {
				if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, "starting over: its progress file cannot be read", false},
		{"rejected lines are gone", func(t *testing.T, b *bench, _ string) {
			for _, name := range stateFiles(t, b, "*.rejected.ndjson") {
				if err := os.Truncate(name, 3); err != nil {
					t.Fatal(err)
				}
			}
		}, "starting over: rejected lines of the run before", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var healed atomic.Bool
			b := newBench(t, func(s *eventclienttest.Server) {
				s.Fault = func(call int) eventclienttest.Fault {
					if call >= 2 && !healed.Load() {
						return eventclienttest.FaultUnavailable
					}
					return eventclienttest.FaultNone
				}
			})
			b.opts.Target, b.opts.BatchEvents, b.opts.InFlight, b.opts.RetryFor = "one", 10, 1, -1
			path := b.write(t, "x.ndjson", "{}\n"+lines(1, 40))
			result := b.run(t, importer.NotAll, path)
			if !strings.Contains(result.Err.Error(), "run the same command again") || result.Files[0].Lines != 20 {
				t.Fatalf("%+v, %v", result.Files[0], result.Err)
			}
			healed.Store(true)
			test.change(t, b, path)
			result = b.run(t, importer.NotAll, path)
			got := result.Files[0]
			if got.Rejected != 1 || got.Accepted != got.Lines-1 || got.Lines < 40 {
				t.Errorf("got %+v", got)
			}
			if resumed := got.ResumedAt == 20; resumed != test.resume || b.server.Received("m-1") != map[bool]int{true: 1, false: 2}[resumed] {
				t.Errorf("got %+v; m-1 was processed %d times", got, b.server.Received("m-1"))
			}
			if !strings.Contains(b.stderr.String(), test.note) {
				t.Errorf("stderr %q does not mention %q", b.stderr, test.note)
			}
		})
	}
}

func stateFiles(t *testing.T, b *bench, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(b.opts.StateDir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatal("no state files", err)
	}
	return names
}

// A restart that is killed at once must not fall back to the progress that it
// was told to ignore.
func TestRestartForgetsOldProgress(t *testing.T) {
	t.Parallel()
	var b *bench
	b = newBench(t, func(s *eventclienttest.Server) {
		s.Intercept = func(int, http.ResponseWriter, *http.Request) bool {
			if left, _ := filepath.Glob(filepath.Join(b.opts.StateDir, "*.json")); b.opts.Restart && len(left) > 0 {
				t.Error("the old progress file is still there")
			}
			return false
		}
		s.Fault = func(call int) eventclienttest.Fault {
			if call == 1 {
				return eventclienttest.FaultUnavailable
			}
			return eventclienttest.FaultNone
		}
	})
	b.opts.BatchEvents, b.opts.InFlight, b.opts.RetryFor = 10, 1, -1
	path := b.write(t, "x.ndjson", lines(0, 20))
	b.run(t, importer.NotAll, path)
	stateFiles(t, b, "*.json")
	b.opts.Restart, b.opts.BatchEvents = true, 100
	if result := b.run(t, importer.AllAccepted, path); result.Files[0].ResumedAt != 0 || b.server.Received("m-0") != 2 {
		t.Errorf("got %+v", result.Files[0])
	}
}

func TestGivesUpAfterTheTimeAndSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.ndjson")
		if err := os.WriteFile(path, []byte(lines(0, 3)), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr buffer
		began := time.Now()
		result, err := importer.Run(t.Context(), importer.Options{
			Endpoint: eventclient.Static("http://meter.test", ""), StateDir: dir, Stdout: &stdout, Stderr: &stderr,
			RetryFor: time.Minute,
			Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				return nil, errors.New("connection refused")
			}),
		}, path, path)
		if took := time.Since(began); took > time.Minute || took < 40*time.Second {
			t.Errorf("took %s", took)
		}
		if result.Outcome() != importer.NothingDone {
			t.Errorf("%s", result.Outcome())
		}
		for _, want := range []string{"connection refused", "run the same command again", "answered up to line 0", "1 of 2 files not begun"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not mention %q", err, want)
			}
		}
		if n := strings.Count(stderr.String(), "trying again for up to"); n < 3 || n > 7 {
			t.Errorf("%d notices in a minute:\n%s", n, stderr.String())
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestProgressIsShownInPlainLinesWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.ndjson")
		if err := os.WriteFile(path, []byte(lines(0, 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr buffer
		calls := 0
		_, err := importer.Run(t.Context(), importer.Options{
			Endpoint: eventclient.Static("http://meter.test", ""), StateDir: dir, Stdout: &stdout, Stderr: &stderr,
			BatchEvents: 50, InFlight: 1,
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				<-time.After(time.Second) // virtual
				calls++
				if calls == 3 {
					return nil, errors.New("connection reset")
				}
				return &http.Response{
					StatusCode: http.StatusAccepted, Header: http.Header{}, Request: r,
					Body: io.NopCloser(strings.NewReader(`{"accepted":50,"rejected":[]}`)),
				}, nil
			}),
		}, path)
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(`^` +
			`\S+x\.ndjson: Post "http://meter\.test/v1/events": connection reset; trying again for up to 2m0s\n` +
			`\S+x\.ndjson: the server answers again\n` +
			`\S+x\.ndjson: \d+ % of \d+ KiB, 200 accepted, 0 rejected, \d+ events/s\n` +
			`\S+x\.ndjson: \d+ % of \d+ KiB, 450 accepted, 0 rejected, \d+ events/s\n` +
			`\S+x\.ndjson: \d+ % of \d+ KiB, 700 accepted, 0 rejected, \d+ events/s\n` +
			`\S+x\.ndjson: \d+ % of \d+ KiB, 950 accepted, 0 rejected, \d+ events/s\n$`)
		if got := stderr.String(); !want.MatchString(got) {
			t.Errorf("stderr is\n%s", got)
		}
	})
}

func TestBarKeepsOffTheStandardOutput(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.opts.Progress, b.opts.BatchEvents = importer.ProgressBar, 10
	path := b.write(t, "x.ndjson", lines(0, 500))
	b.run(t, importer.AllAccepted, path)
	if got := b.stderr.String(); !strings.Contains(got, "x.ndjson: 10 accepted, 0 rejected") {
		t.Errorf("stderr is %q", got)
	}
	if got := b.stdout.String(); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\r\x1b") {
		t.Errorf("stdout is %q", got)
	}
}

func TestBrokenOffGzipIsNotFinished(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	packed := zipped(t, lines(0, 5000))
	path := filepath.Join(b.dir, "x.ndjson.gz")
	if err := os.WriteFile(path, packed[:len(packed)*3/4], 0o600); err != nil {
		t.Fatal(err)
	}
	other := b.write(t, "y.ndjson", lines(5000, 5003))
	b.opts.BatchEvents = 100
	result := b.run(t, importer.NotAll, path, other)
	got := result.Files[0]
	if got.Finished || got.Accepted == 0 || got.Accepted != got.Lines || !strings.Contains(result.Err.Error(), "could not be read on") {
		t.Errorf("got %+v, %v", got, result.Err)
	}
	if n := len(b.server.Accepted()); int64(n) != got.Accepted+3 || len(result.Files) != 2 || !result.Files[1].Finished {
		t.Errorf("%d events arrived; %+v", n, result.Files)
	}
}

func TestUnclosedQuoteEndsTheFile(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	row := "m-%d,ws,agt,2026-11-24T09:31:47Z,api,1\n"
	path := b.write(t, "x.csv", "id,workspace_id,agent_id,occurred_at,channel,credits\n"+
		fmt.Sprintf(row, 2)+`"`+fmt.Sprintf(row, 3)+fmt.Sprintf(row, 4))
	result := b.run(t, importer.NotAll, path)
	if !strings.Contains(result.Err.Error(), "line 3: a quoted field is never closed") || len(b.server.Accepted()) != 1 {
		t.Errorf("%v; %d events arrived", result.Err, len(b.server.Accepted()))
	}
}

func TestRejectedFileThatCannotBeWrittenIsSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	path := b.write(t, "x.ndjson", "{}\n"+line(2))
	if err := os.Mkdir(path+".rejected.ndjson", 0o700); err != nil { // stands in the way
		t.Fatal(err)
	}
	result := b.run(t, importer.NotAll, path)
	if result.Files[0].RejectedErr == nil || result.Files[0].RejectedFile != "" {
		t.Errorf("got %+v", result.Files[0])
	}
	found := regexp.MustCompile(`cannot be written to .*\n.*: they are in (.*) instead\n`).FindStringSubmatch(b.stderr.String())
	if found == nil {
		t.Fatalf("stderr is %s", b.stderr)
	}
	if kept := readRejected(t, found[1]); len(kept) != 1 || kept[0].Line != 1 {
		t.Errorf("kept %+v", kept)
	}
}

func TestRejectedFileOfAnEarlierImportDoesNotStay(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	path := b.write(t, "x.ndjson", "{}\n"+line(2))
	b.run(t, importer.NotAll, path)
	b.write(t, "x.ndjson", line(1)+"\n"+line(2))
	b.run(t, importer.AllAccepted, path)
	if _, err := os.Stat(path + ".rejected.ndjson"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if !strings.Contains(b.stderr.String(), "removed") {
		t.Errorf("stderr is %s", b.stderr)
	}
}

func TestImportWorksWithoutACacheDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.opts.StateDir = filepath.Join(b.write(t, "file", "x"), "below") // cannot be made
	path := b.write(t, "x.ndjson", "{}\n"+line(2))
	b.run(t, importer.NotAll, path)
	if !strings.Contains(b.stderr.String(), "progress cannot be kept") {
		t.Errorf("stderr is %s", b.stderr)
	}
	if r := readRejected(t, path+".rejected.ndjson"); len(r) != 1 {
		t.Errorf("rejected %+v", r)
	}
}

func TestOneImportOfAFileAtATime(t *testing.T) {
	t.Parallel()
	var b *bench
	var path string
	var second error
	b = newBench(t, func(s *eventclienttest.Server) {
		s.Intercept = func(call int, _ http.ResponseWriter, _ *http.Request) bool {
			if call == 0 {
				_, second = importer.Run(t.Context(), b.opts, path)
			}
			return false
		}
	})
	path = b.write(t, "x.ndjson", lines(0, 3))
	b.run(t, importer.AllAccepted, path)
	if second == nil || !errors.Is(second, importer.ErrMisuse) || !strings.Contains(second.Error(), "another import of this file is running") {
		t.Errorf("the second import ended with %v", second)
	}
}

func TestStandardInputIsImportedAndHoldsUpNoInterruption(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	t.Run("is imported, packed too", func(t *testing.T) {
		b.opts.Stdin = bytes.NewReader(zipped(t, lines(0, 7)))
		result := b.run(t, importer.AllAccepted, "-")
		if got := result.Files[0]; got.Accepted != 7 || got.Name != "stdin" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("does not hold up an interruption", func(t *testing.T) {
		reader, writer := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		b.opts.Stdin = reader
		go func() {
			_, _ = io.WriteString(writer, lines(0, 3))
			cancel() // and nothing more comes
		}()
		result, err := importer.Run(ctx, b.opts, "-")
		if result.Outcome() == importer.AllAccepted || !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", result, err)
		}
		_ = writer.Close()
	})
}

func TestEmptyFilesAreAccepted(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.run(t, importer.AllAccepted, b.write(t, "a.ndjson", ""), b.write(t, "b.csv", ""), b.write(t, "c", "\n\n"), b.write(t, "d.ndjson.gz", ""),
		b.write(t, "e.csv", "id,workspace_id,agent_id,occurred_at,channel,credits\n"))
	if b.server.Calls() != 0 {
		t.Error("something was sent")
	}
}

func TestFileThatChangesMeanwhileIsMentioned(t *testing.T) {
	t.Parallel()
	var b *bench
	var path string
	b = newBench(t, func(s *eventclienttest.Server) {
		s.Intercept = func(int, http.ResponseWriter, *http.Request) bool {
			if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			return false
		}
	})
	path = b.write(t, "x.ndjson", lines(0, 3))
	b.run(t, importer.AllAccepted, path)
	if !strings.Contains(b.stderr.String(), "changed while it was read") {
		t.Errorf("stderr is %s", b.stderr)
	}
}

func TestTextFromElsewhereCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(s *eventclienttest.Server) {
		s.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"accepted":0,"rejected":[{"index":0,"id":"\u001b[2J","code":"c\u0007","detail":"d\u202e\r\n"}]}`)
			return true
		}
	})
	b.run(t, importer.NotAll, b.write(t, "x.ndjson", "{}"))
	if got := b.stdout.String(); !strings.Contains(got, `:1: c\u0007: d\u202e\u000d\u000a (id \u001b[2J)`) {
		t.Errorf("stdout is %q", got)
	}
}

// The law: whatever the file holds, however it is packed and cut into batches,
// whatever faults come and wherever runs are interrupted or killed, in the end
// each line has exactly one answer, the right one, and each good event has
// arrived.
func TestEveryLineIsAnsweredOnceWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		csv, packed := rapid.Bool().Draw(rt, "csv"), rapid.Bool().Draw(rt, "packed")
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"good", "good", "good", "blank", "broken", "negative", "short"}), 0, 60).Draw(rt, "lines")
		faults := rapid.SliceOfN(rapid.SampledFrom(eventclienttest.Faults), 0, 40).Draw(rt, "faults")
		interruptions := rapid.SliceOfN(rapid.IntRange(1, 12), 0, 4).Draw(rt, "interruptions")
		kill := rapid.Bool().Draw(rt, "kill")
		ending := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(rt, "ending")

		var content strings.Builder
		offset, name := 1, "x.ndjson"
		if csv {
			name, offset = "x.csv", 2
			content.WriteString("id,workspace_id,agent_id,occurred_at,channel,credits" + ending)
		}
		good := map[string]bool{}
		var bad []int64
		for i, kind := range kinds {
			id := fmt.Sprintf("m-%d", i)
			row := []string{id, "ws", "agt", "2026-11-24T09:31:47Z", "api", "1"}
			switch kind {
			case "negative":
				row[5] = "-1"
			case "short":
				row = row[:4]
			}
			switch {
			case kind == "blank":
				content.WriteString(" \t")
			case kind == "broken" && csv:
				content.WriteString(`m"` + id + `,a`)
			case kind == "broken":
				content.WriteString(`{"id":` + id)
			case csv:
				content.WriteString(strings.Join(row, ","))
			default:
				names := []string{"id", "workspace_id", "agent_id", "occurred_at", "channel", "credits"}
				members := map[string]string{}
				for i, value := range row {
					members[names[i]] = value
				}
				encoded, err := json.Marshal(members)
				if err != nil {
					rt.Fatal(err)
				}
				content.Write(encoded)
			}
			if i < len(kinds)-1 {
				content.WriteString(ending)
			}
			if kind == "good" {
				good[id] = true
			} else if kind != "blank" {
				bad = append(bad, int64(i+offset))
			}
		}

		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		data := []byte(content.String())
		if packed {
			name += ".gz"
			data = zipped(rt, content.String())
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			rt.Fatal(err)
		}

		// The server chooses faults by the order of requests and interrupts the
		// run after so many of them.
		var mu sync.Mutex
		left, interrupt := 0, context.CancelFunc(func() {})
		state := filepath.Join(dir, "state")
		server := eventclienttest.Start(t, func(s *eventclienttest.Server) {
			s.Intercept = func(int, http.ResponseWriter, *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if left--; left == 0 {
					if kill { // what a kill at this moment would leave
						copyState(t, state, state+".killed")
					}
					interrupt()
				}
				return false
			}
			s.Fault = func(call int) eventclienttest.Fault {
				if call < len(faults) {
					return faults[call]
				}
				return eventclienttest.FaultNone
			}
		})
		run := func(after int) importer.Result {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			mu.Lock()
			left, interrupt = after, cancel
			mu.Unlock()
			result, _ := importer.Run(ctx, importer.Options{
				Endpoint: eventclient.Static(server.URL, eventclienttest.Token), StateDir: state, Target: "server",
				BatchEvents: rapid.IntRange(1, 9).Draw(rt, "batch"), InFlight: rapid.IntRange(1, 3).Draw(rt, "in flight"),
				MinBackoff: time.Microsecond, MaxBackoff: 10 * time.Microsecond,
				Compress: eventclient.Compress(rapid.IntRange(0, 2).Draw(rt, "compress")),
			}.WithSaveInterval(time.Nanosecond), path)
			if _, err := os.Stat(state + ".killed"); err == nil {
				if err := errors.Join(os.RemoveAll(state), os.Rename(state+".killed", state)); err != nil {
					rt.Fatal(err)
				}
			}
			return result
		}
		for _, after := range interruptions {
			run(after)
		}
		result := run(0)

		file := result.Files[0]
		if !file.Finished || file.Accepted != int64(len(good)) || file.Rejected != int64(len(bad)) {
			rt.Fatalf("got %+v (%v), want %d accepted and %d rejected", file, result.Err, len(good), len(bad))
		}
		accepted := server.Accepted()
		for id := range good {
			if _, ok := accepted[id]; !ok {
				rt.Errorf("%s has not arrived", id)
			}
		}
		if len(accepted) != len(good) {
			rt.Errorf("%d events arrived, want %d", len(accepted), len(good))
		}
		var listed []int64
		if len(bad) > 0 {
			for _, r := range readRejected(rt, path+".rejected.ndjson") {
				listed = append(listed, r.Line)
			}
		}
		if !slices.Equal(listed, bad) {
			rt.Errorf("lines %v are in the rejected file, want %v", listed, bad)
		}
	})
}

// copyState copies the progress file before the rejected lines, so that the
// copy is no further ahead than a kill would leave it.
func copyState(t *testing.T, from, to string) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{"*.json", "*.ndjson"} {
		names, _ := filepath.Glob(filepath.Join(from, pattern))
		for _, name := range names {
			content, err := os.ReadFile(name)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(to, filepath.Base(name)), content, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// What can be read only once is not looked at and then read: it would be empty.
func TestWhatIsNoFileIsRefused(t *testing.T) {
	b := newBench(t, nil)
	pipe := filepath.Join(b.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := importer.Run(t.Context(), b.opts, pipe)
	if !errors.Is(err, importer.ErrMisuse) || !strings.Contains(err.Error(), "agentmeter import - <") {
		t.Errorf("a named pipe: %v", err)
	}
}
