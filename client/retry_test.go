package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentmeter/client"
	"agentmeter/schemas/api"
)

func event(i int) api.Event {
	return api.Event{
		ID: fmt.Sprintf("m-%d", i), WorkspaceID: "ws", AgentID: "agt", Channel: "embed",
		OccurredAt: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second), Credits: 1_500_000,
	}
}

// operations are one of each kind.
var operations = map[string]func(context.Context, *client.Client) error{
	"read": func(ctx context.Context, c *client.Client) error {
		_, err := c.Workspace(ctx, "ws")
		return err
	},
	"stream": func(ctx context.Context, c *client.Client) error {
		file, err := c.ExportCSV(ctx, api.ExportUsageParams{Workspace: "ws"})
		if err == nil {
			file.Close()
		}
		return err
	},
	"events": func(ctx context.Context, c *client.Client) error {
		_, err := c.SendEvents(ctx, []api.Event{event(0), event(1)})
		return err
	},
	"adjustment": func(ctx context.Context, c *client.Client) error {
		return c.Adjust(ctx, api.Adjustment{ID: "a", WorkspaceID: "ws", AgentID: "agt", Credits: -1, Reason: "r", OccurredAt: time.Now()})
	},
	"directory": func(ctx context.Context, c *client.Client) error {
		_, err := c.DeleteAgent(ctx, "ws", "agt")
		return err
	},
	"session": func(ctx context.Context, c *client.Client) error {
		_, err := c.CreateSession(ctx, "ws")
		return err
	},
}

func TestOnlyWhatCanChangeIsTriedAgain(t *testing.T) {
	t.Parallel()
	all, writes := []string{"read", "stream", "events", "adjustment", "directory"}, []string{"events", "adjustment", "directory"}
	for status, again := range map[int][]string{
		304: nil, 307: nil, 400: nil, 401: nil, 403: nil, 404: nil, 408: nil, 409: nil, 415: nil, 422: nil,
		429: all, 500: writes, 502: all, 503: all, 504: all, 507: writes,
	} {
		for name, operation := range operations {
			t.Run(fmt.Sprintf("%d/%s", status, name), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						problem(w, status, "some_code")
					})
					err := operation(t.Context(), newClient(t, w))
					var p *client.Problem
					if !errors.As(err, &p) || p.Status != status {
						t.Fatalf("got %v, want the problem", err)
					}
					want := 1
					for _, kind := range again {
						if kind == name {
							want = client.DefaultAttempts
						}
					}
					if got := int(w.calls.Load()); got != want {
						t.Errorf("%d requests, want %d", got, want)
					}
					var gaveUp *client.GaveUpError
					if errors.As(err, &gaveUp) != (want > 1) || (gaveUp != nil && gaveUp.Attempts != want) {
						t.Errorf("got %#v after %d requests", err, want)
					}
				})
			})
		}
	}
}

// Whatever breaks on the way, each operation but the one that must not be
// repeated gets through on the next attempt.
func TestBrokenConnectionIsTriedAgain(t *testing.T) {
	t.Parallel()
	answers := map[string]func(http.ResponseWriter){
		"read":       func(w http.ResponseWriter) { reply(w, 200, workspace) },
		"stream":     func(w http.ResponseWriter) { reply(w, 200, "") },
		"events":     func(w http.ResponseWriter) { reply(w, 202, `{"accepted":2,"rejected":[]}`) },
		"adjustment": func(w http.ResponseWriter) { reply(w, 202, `{"accepted":1,"rejected":[]}`) },
		"directory":  func(w http.ResponseWriter) { reply(w, 202, `{"changed_at":"2026-11-24T09:31:47Z"}`) },
		"session": func(w http.ResponseWriter) {
			reply(w, 201, `{"url":"http://x/session/c","expires_at":"2026-11-24T09:31:47Z"}`)
		},
	}
	for name, operation := range operations {
		for fault, breaks := range map[string]func(http.ResponseWriter, *http.Request){
			"before the answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"within the answer": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				answers[name](w)
				cut(w)
			},
			"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		} {
			if name == "stream" && fault == "within the answer" {
				continue // rows that were read must not come twice
			}
			t.Run(name+"/"+fault, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWire(t, func(call int, w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						if call == 0 {
							breaks(w, r)
							return
						}
						answers[name](w)
					})
					err := operation(t.Context(), newClient(t, w))
					if name == "session" {
						if err == nil || w.calls.Load() != 1 {
							t.Fatalf("got %v after %d requests, want one and its error", err, w.calls.Load())
						}
						return
					}
					if err != nil || w.calls.Load() != 2 {
						t.Fatalf("got %v after %d requests", err, w.calls.Load())
					}
				})
			})
		}
	}
}

