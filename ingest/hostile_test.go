package ingest

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"agentmeter/internal/auth"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/usagev1"
)

// hostile are bodies that are meant to hurt, and what becomes of them. Text and
// names are anybody's: what is odd in them and no fault is kept as it is.
var hostile = map[string]struct {
	body   string
	status int
	code   string
}{
	"arrays within arrays":                   {strings.Repeat("[", 20_000), 400, "json_invalid"},
	"objects within objects":                 {strings.Repeat(`{"a":`, 20_000), 400, "json_invalid"},
	"depth in a member":                      {hostileEvent(`"model":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)), 422, "nothing_accepted"},
	"a member twice":                         {hostileEvent(`"credits":"1","credits":"2"`), 422, "nothing_accepted"},
	"a member twice, once escaped":           {hostileEvent(`"agent_id":"b","\u0061gent_id":"c"`), 422, "nothing_accepted"},
	"a number of a million digits":           {hostileEvent(`"credits":1` + strings.Repeat("0", 1_000_000)), 422, "nothing_accepted"},
	"a number with a huge exponent":          {hostileEvent(`"credits":1e999999999`), 422, "nothing_accepted"},
	"a number with a hugely small exponent":  {hostileEvent(`"credits":1e-999999999`), 422, "nothing_accepted"},
	"more messages than a count holds":       {hostileEvent(`"credits":"1","messages":9223372036854775808`), 422, "nothing_accepted"},
	"no number":                              {hostileEvent(`"credits":NaN`), 400, "json_invalid"},
	"no UTF-8 in text":                       {hostileEvent("\"credits\":\"1\",\"model\":\"\xff\xfe\""), 400, "json_invalid"},
	"half a surrogate":                       {hostileEvent(`"credits":"1","model":"\ud800"`), 400, "json_invalid"},
	"NUL in an id":                           {hostileEvent(`"credits":"1","conversation_id":"a\u0000b"`), 422, "nothing_accepted"},
	"NUL between":                            {"\x00{}", 400, "json_invalid"},
	"a byte order mark":                      {"\ufeff" + hostileEvent(`"credits":"1"`), 400, "json_invalid"},
	"fifty thousand members":                 {hostileEvent(hostileMembers(50_000)), 422, "nothing_accepted"},
	"a million members":                      {hostileEvent(hostileMembers(1_000_000)), 413, "body_too_large"},
	"a million events":                       {"[" + strings.Repeat("{},", 1_000_000) + "{}]", 413, "too_many_events"},
	"a million empty lists":                  {"[" + strings.Repeat("[],", 1_000_000) + "[]]", 413, "too_many_events"},
	"a prototype's name":                     {hostileEvent(`"credits":"1","__proto__":{"admin":true}`), 422, "nothing_accepted"},
	"text from right to left in a workspace": {hostileEvent(`"credits":"1","workspace_id":"ws_\u202eemca"`), 422, "nothing_accepted"},
	"not JSON at all":                        {"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", 400, "json_invalid"},
	"white space alone":                      {strings.Repeat(" \n", 100_000), 400, "json_invalid"},
}

func hostileEvent(members string) string {
	return `{"id":"m","workspace_id":"ws_acme","agent_id":"a","occurred_at":"` + time.Now().UTC().Format(time.RFC3339) + `","channel":"api",` + members + `}`
}

func hostileMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"label_%d":"v",`, i)
	}
	return b.String() + `"credits":"1"`
}

func TestHostileBodiesAreRefusedAtLittleCost(t *testing.T) {
	// Not parallel: it measures what the process allocates.
	s := newStand(t)
	for name, tt := range hostile {
		t.Run(name, func(t *testing.T) {
			before := allocatedBytes()
			w := s.sendJSON(t, tt.body)
			if grown := allocatedBytes() - before; grown > 256<<20 {
				t.Errorf("%d MiB were allocated for %d bytes", grown>>20, len(tt.body))
			}
			problem := problemIn(t, w)
			if w.Code != tt.status || problem.Code != tt.code {
				t.Errorf("answered %d %s, want %d %s: %.500s", w.Code, problem.Code, tt.status, tt.code, w.Body)
			}
			if w.Body.Len() > 1<<20 {
				t.Errorf("%d bytes answer %d", w.Body.Len(), len(tt.body))
			}
			if held := s.ingest.budget.InUse(); held != 0 {
				t.Errorf("%d bytes stay reserved", held)
			}
		})
	}
	if got := len(s.events(t)); got != 0 {
		t.Errorf("%d events arrived", got)
	}
}

