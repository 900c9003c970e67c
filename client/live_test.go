package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/client"
)

// say sends one piece of a stream.
func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, text)
	_ = http.NewResponseController(w).Flush()
}

func watermark(minute int) string {
	return fmt.Sprintf("event: watermark\ndata: {\"counted_through\":\"2026-11-24T09:%02d:00Z\",\"lag_seconds\":0.4,\"changed\":true}\n\n", minute)
}

// wait lets time pass on the server, unless the reader goes.
func wait(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

func TestLiveGoesOnWhereAStreamEndedOrBroke(t *testing.T) {
	bubble(t, func(t *testing.T) {
		last := time.Now()
		var pauses []time.Duration
		var ids []string
		w := newWire(t, func(call int, w http.ResponseWriter, r *http.Request) {
			pauses, last = append(pauses, time.Since(last)), time.Now()
			ids = append(ids, r.Header.Get("Last-Event-ID"))
			switch call {
			case 0: // ends in good order; an event that was begun and not finished does not count
				say(w, "retry: 8000\n\n: hello\nid: first\n"+watermark(1)+"id: 2/+=&%,\ndata: {}\n\nid: third\n"+watermark(2)[:40])
			case 1:
				problem(w, 503, "draining")
			case 2: // breaks; all ends of lines are good, and what is not known is passed over
				say(w, "\uFEFFretry: 9000\rretry: soon\rid: has a \x00\r\nevent: other\r\ndata: no JSON\r\n\r\n"+strings.ReplaceAll(watermark(3), "\n", "\r\n"))
				cut(w)
			case 3: // falls silent
				say(w, watermark(4))
				wait(r, time.Hour)
			default:
				say(w, strings.ReplaceAll(watermark(5), "data: {", "data:{\ndata: "))
				wait(r, time.Hour)
			}
		})
		var minutes []int
		for update, err := range newClient(t, w).Live(t.Context(), "ws") {
			if err != nil {
				t.Fatal(err)
			}
			if !update.Changed || *update.LagSeconds != 0.4 {
				t.Errorf("got %+v", update)
			}
			if minutes = append(minutes, update.CountedThrough.Minute()); len(minutes) == 4 {
				break
			}
		}
		if fmt.Sprint(minutes) != "[1 3 4 5]" {
			t.Errorf("updates of the minutes %v", minutes)
		}
		if got := fmt.Sprintf("%q", ids); got != `["" "2/+=&%," "2/+=&%," "2/+=&%," "2/+=&%,"]` {
			t.Errorf("came back with the ids %s", got)
		}
		first, second := 8*time.Second, 9*time.Second // the waits that the server named
		for i, least := range []time.Duration{0, first, client.DefaultMinBackoff * 3 / 4, second, client.DefaultTimeout + second} {
			if pauses[i] < least || pauses[i] > least+second/4 {
				t.Errorf("request %d came after %s, want %s and up to %s more", i, pauses[i], least, second/4)
			}
		}
	})
}

// Comments show that the server is there, so silence of any length is no fault.
func TestLiveWaitsAsLongAsTheServerIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			say(w, watermark(1))
			for range 4 * 60 {
				wait(r, 15*time.Second)
				say(w, ": still here\n\n")
			}
			say(w, watermark(2))
			wait(r, time.Hour)
		})
		c := newClient(t, w, client.WithTimeout(2*time.Second)) // shorter than the server's silences
		seen := 0
		took := elapsed(func() {
			for _, err := range c.Live(t.Context(), "ws") {
				if err != nil {
					t.Fatal(err)
				}
				if seen++; seen == 2 {
					break
				}
			}
		})
		if took != time.Hour || w.calls.Load() != 1 {
			t.Errorf("took %s and %d streams, want an hour of one", took, w.calls.Load())
		}
	})
}

func TestLiveThatIsLeftHangsUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hungUp := false
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			say(w, watermark(1))
			<-r.Context().Done()
			hungUp = true
		})
		for _, err := range newClient(t, w).Live(t.Context(), "ws") {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		synctest.Wait()
		if !hungUp || w.calls.Load() != 1 {
			t.Errorf("hung up: %t, after %d streams", hungUp, w.calls.Load())
		}
	})
}

