package client_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"agentmeter/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	base   = "http://meter.test"
	secret = "eyJhbGciOiJFUzI1NiJ9.c2VjcmV0LWNsYWltcw.c2lnbmF0dXJl"
)

// wire is a real HTTP server and a real transport to it, with pipes in memory
// instead of a network, so that their time can be virtual.
type wire struct {
	*http.Client
	calls atomic.Int64
}

type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.accept <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// newWire serves until the test ends. The handler learns how many requests came
// before.
func newWire(t *testing.T, serve func(call int, w http.ResponseWriter, r *http.Request)) *wire {
	t.Helper()
	wire := new(wire)
	line := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(int(wire.calls.Add(1))-1, w, r)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(line)
	}()
	transport := &http.Transport{DialContext: line.dial}
	wire.Client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-ended
	})
	return wire
}

func newClient(t *testing.T, w *wire, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(base, append([]client.Option{client.WithHTTPClient(w.Client), client.WithToken(secret)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bubble runs the test with virtual time.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"urn:agentmeter:problem:%s","title":%q,"status":%d,"detail":"Some detail.",
		"instance":"urn:agentmeter:trace:%s","code":%q,"errors":[],"trace_id":%q}`, code, http.StatusText(status), status, traceID, code, traceID)
}

// cut breaks the connection without another word.
func cut(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

const workspace = `{"id":"ws","name":"ws","timezone":"UTC","billing_anchor":null,"agent_slots":null,"seats":null,"links":{},"support_email":"","product_name":""}`

// elapsed is how long f takes, in virtual time.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
