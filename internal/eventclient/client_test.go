package eventclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"agentmeter/internal/eventclient"
	"agentmeter/internal/eventclient/eventclienttest"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, cfg eventclient.Config) *eventclient.Client {
	t.Helper()
	client, err := eventclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func event(i int) *schemas.Event {
	return &schemas.Event{
		ID: fmt.Sprintf("m-%d", i), Workspace: "ws", Agent: "agt", Channel: "embed",
		OccurredAt: time.Date(2026, 11, 24, 9, 0, i, 0, time.UTC), Credits: 1_500_000, Messages: 1,
	}
}

func batchOf(n int) *eventclient.Batch {
	var b eventclient.Batch
	for i := range n {
		b.AddEvent(event(i))
	}
	return &b
}

// transport answers requests without a network, so that time can be virtual.
type transport func(call int, request *http.Request) (*http.Response, error)

func (f transport) counted() (http.RoundTripper, *atomic.Int64) {
	var calls atomic.Int64
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Body != nil {
			_, _ = io.Copy(io.Discard, request.Body)
		}
		return f(int(calls.Add(1))-1, request)
	}), &calls
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func answer(request *http.Request, status int, header map[string]string, body string) *http.Response {
	response := &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), Request: request,
	}
	for name, value := range header {
		response.Header.Set(name, value)
	}
	return response
}

func TestBatchArrivesWhole(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		compress eventclient.Compress
		encoding string
	}{
		{"not compressed on loopback", eventclient.CompressUnlessLoopback, ""},
		{"compressed", eventclient.CompressAlways, "gzip"},
		{"never compressed", eventclient.CompressNever, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := eventclienttest.Start(t, nil)
			client := newClient(t, eventclient.Config{Endpoint: eventclient.Static(server.URL, eventclienttest.Token), Compress: test.compress})
			got, err := client.Post(t.Context(), batchOf(1000))
			if err != nil || got.Accepted != 1000 || len(got.Rejected) != 0 {
				t.Fatalf("got %+v, %v", got, err)
			}
			accepted := server.Accepted()
			for i := range 1000 {
				if want := *event(i); accepted[want.ID] != want {
					t.Fatalf("event %d arrived as %+v, want %+v", i, accepted[want.ID], want)
				}
			}
			if got := server.Encodings(); len(got) != 1 || got[0] != test.encoding {
				t.Errorf("encodings %q, want one %q", got, test.encoding)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		header func() string
		wait   time.Duration
	}{
		{"seconds", func() string { return "7" }, 7 * time.Second},
		{"date", func() string { return time.Now().Add(9 * time.Second).UTC().Format(http.TimeFormat) }, 9 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				trip, _ := transport(func(call int, request *http.Request) (*http.Response, error) {
					if call == 0 {
						return answer(request, 503, map[string]string{"Retry-After": test.header()}, ""), nil
					}
					return answer(request, 202, nil, `{"accepted":1,"rejected":[]}`), nil
				}).counted()
				client := newClient(t, eventclient.Config{Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip})
				began := time.Now()
				if _, err := client.Post(t.Context(), batchOf(1)); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(began); waited != test.wait {
					t.Errorf("waited %s, want %s", waited, test.wait)
				}
			})
		})
	}
}

func TestGivesUpInTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		retryFor time.Duration
		header   map[string]string
		least    int // attempts
		most     int
	}{
		{"waits grow up to their bound", 2 * time.Minute, nil, 12, 40},
		{"a Retry-After beyond the time is not waited for", 2 * time.Minute, map[string]string{"Retry-After": "300"}, 1, 1},
		{"no retries", -1, nil, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				trip, calls := transport(func(_ int, request *http.Request) (*http.Response, error) {
					return answer(request, 503, test.header, ""), nil
				}).counted()
				var waits []time.Duration
				client := newClient(t, eventclient.Config{
					Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip, RetryFor: test.retryFor,
					OnRetry: func(r eventclient.Retry) { waits = append(waits, r.Wait) },
				})
				began := time.Now()
				_, err := client.Post(t.Context(), batchOf(1))
				var gaveUp *eventclient.GaveUpError
				var refused *eventclient.RefusedError
				if !errors.As(err, &gaveUp) || !errors.As(err, &refused) || refused.Status != 503 {
					t.Fatalf("got %v, want to have given up on 503", err)
				}
				if took := time.Since(began); took > max(0, test.retryFor) {
					t.Errorf("gave up after %s", took)
				}
				if n := int(calls.Load()); n < test.least || n > test.most {
					t.Errorf("%d attempts, want %d to %d; waits %v", n, test.least, test.most, waits)
				}
				for i, wait := range waits {
					nominal := min(eventclient.DefaultMaxBackoff, eventclient.DefaultMinBackoff<<min(i, 20))
					if wait < nominal*3/4 || wait > min(eventclient.DefaultMaxBackoff, nominal*5/4) {
						t.Errorf("wait %d is %s, want %s give or take a quarter", i, wait, nominal)
					}
				}
			})
		})
	}
}

func TestSlowAttemptIsGivenUpAndTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		trip, calls := transport(func(call int, request *http.Request) (*http.Response, error) {
			if call == 0 {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return answer(request, 202, nil, `{"accepted":3,"rejected":[]}`), nil
		}).counted()
		client := newClient(t, eventclient.Config{Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip})
		got, err := client.Post(t.Context(), batchOf(3))
		if err != nil || got.Accepted != 3 || calls.Load() != 2 {
			t.Fatalf("got %+v, %v after %d attempts", got, err, calls.Load())
		}
	})
}

func TestRestartedServerIsFoundAtItsNewAddress(t *testing.T) {
	t.Parallel()
	server := eventclienttest.Start(t, nil)
	asked := 0
	client := newClient(t, eventclient.Config{
		MinBackoff: time.Microsecond,
		Endpoint: func(context.Context) (string, string, error) {
			asked++
			switch asked {
			case 1:
				return "http://127.0.0.1:1", "old", nil // nobody listens there
			case 2:
				return "", "", errors.New("no instance is running")
			default:
				return server.URL, eventclienttest.Token, nil
			}
		},
	})
	got, err := client.Post(t.Context(), batchOf(2))
	if err != nil || got.Accepted != 2 || asked != 3 {
		t.Fatalf("got %+v, %v; the endpoint was asked %d times", got, err, asked)
	}
}

func TestExpiredTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	server := eventclienttest.Start(t, nil)
	asked := 0
	endpoint := func(context.Context) (string, string, error) {
		asked++
		return server.URL, []string{"expired", eventclienttest.Token}[min(asked-1, 1)], nil
	}
	client := newClient(t, eventclient.Config{Endpoint: endpoint})
	if got, err := client.Post(t.Context(), batchOf(2)); err != nil || got.Accepted != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	wrong := newClient(t, eventclient.Config{Endpoint: eventclient.Static(server.URL, "wrong")})
	_, err := wrong.Post(t.Context(), batchOf(2))
	var refused *eventclient.RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || refused.Code != "unauthorized" || refused.TraceID == "" {
		t.Fatalf("got %v, want the refusal", err)
	}
	if server.Calls() != 3 {
		t.Errorf("%d requests; a wrong token must not be tried again", server.Calls())
	}
}

func TestTokenIsNotSentWhereTheServerRedirectsTo(t *testing.T) {
	t.Parallel()
	other := eventclienttest.Start(t, nil)
	server := eventclienttest.Start(t, func(s *eventclienttest.Server) {
		s.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, other.URL+"/v1/events", http.StatusTemporaryRedirect)
			return true
		}
	})
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static(server.URL, eventclienttest.Token)})
	_, err := client.Post(t.Context(), batchOf(1))
	var refused *eventclient.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Detail, other.URL) {
		t.Fatalf("got %v, want a refusal that names the other address", err)
	}
	if other.Calls() != 0 {
		t.Error("the request went to the other server")
	}
}