// What is odd and allowed comes out as it went in.
func TestOddTextIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	odd := map[string]string{
		"right to left": "\u05e9\u05dc\u05d5\u05dd", "combining": "e\u0301", "emoji": "\U0001f9d1\u200d\U0001f680",
		"quotes": `'"` + "`", "SQL": "'; DROP TABLE usage_ledger; --", "braces": "{x:String}", "backslashes": `\\n\0`, "markup": "<script>alert(1)</script>",
	}
	for name, text := range odd {
		acceptanceIn(t, s.sendJSON(t, eventJSON(map[string]any{"id": name, "model": text, "agent_id": text})))
	}
	stored := eventsByID(s.events(t))
	for name, text := range odd {
		if e := stored[name]; e.Model != text || string(e.Agent) != text {
			t.Errorf("%s: stored as %q and %q, was %q", name, e.Model, e.Agent, text)
		}
	}
}

// FuzzEdge sends whatever it is as a whole request, past every check there is: no
// answer is 5xx, each problem has its code, and nothing stays reserved.
func FuzzEdge(f *testing.F) {
	paths := []string{
		"POST /v1/events", "POST /v1/adjustments", "PUT /v1/workspaces/ws_acme", "PUT /v1/workspaces/ws_acme/agents/a",
		"PUT /v1/workspaces/ws_acme/members/m", "POST /v1/events/../sessions", "POST /v1/events?a=%zz",
	}
	for name, tt := range hostile {
		if len(tt.body) < 4<<10 {
			f.Add(uint8(0), "application/json", "", []byte(tt.body))
			f.Add(uint8(len(name)), "application/x-ndjson; charset=utf-8", "", []byte(tt.body))
		}
	}
	for mediaType := range decoders {
		f.Add(uint8(0), mediaType, "zstd", []byte("\x28\xb5\x2f\xfd"))
		f.Add(uint8(0), mediaType, "gzip", compress(f, "gzip", []byte(fuzzSeeds[0])))
	}
	f.Add(uint8(2), "application/json", "", []byte(`{"name":"\u202e","timezone":"../../etc","billing_anchor":"2026-02-30","agent_slots":1e99,"links":{"billing":"javascript:alert(1)"}}`))
	f.Add(uint8(0), `multipart/form-data; boundary="`, "identity, gzip", []byte("--"))
	log := slog.New(slog.DiscardHandler)
	config := DefaultConfig()
	config.MaxBodyBytes, config.MaxEventBytes, config.MaxEvents, config.MaxInFlightBytes = 64<<10, 4<<10, 50, 32<<20
	in, err := New(config, failingClient(f), log, prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	key, err := auth.LoadOrCreateKey(filepath.Join(f.TempDir(), auth.KeyFile))
	if err != nil {
		f.Fatal(err)
	}
	router := httpapi.NewRouter(httpapi.NewHealth(log), log, prometheus.NewRegistry())
	in.Mount(auth.NewGuard(key.Verifier(), nil).Mux(router))
	// It covers a workspace that nothing above names: nothing is ever sent on.
	token, err := key.Mint(auth.Grant{Workspace: "ws_nobodys", Scopes: auth.Scopes, TTL: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path uint8, mediaType, encoding string, body []byte) {
		if bytes.Contains(body, []byte("nobodys")) || bytes.Contains(body, []byte(`\u`)) && bytes.Contains(body, []byte("obodys")) {
			t.Skip("it found the workspace, and would wait for a broker that is not there")
		}
		method, target, _ := strings.Cut(paths[int(path)%len(paths)], " ")
		r, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", mediaType)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 400 && w.Code/100 != 3 {
			t.Fatalf("%s %s, %q, %q: answered %d %s", method, target, mediaType, encoding, w.Code, w.Body)
		}
		if w.Code >= 400 && !strings.Contains(w.Body.String(), `"status":`+strconv.Itoa(w.Code)) {
			t.Fatalf("%s %s: %d is no problem document: %s", method, target, w.Code, w.Body)
		}
		if held, turns := in.budget.InUse(), in.turns.InUse(); held != 0 || turns != 0 {
			t.Fatalf("%d bytes of memory and %d of turns stay reserved", held, turns)
		}
	})
}