func TestWaitsGrowWithJitterUpToTheirBound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 503, "busy") })
		var waits []time.Duration
		c := newClient(t, w, client.WithRetries(client.Retries{
			Attempts: 12, MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second,
			OnRetry: func(r client.Retry) { waits = append(waits, r.Wait) },
		}))
		var sum time.Duration
		took := elapsed(func() {
			if _, err := c.Workspace(t.Context(), "ws"); err == nil {
				t.Fatal("no error")
			}
		})
		if len(waits) != 11 {
			t.Fatalf("%d waits, want 11: %v", len(waits), waits)
		}
		exact := 0
		for i, wait := range waits {
			sum += wait
			nominal := min(5*time.Second, 100*time.Millisecond<<i)
			if wait < nominal*3/4 || wait > min(5*time.Second, nominal*5/4) {
				t.Errorf("wait %d is %s, want %s give or take a quarter", i, wait, nominal)
			}
			if wait == nominal {
				exact++
			}
		}
		if exact == len(waits) {
			t.Errorf("no wait has jitter: %v", waits)
		}
		if took != sum {
			t.Errorf("took %s, want the waits' sum %s", took, sum)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]func() string{
		"seconds": func() string { return "7" },
		"date":    func() string { return time.Now().Add(7 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, func(call int, w http.ResponseWriter, _ *http.Request) {
					if call == 0 {
						w.Header().Set("Retry-After", header())
						problem(w, 429, "too_many_requests")
						return
					}
					reply(w, 200, workspace)
				})
				c := newClient(t, w)
				took := elapsed(func() {
					if _, err := c.Workspace(t.Context(), "ws"); err != nil {
						t.Fatal(err)
					}
				})
				if took != 7*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// A wait that would outlive the patience or the context's deadline is not begun:
// the caller learns at once what the matter is.
func TestHopelessWaitIsNotBegun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		deadline time.Duration
		retries  client.Retries
	}{
		"beyond the deadline": {deadline: time.Minute},
		"beyond the patience": {retries: client.Retries{Attempts: -1, For: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", "61")
					problem(w, 503, "kafka_unavailable")
				})
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				c := newClient(t, w, client.WithRetries(test.retries))
				var err error
				took := elapsed(func() { _, err = c.SendEvents(ctx, []api.Event{event(0)}) })
				var gaveUp *client.GaveUpError
				var p *client.Problem
				if !errors.As(err, &gaveUp) || !errors.As(err, &p) || p.Code != "kafka_unavailable" || p.RetryAfter != 61*time.Second {
					t.Errorf("got %v, want to have given up on the problem", err)
				}
				if took != 0 || w.calls.Load() != 1 {
					t.Errorf("took %s and %d requests", took, w.calls.Load())
				}
			})
		})
	}
}

func TestPatienceIsBoundedByTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 503, "busy") })
		c := newClient(t, w, client.WithRetries(client.Retries{Attempts: -1, For: 90 * time.Second}))
		var err error
		took := elapsed(func() { _, err = c.Workspace(t.Context(), "ws") })
		var gaveUp *client.GaveUpError
		if !errors.As(err, &gaveUp) || took > 90*time.Second || took < 70*time.Second || gaveUp.Tried != took {
			t.Errorf("got %v after %s", err, took)
		}
	})
}

func TestCancellationEndsAWaitWithItsCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stop := errors.New("asked to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		w := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			problem(w, 503, "busy")
		})
		c := newClient(t, w, client.WithRetries(client.Retries{OnRetry: func(client.Retry) { cancel(stop) }}))
		took := elapsed(func() {
			if _, err := c.Workspace(ctx, "ws"); !errors.Is(err, stop) {
				t.Errorf("got %v, want the cause", err)
			}
		})
		if took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

func TestAttemptIsBoundedByTheTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		c := newClient(t, w, client.WithTimeout(3*time.Second), client.WithRetries(client.Retries{Attempts: 1}))
		var err error
		took := elapsed(func() { _, err = c.Workspace(t.Context(), "ws") })
		if err == nil || took != 3*time.Second || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("got %v after %s", err, took)
		}
	})
}

func TestExpiredTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tokens []string
		calls  int
		ok     bool
	}{
		"a new token gets one try":  {[]string{"old", "good"}, 2, true},
		"the same one gets none":    {[]string{"old", "old"}, 1, false},
		"the second is no good":     {[]string{"old", "older", "good"}, 2, false},
		"a good one needs no other": {[]string{"good"}, 1, true},
	} {
		for kind, operation := range operations {
			if kind != "read" && kind != "session" {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
						switch {
						case r.Header.Get("Authorization") != "Bearer good":
							problem(w, 401, "unauthorized")
						case kind == "read":
							reply(w, 200, workspace)
						default:
							reply(w, 201, `{"url":"u","expires_at":"2026-11-24T09:31:47Z"}`)
						}
					})
					asked := 0
					c := newClient(t, w, client.WithTokenSource(func(context.Context) (string, error) {
						token := test.tokens[min(asked, len(test.tokens)-1)]
						asked++
						return token, nil
					}))
					took := elapsed(func() {
						if err := operation(t.Context(), c); (err == nil) != test.ok {
							t.Errorf("got %v", err)
						}
					})
					if int(w.calls.Load()) != test.calls || took != 0 {
						t.Errorf("%d requests in %s, want %d at once", w.calls.Load(), took, test.calls)
					}
				})
			})
		}
	}
}

func TestServerThatMovesIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var hosts []string
		w := newWire(t, func(call int, w http.ResponseWriter, r *http.Request) {
			hosts = append(hosts, r.Host+" "+r.Header.Get("Authorization"))
			if call == 0 {
				problem(w, 503, "draining")
				return
			}
			reply(w, 200, workspace)
		})
		asked := 0
		c, err := client.New("", client.WithHTTPClient(w.Client), client.WithEndpoint(func(context.Context) (string, string, error) {
			asked++
			if asked == 2 {
				return "", "", errors.New("no instance is running")
			}
			return fmt.Sprintf("http://meter-%d.test", asked), fmt.Sprint("token-", asked), nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time nothing is asked for
			if _, err := c.Workspace(t.Context(), "ws"); err != nil {
				t.Fatal(err)
			}
		}
		want := "meter-1.test Bearer token-1, meter-3.test Bearer token-3, meter-3.test Bearer token-3"
		if got := strings.Join(hosts, ", "); got != want || c.BaseURL() != "http://meter-3.test" {
			t.Errorf("went to %s, now at %s; want %s", got, c.BaseURL(), want)
		}
	})
}

func TestWrongSettingsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := client.New("ftp://x", client.WithTimeout(-1), client.WithCompression(9), client.WithUserAgent("a\nb"),
		client.WithRetries(client.Retries{For: -1, MinBackoff: 2, MaxBackoff: 1}))
	for _, want := range []string{"server address", "timeout", "compression", "user agent", "retries", "backoff"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %q", err, want)
		}
	}
	for _, address := range []string{"", "localhost:8080", "http://", "http://u:p@x", "http://x?y=1", "http://x#y", "http://[::1"} {
		if _, err := client.New(address); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := client.New(base, client.WithEndpoint(func(context.Context) (string, string, error) { return "", "", nil })); err == nil {
		t.Error("a base URL and an endpoint were taken together")
	}
}