func TestLiveEndsWithItsReason(t *testing.T) {
	t.Parallel()
	stop := errors.New("asked to stop")
	for name, test := range map[string]struct {
		serve   func(call int, w http.ResponseWriter, r *http.Request)
		retries client.Retries
		updates int
		least   time.Duration // that it takes
		most    time.Duration
		want    func(error) bool
	}{
		"the caller stops while it listens": {
			serve: func(_ int, w http.ResponseWriter, r *http.Request) {
				say(w, watermark(1))
				wait(r, time.Hour)
			},
			updates: 1, least: 10 * time.Second, most: 10 * time.Second,
			want: func(err error) bool { return errors.Is(err, stop) },
		},
		"the caller stops while it waits": {
			serve: func(_ int, w http.ResponseWriter, _ *http.Request) {
				say(w, "retry: 20000\n\n"+watermark(1))
			},
			updates: 1, least: 10 * time.Second, most: 10 * time.Second,
			want: func(err error) bool { return errors.Is(err, stop) },
		},
		"the workspace is not ours": {
			serve: func(call int, w http.ResponseWriter, _ *http.Request) {
				if call == 0 {
					say(w, watermark(1))
					return
				}
				problem(w, 404, "not_found")
			},
			updates: 1, least: 2 * time.Second, most: 2500 * time.Millisecond,
			want: func(err error) bool {
				var p *client.Problem
				return errors.As(err, &p) && p.Status == 404
			},
		},
		"an update is not understood": {
			serve: func(_ int, w http.ResponseWriter, _ *http.Request) {
				say(w, watermark(1)+"event: watermark\ndata: <html>\n\n")
			},
			updates: 1,
			want:    func(err error) bool { return errors.Is(err, client.ErrAnswer) },
		},
		"a line without end": {
			serve: func(_ int, w http.ResponseWriter, _ *http.Request) {
				say(w, watermark(1)+strings.Repeat("x", 2<<20))
			},
			updates: 1,
			want:    func(err error) bool { return errors.Is(err, client.ErrAnswer) },
		},
		"every stream breaks before its first update": {
			serve: func(call int, w http.ResponseWriter, _ *http.Request) {
				if call == 0 {
					say(w, watermark(1))
				}
				say(w, ": hello\n\n")
				cut(w)
			},
			retries: client.Retries{For: 6 * time.Second},
			updates: 1, least: 4 * time.Second, most: 6 * time.Second,
			want: func(err error) bool {
				var gaveUp *client.GaveUpError
				return errors.As(err, &gaveUp) && gaveUp.Attempts == 2
			},
		},
		"the server does not come back": {
			serve: func(call int, w http.ResponseWriter, _ *http.Request) {
				if call == 0 {
					say(w, watermark(1))
					return
				}
				problem(w, 503, "draining")
			},
			retries: client.Retries{For: 8 * time.Second},
			updates: 1, least: 6 * time.Second, most: 11 * time.Second,
			want: func(err error) bool {
				var gaveUp *client.GaveUpError
				return errors.As(err, &gaveUp) && gaveUp.Attempts > client.DefaultAttempts
			},
		},
		"nothing is to be tried again": {
			serve: func(_ int, w http.ResponseWriter, _ *http.Request) {
				problem(w, 503, "draining")
			},
			retries: client.Retries{Attempts: 1},
			want: func(err error) bool {
				var p *client.Problem
				return errors.As(err, &p) && p.Code == "draining"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer time.AfterFunc(10*time.Second, func() { cancel(stop) }).Stop()
				c := newClient(t, newWire(t, test.serve), client.WithRetries(test.retries))
				updates := 0
				var failed error
				took := elapsed(func() {
					for update, err := range c.Live(ctx, "ws") {
						if failed != nil {
							t.Fatalf("%+v, %v comes after the error", update, err)
						}
						if failed = err; err == nil {
							updates++
						}
					}
				})
				if updates != test.updates || failed == nil || !test.want(failed) {
					t.Errorf("%d updates, then %v", updates, failed)
				}
				if took < test.least || took > test.most {
					t.Errorf("took %s, want %s to %s", took, test.least, test.most)
				}
			})
		})
	}
}
