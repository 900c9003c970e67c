package client_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentmeter/client"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func lines(r *http.Request) [][]byte {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	var out [][]byte
	for in := bufio.NewScanner(body); in.Scan(); {
		out = append(out, bytes.Clone(in.Bytes()))
	}
	return out
}

func TestAnyNumberOfEventsIsSentAndAccountedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		got := make(map[string]api.Event)
		w := newWire(t, func(call int, w http.ResponseWriter, r *http.Request) {
			items := lines(r)
			if call == 1 { // lost after it was counted: it comes again
				panic(http.ErrAbortHandler)
			}
			if len(items) > 4000 {
				problem(w, 413, "too_many_events")
				return
			}
			answer := api.Acceptance{Rejected: []api.RejectedItem{}}
			for i, line := range items {
				var e api.Event
				if err := json.Unmarshal(line, &e); err != nil {
					t.Errorf("%s: %v", line, err)
				}
				if e.Credits < 0 {
					answer.Rejected = append(answer.Rejected, api.RejectedItem{Index: i, ID: &e.ID, Code: "credits_negative"})
					continue
				}
				answer.Accepted++
				got[e.ID] = e
			}
			if answer.Accepted == 0 {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusUnprocessableEntity)
				_ = json.NewEncoder(w).Encode(api.Problem{Code: "nothing_accepted", Status: 422, Accepted: new(api.ProblemAccepted(0)), Rejected: &answer.Rejected})
				return
			}
			content, _ := json.Marshal(answer)
			reply(w, 202, string(content))
		})
		events := make([]api.Event, 25_001)
		for i := range events {
			events[i] = event(i)
			events[i].Credits = schemas.Credits(i) + 1
		}
		events[0].ConversationID, events[0].Model, events[0].Messages = new("conv\n17"), new("large"), new(int64(3))
		for _, bad := range []int{7, 12_345, 25_000} { // the last is alone in its request
			events[bad].Credits = -1
		}
		answer, err := newClient(t, w).SendEvents(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		var rejected []string
		for _, item := range answer.Rejected {
			rejected = append(rejected, fmt.Sprint(item.Index, " ", *item.ID, " ", item.Code))
		}
		want := "7 m-7 credits_negative, 12345 m-12345 credits_negative, 25000 m-25000 credits_negative"
		if answer.Accepted != 24_998 || strings.Join(rejected, ", ") != want {
			t.Errorf("accepted %d, rejected %v; want 24998 and %s", answer.Accepted, rejected, want)
		}
		if len(got) != 24_998 {
			t.Errorf("%d events arrived", len(got))
		}
		for i := range events {
			if e, ok := got[events[i].ID]; ok && e.Credits != schemas.Credits(i)+1 {
				t.Fatalf("event %d arrived with %s credits", i, e.Credits)
			}
		}
		if e := got["m-0"]; *e.ConversationID != "conv\n17" || *e.Model != "large" || *e.Messages != 3 || !e.OccurredAt.Equal(events[0].OccurredAt) {
			t.Errorf("event 0 arrived as %+v", e)
		}
	})
}

func TestNothingAcceptableIsAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"code":"nothing_accepted","status":422,"accepted":0,"rejected":[{"index":1,"id":"b","code":"y","detail":""},{"index":0,"id":"a","code":"x","detail":""}]}`)
		})
		c := newClient(t, w)
		answer, err := c.SendEvents(t.Context(), []api.Event{event(0), event(1)})
		if err != nil || answer.Accepted != 0 || len(answer.Rejected) != 2 || answer.Rejected[0].Code != "x" || answer.Rejected[1].Code != "y" {
			t.Errorf("got %+v, %v", answer, err)
		}
		if answer, err := c.SendEvents(t.Context(), nil); err != nil || answer.Accepted != 0 || w.calls.Load() != 1 {
			t.Errorf("no events: %+v, %v", answer, err)
		}
	})
}

func TestEventsAreCompressedWhereItPays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		base     string
		compress client.Compress
		encoding string
	}{
		{"http://127.0.0.1:8080", client.CompressUnlessLoopback, ""},
		{"http://localhost", client.CompressUnlessLoopback, ""},
		{"http://[::1]:1", client.CompressAlways, "gzip"},
		{base, client.CompressUnlessLoopback, "gzip"},
		{base, client.CompressNever, ""},
	} {
		t.Run(fmt.Sprint(test.base, test.compress), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, func(call int, w http.ResponseWriter, r *http.Request) {
					items, encoding := lines(r), r.Header.Get("Content-Encoding")
					if len(items) != 2 || encoding != test.encoding {
						t.Errorf("%d events as %q, want 2 as %q", len(items), encoding, test.encoding)
					}
					if call == 0 {
						problem(w, 503, "busy") // a second attempt sends the same
						return
					}
					reply(w, 202, `{"accepted":2,"rejected":[]}`)
				})
				c, err := client.New(test.base, client.WithHTTPClient(w.Client), client.WithCompression(test.compress))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.SendEvents(t.Context(), []api.Event{event(0), event(1)}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestEventThatCannotBeWrittenIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newClient(t, newWire(t, func(int, http.ResponseWriter, *http.Request) { t.Error("something was sent") }))
		bad := event(1)
		bad.OccurredAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
		if _, err := c.SendEvents(t.Context(), []api.Event{event(0), bad}); err == nil || !strings.Contains(err.Error(), `"m-1"`) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStatementsArriveAsTheyWereMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []string
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL, body)))
			if ua := r.Header.Get("User-Agent"); ua != "export/1" {
				t.Errorf("user agent %q", ua)
			}
			switch r.URL.Path {
			case "/meter/v1/adjustments":
				reply(w, 202, `{"accepted":1,"rejected":[]}`)
			case "/meter/v1/sessions":
				reply(w, 201, `{"url":"http://meter.test/session/c","expires_at":"2026-11-24T09:32:47Z"}`)
			default:
				reply(w, 202, `{"changed_at":"2026-11-24T09:31:47.5Z"}`)
			}
		})
		c, err := client.New(base+"/meter/", client.WithHTTPClient(w.Client), client.WithUserAgent("export/1"))
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		receipt, err1 := c.PutWorkspace(ctx, "ws", api.WorkspaceSettings{Name: new("Acme"), AgentSlots: new(int64(10))})
		_, err2 := c.PutAgent(ctx, "ws", "agt", "Support Bot")
		_, err3 := c.DeleteAgent(ctx, "ws", "agt")
		_, err4 := c.PutMember(ctx, "ws", "mem", "Ada")
		_, err5 := c.DeleteMember(ctx, "ws", "mem")
		err6 := c.Adjust(ctx, api.Adjustment{ID: "refund", WorkspaceID: "ws", AgentID: "agt", OccurredAt: time.Date(2026, 11, 12, 3, 0, 0, 0, time.UTC), Credits: -12_500_000, Messages: new(int64(-3)), Reason: "outage"})
		link, err7 := c.CreateSession(ctx, "ws")
		_, err8 := c.CreateSession(ctx, "")
		if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
			t.Fatal(err)
		}
		if !receipt.ChangedAt.Equal(time.Date(2026, 11, 24, 9, 31, 47, 500_000_000, time.UTC)) || link.URL != "http://meter.test/session/c" {
			t.Errorf("got %+v and %+v", receipt, link)
		}
		want := []string{
			`PUT /meter/v1/workspaces/ws {"agent_slots":10,"name":"Acme"}`,
			`PUT /meter/v1/workspaces/ws/agents/agt {"name":"Support Bot"}`,
			`DELETE /meter/v1/workspaces/ws/agents/agt`,
			`PUT /meter/v1/workspaces/ws/members/mem {"name":"Ada"}`,
			`DELETE /meter/v1/workspaces/ws/members/mem`,
			`POST /meter/v1/adjustments {"agent_id":"agt","credits":"-12.5","id":"refund","messages":-3,"occurred_at":"2026-11-12T03:00:00Z","reason":"outage","workspace_id":"ws"}`,
			`POST /meter/v1/sessions {"workspace_id":"ws"}`,
			`POST /meter/v1/sessions {}`,
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got  %s\nwant %s", got[i], want[i])
			}
		}
	})
}