func TestTooLargeBatchIsSentInHalves(t *testing.T) {
	t.Parallel()
	server := eventclienttest.Start(t, func(s *eventclienttest.Server) { s.MaxEvents = 3 })
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static(server.URL, eventclienttest.Token)})
	b := batchOf(10)
	b.AddLine([]byte(`{"id":"bad"}`)) // index 10
	b.AddEvent(event(11))
	b.AddLine([]byte(`broken`)) // index 12
	got, err := client.Post(t.Context(), b)
	if err != nil || got.Accepted != 11 || len(got.Rejected) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got.Rejected[0].Index != 10 || got.Rejected[1].Index != 12 {
		t.Errorf("rejected %+v, want the indexes 10 and 12", got.Rejected)
	}
}

func TestSingleEventTooLargeIsRejectedAlone(t *testing.T) {
	t.Parallel()
	server := eventclienttest.Start(t, func(s *eventclienttest.Server) {
		s.Intercept = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), `"m-2"`) {
				eventclienttest.WriteProblem(w, http.StatusRequestEntityTooLarge, "body_too_large", "The body is larger than 10 bytes.")
				return true
			}
			w.WriteHeader(http.StatusAccepted)
			_, _ = fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, strings.Count(string(body), "\n"))
			return true
		}
	})
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static(server.URL, eventclienttest.Token)})
	got, err := client.Post(t.Context(), batchOf(5))
	if err != nil || got.Accepted != 4 || len(got.Rejected) != 1 || got.Rejected[0].Index != 2 || got.Rejected[0].Code != "event_too_large" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestTooLargeEventsAreListedByTheServer(t *testing.T) {
	t.Parallel()
	trip, calls := transport(func(_ int, request *http.Request) (*http.Response, error) {
		return answer(request, http.StatusRequestEntityTooLarge, nil, `{"code":"event_too_large","accepted":0,"rejected":[
			{"index":0,"id":null,"code":"event_too_large","detail":"d"},{"index":1,"id":null,"code":"event_too_large","detail":"d"}]}`), nil
	}).counted()
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip})
	got, err := client.Post(t.Context(), batchOf(2))
	if err != nil || len(got.Rejected) != 2 || calls.Load() != 1 {
		t.Fatalf("got %+v, %v after %d requests", got, err, calls.Load())
	}
}

