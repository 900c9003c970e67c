package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"agentmeter/client"
	"agentmeter/schemas/api"
)

func TestProblemHasAllThatTheServerSays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"type":"urn:agentmeter:problem:too-many-bars","title":"Bad Request","status":400,"detail":"That are 129600 bars.",
				"instance":"urn:agentmeter:trace:%s","code":"too_many_bars","errors":[{"field":"grain","code":"grain_invalid","detail":"is too fine"}],
				"trace_id":%q,"suggested_grain":"hour","member_of_tomorrow":1}`, traceID, traceID)
		})
		_, err := newClient(t, w).Dashboard(t.Context(), api.GetDashboardParams{Workspace: "ws", Grain: new(api.GrainChoiceMinute)})
		var p *client.Problem
		if !errors.As(err, &p) {
			t.Fatalf("got %v", err)
		}
		if p.Status != 400 || p.Code != "too_many_bars" || p.Type != "urn:agentmeter:problem:too-many-bars" || p.Title != "Bad Request" ||
			p.Detail != "That are 129600 bars." || p.TraceID != traceID || len(p.Errors) != 1 || p.Errors[0].Field != "grain" ||
			p.SuggestedGrain == nil || *p.SuggestedGrain != api.GrainHour {
			t.Errorf("got %+v", p)
		}
		want := base + "/v1/usage/dashboard answered 400 Bad Request (too_many_bars): That are 129600 bars.; grain: is too fine (reference " + traceID + ")"
		if err.Error() != want {
			t.Errorf("says %q, want %q", err, want)
		}
	})
}

// Something in between answers, and says back what it was sent.
func TestTokenIsInNoError(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request){
		"a problem": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			text, _ := json.Marshal(r.Header.Get("Authorization"))
			fmt.Fprintf(w, `{"type":%[1]s,"title":%[1]s,"detail":%[1]s,"code":%[1]s,"instance":%[1]s,"trace_id":%[1]s,"errors":[{"field":%[1]s,"code":%[1]s,"detail":%[1]s}]}`, text)
		},
		"a page":     func(w http.ResponseWriter, r *http.Request) { reply(w, 502, r.Header.Get("Authorization")) },
		"a good one": func(w http.ResponseWriter, r *http.Request) { reply(w, 200, `"`+r.Header.Get("Authorization")+`"`) },
		"no JSON":    func(w http.ResponseWriter, r *http.Request) { reply(w, 200, r.Header.Get("Authorization")) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.Host != "meter.test" {
				problem(w, 404, "not_found")
				return
			}
			http.Redirect(w, r, "http://other.test/?"+r.Header.Get("Authorization"), http.StatusFound)
		},
		"nothing": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var told []error
				w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != "Bearer "+secret {
						t.Errorf("%s came without its token", r.URL)
					}
					serve(w, r)
				})
				fixed := newClient(t, w, client.WithRetries(client.Retries{OnRetry: func(r client.Retry) { told = append(told, r.Err) }}))
				moving, err := client.New("", client.WithHTTPClient(w.Client), client.WithEndpoint(func(context.Context) (string, string, error) { return base, secret, nil }))
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []*client.Client{fixed, moving} {
					_, err := c.Workspace(t.Context(), "ws")
					if err == nil {
						t.Fatal("no error")
					}
					for _, err := range append(told, err) {
						written, _ := json.Marshal(err)
						var p *client.Problem
						errors.As(err, &p)
						if text := fmt.Sprintf("%v %+v %#v %+v %s", err, err, err, p, written); strings.Contains(text, secret) {
							t.Errorf("the token is in %s", text)
						}
					}
					if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, secret) {
						t.Errorf("the token is in the printed client: %s", text)
					}
				}
			})
		})
	}
	broken, err := client.New(base, client.WithToken(secret+"\r\nX: y"))
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Connect(t.Context()); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a token with a line break: %v", err)
	}
}

func TestTokenIsNotSentWhereTheServerRedirectsTo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(call int, w http.ResponseWriter, r *http.Request) {
			if call > 0 {
				t.Errorf("a second request: %s%s", r.Host, r.URL)
				problem(w, 404, "not_found")
				return
			}
			http.Redirect(w, r, "http://other.test/v1/workspaces/ws", http.StatusTemporaryRedirect)
		})
		_, err := newClient(t, w).Workspace(t.Context(), "ws")
		var p *client.Problem
		if !errors.As(err, &p) || !strings.Contains(p.Detail, "http://other.test") {
			t.Errorf("got %v, want an error that names the other address", err)
		}
	})
}

func TestAnswerThatIsNotUnderstoodIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	for name, operation := range operations {
		if name == "stream" {
			continue // it is the reader's to understand
		}
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					status := map[string]int{"read": 200, "session": 201}[name]
					if status == 0 {
						status = 202
					}
					reply(w, status, "<html>Welcome</html>")
				})
				if err := operation(t.Context(), newClient(t, w)); !errors.Is(err, client.ErrAnswer) || w.calls.Load() != 1 {
					t.Errorf("got %v after %d requests", err, w.calls.Load())
				}
			})
		})
	}
}

// An id that a path cannot hold would name another resource.
func TestIDsThatAreNoPathAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var paths []string
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.Method+" "+r.URL.EscapedPath())
			reply(w, 202, `{"changed_at":"2026-11-24T09:31:47Z"}`)
		})
		c := newClient(t, w)
		for _, id := range []string{"", ".", ".."} {
			if _, err := c.DeleteAgent(t.Context(), "ws", id); err == nil {
				t.Errorf("%q was taken", id)
			}
			if _, err := c.PutWorkspace(t.Context(), id, api.WorkspaceSettings{}); err == nil {
				t.Errorf("%q was taken", id)
			}
		}
		if _, err := c.DeleteMember(t.Context(), "w s", "../agents/a?b#c%"); err != nil {
			t.Error(err)
		}
		if got, want := strings.Join(paths, ", "), "DELETE /v1/workspaces/w%20s/members/..%2Fagents%2Fa%3Fb%23c%25"; got != want {
			t.Errorf("went to %s, want %s", got, want)
		}
	})
}