// What decompressing takes is of the budget before anything of the body is: a few
// bytes that ask for a window and then say nothing hold what they asked for.
func TestWindowsAreOfTheBudget(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	wide := []byte("\x28\xb5\x2f\xfd\x00\x68") // a frame whose window has 8 MiB
	event := eventJSON(nil)
	whole := compress(t, "zstd", []byte(event))
	for name, test := range map[string]struct {
		encoding string
		body     []byte
		want     int64
	}{
		"a wide window":       {"zstd", wide, maxZstdWindow + zstdOverhead},
		"one of a whole body": {"zstd", whole, smallZstdWindow + zstdOverhead},
		"gzip":                {"gzip", compress(t, "gzip", []byte("{}")), gzipOverhead},
		"none":                {"identity", []byte("{}"), 0},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/events", nil)
		r.Header.Set("Content-Encoding", test.encoding)
		held := s.ingest.holding(t.Context())
		plain, done, err := s.ingest.readers.decompress(r, &rawBody{reader: bytes.NewReader(test.body)}, &held)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if held.paid != test.want || s.ingest.budget.InUse() != test.want {
			t.Errorf("%s: %d bytes are held, %d of the budget, want %d", name, held.paid, s.ingest.budget.InUse(), test.want)
		}
		if name == "one of a whole body" {
			if got, err := io.ReadAll(plain); err != nil || string(got) != event {
				t.Errorf("%s: read as %q, %v", name, got, err)
			}
		}
		done()
		held.release()
	}
	// A later frame has no more than what the first one asked for.
	body := append(bytes.Clone(whole), append(wide, "\x0b\x00\x00x"...)...)
	w := s.do(t, call{mediaType: "application/json", encoding: "zstd", body: body})
	if problem := problemIn(t, w); w.Code != http.StatusRequestEntityTooLarge || problem.Code != "window_too_large" {
		t.Errorf("a wider frame behind: %d %s", w.Code, w.Body)
	}
	if used := s.ingest.budget.InUse(); used != 0 {
		t.Errorf("%d bytes stay reserved", used)
	}
}

// A sender who promises much and sends nothing holds little.
func TestPromisedBytesAreTakenAsTheyCome(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/v1/events", http.NoBody)
	for length, want := range map[int64]int64{-1: unknownBodyBuffer, 100: 101, 16 << 20: firstBodyBuffer} {
		if r.ContentLength = length; sizeHint(r) != want {
			t.Errorf("of %d bytes %d are taken at first, want %d", length, sizeHint(r), want)
		}
	}
}

// What is wrong with a great many items is not said in as many words.
func TestAnswersOfRejectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	items := make([]string, 5000)
	for i := range items {
		items[i] = `{"` + strings.Repeat("<", 400) + `":1}`
	}
	w := s.do(t, call{mediaType: "application/json", body: []byte("[" + strings.Join(items, ",") + "]")})
	if problem := problemIn(t, w); w.Code != http.StatusUnprocessableEntity || problem.Rejected == nil || len(*problem.Rejected) != len(items) {
		t.Fatalf("%d: %.300s", w.Code, w.Body)
	}
	if size := w.Body.Len(); size > 3<<20 {
		t.Errorf("the answer has %d bytes", size)
	}
}

// FuzzDirectory reads whatever it is as the documents of the directory. What is taken
// is what Kafka's readers take.
func FuzzDirectory(f *testing.F) {
	for _, seed := range append([]string{
		`{"name":"Acme","timezone":"Europe/Copenhagen","billing_anchor":"2026-01-31","agent_slots":3,"seats":null,"links":{"billing":"https://a.example/b"},"support_email":"a@b.example","product_name":"x"}`,
		`{"name":"\u202e","timezone":"../../etc","billing_anchor":"2026-02-30","agent_slots":1e99,"links":{"billing":"javascript:alert(1)"}}`,
		`{"links":{"billing":"a","billing":"b"},"seats":"7","name":1}`,
	}, fuzzSeeds...) {
		f.Add([]byte(seed), "ws", "a")
	}
	f.Fuzz(func(t *testing.T, document []byte, ws, id string) {
		request := func() (*httptest.ResponseRecorder, *http.Request) {
			r := httptest.NewRequest(http.MethodPut, "/", bytes.NewReader(document))
			r.Header.Set("Content-Type", "application/json")
			return httptest.NewRecorder(), r
		}
		in := &Ingest{}
		w, r := request()
		body, err := in.readDocument(w, r)
		if err != nil {
			return
		}
		settings, faults := decodeWorkspace(body)
		if faults = append(faults, validWorkspace(ws)...); len(faults) == 0 {
			change := &usagev1.DirectoryChange{WorkspaceId: ws, ChangedAtUs: 1, Change: &usagev1.DirectoryChange_Workspace{Workspace: settings}}
			if problem := schemas.DirectoryProblem(change); problem != "" {
				t.Errorf("a change that is accepted is none: %s", problem)
			}
		}
		w, r = request()
		if name, faults, err := in.readName(w, r, ws, "agent_id", id); err == nil && len(faults) == 0 {
			change := agentChange(ws, &usagev1.Agent{AgentId: id, Name: name})
			change.ChangedAtUs = 1
			if problem := schemas.DirectoryProblem(change); problem != "" {
				t.Errorf("a change that is accepted is none: %s", problem)
			}
		}
	})
}