func TestAnswerThatDoesNotAccountForEveryEventIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		status int
		body   string
	}{
		{"too few", 202, `{"accepted":2,"rejected":[]}`},
		{"too many", 202, `{"accepted":3,"rejected":[{"index":0,"id":null,"code":"c","detail":"d"}]}`},
		{"an index beyond the batch", 202, `{"accepted":2,"rejected":[{"index":3,"id":null,"code":"c","detail":"d"}]}`},
		{"a negative index", 202, `{"accepted":2,"rejected":[{"index":-1,"id":null,"code":"c","detail":"d"}]}`},
		{"an index twice", 202, `{"accepted":1,"rejected":[{"index":1,"id":null,"code":"c","detail":"d"},{"index":1,"id":null,"code":"c","detail":"d"}]}`},
		{"a negative count", 202, `{"accepted":-1,"rejected":[]}`},
		{"not JSON", 202, `<html>`},
		{"whole batch refused without every item", 422, `{"code":"x","accepted":0,"rejected":[{"index":1,"id":null,"code":"c","detail":"d"}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			trip, calls := transport(func(_ int, request *http.Request) (*http.Response, error) {
				return answer(request, test.status, map[string]string{"Content-Type": "application/json"}, test.body), nil
			}).counted()
			client := newClient(t, eventclient.Config{Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip})
			got, err := client.Post(t.Context(), batchOf(3))
			if !errors.Is(err, eventclient.ErrAnswer) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if calls.Load() != 1 {
				t.Errorf("asked %d times", calls.Load())
			}
		})
	}
}

func TestRejectedItemsComeInTheirOrder(t *testing.T) {
	t.Parallel()
	trip, _ := transport(func(_ int, request *http.Request) (*http.Response, error) {
		return answer(request, 202, nil, `{"accepted":1,"rejected":[{"index":2,"id":"m-2","code":"b","detail":""},{"index":0,"id":null,"code":"a","detail":""}]}`), nil
	}).counted()
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip})
	got, err := client.Post(t.Context(), batchOf(3))
	if err != nil || got.Rejected[0].Code != "a" || got.Rejected[1].Code != "b" {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestCancelledPostEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("asked to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		trip, _ := transport(func(_ int, request *http.Request) (*http.Response, error) {
			return answer(request, 503, map[string]string{"Retry-After": "60"}, ""), nil
		}).counted()
		client := newClient(t, eventclient.Config{
			Endpoint: eventclient.Static("http://meter.test", ""), Transport: trip,
			OnRetry: func(eventclient.Retry) { cancel(stop) },
		})
		began := time.Now()
		if _, err := client.Post(ctx, batchOf(1)); !errors.Is(err, stop) {
			t.Fatalf("got %v, want the cause", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

func TestFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := eventclient.New(eventclient.Config{RequestTimeout: -1, MinBackoff: 2, MaxBackoff: 1, Compress: 9})
	for _, want := range []string{"endpoint", "request timeout", "backoff", "compress"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %q", err, want)
		}
	}
}

func TestWrongAddressIsFoundBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:8080", "ftp://x", "http://", "http://u:p@x", "http://x?y=1", "http://x#y", "http://[::1"} {
		client := newClient(t, eventclient.Config{Endpoint: eventclient.Static(address, "")})
		if err := client.Connect(t.Context()); err == nil {
			t.Errorf("%q was taken", address)
		}
	}
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static("http://x", "a\r\nb: c")})
	if err := client.Connect(t.Context()); err == nil || strings.Contains(err.Error(), "b: c") {
		t.Errorf("a token with a line break: %v", err)
	}
}

func TestDirectoryChangesAreTriedAgain(t *testing.T) {
	t.Parallel()
	server := eventclienttest.Start(t, func(s *eventclienttest.Server) {
		s.Intercept = func(call int, w http.ResponseWriter, _ *http.Request) bool {
			if call%2 == 1 {
				return false
			}
			eventclienttest.WriteProblem(w, http.StatusServiceUnavailable, "kafka_unavailable", "Not now.")
			return true
		}
	})
	client := newClient(t, eventclient.Config{Endpoint: eventclient.Static(server.URL, eventclienttest.Token), MinBackoff: time.Microsecond})
	name := "Acme"
	for _, err := range []error{
		client.PutWorkspace(t.Context(), "ws", api.WorkspaceSettings{Name: &name}),
		client.PutAgent(t.Context(), "ws", "agt/1", "Support Bot"),
		client.PutMember(t.Context(), "ws", "mem", "Ada"),
		client.DeleteAgent(t.Context(), "ws", "agt/1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`PUT /v1/workspaces/ws {"name":"Acme"}`,
		`PUT /v1/workspaces/ws/agents/agt/1 {"name":"Support Bot"}`,
		`PUT /v1/workspaces/ws/members/mem {"name":"Ada"}`,
		`DELETE /v1/workspaces/ws/agents/agt/1`,
	}
	if got := server.Directory(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever order faults come in, a batch is answered once they end, and all of
// it has arrived.
func TestBatchSurvivesAnyFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	faults := make([]eventclienttest.Fault, 200)
	for i := range faults {
		faults[i] = eventclienttest.Faults[random.IntN(len(eventclienttest.Faults))]
	}
	server := eventclienttest.Start(t, func(s *eventclienttest.Server) {
		s.Fault = func(call int) eventclienttest.Fault {
			if call < len(faults) {
				return faults[call]
			}
			return eventclienttest.FaultNone
		}
	})
	client := newClient(t, eventclient.Config{
		Endpoint:   eventclient.Static(server.URL, eventclienttest.Token),
		MinBackoff: time.Microsecond, MaxBackoff: 10 * time.Microsecond,
	})
	for n := 1; n <= 40; n++ {
		got, err := client.Post(t.Context(), batchOf(n))
		if err != nil || got.Accepted != n {
			t.Fatalf("batch of %d: got %+v, %v", n, got, err)
		}
	}
	if got := len(server.Accepted()); got != 40 {
		t.Errorf("%d events arrived, want 40", got)
	}
}
