package httpapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/internal/httpapi"
	"agentmeter/internal/httpapi/contracttest"
)

func config() httpapi.Config {
	c := httpapi.DefaultConfig()
	c.Listen = "127.0.0.1:0"
	return c
}

func (b bench) listen(t *testing.T, c httpapi.Config) *httpapi.Server {
	t.Helper()
	server, err := httpapi.Listen(t.Context(), c, b.router, b.health, b.logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func TestDrainFailsReadinessThenFinishesRequests(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.health.AddCheck("always", func(context.Context) error { return nil })
	httpapi.MountOperations(b.router, b.health, prometheus.NewRegistry())
	entered, finish, streamEnded := make(chan struct{}), make(chan struct{}), make(chan struct{})
	b.router.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		_, _ = io.WriteString(w, "whole")
	})
	b.router.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-httpapi.Draining(r.Context())
		close(streamEnded)
	})
	server := b.listen(t, config())
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+path, nil)
		if err != nil {
			return nil, err
		}
		return client.Do(r)
	}
	ready, err := get("/readyz")
	if err != nil || ready.StatusCode != http.StatusOK {
		t.Fatalf("readiness before the drain: %v %v", ready, err)
	}
	contracttest.Check(t, ready.Request, ready)
	_ = ready.Body.Close()
	slow := make(chan string, 1)
	go func() {
		answer, err := get("/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		slow <- string(body)
	}()
	<-entered
	stream, err := get("/stream")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	<-streamEnded
	_ = stream.Body.Close()
	w := httptest.NewRecorder()
	b.router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("readiness while draining: %d %s", w.Code, w.Body)
	}
	close(finish)
	if got := <-slow; got != "whole" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-ran; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := get("/readyz"); err == nil {
		t.Error("it still listens")
	}
}

func TestReadinessFailsBeforeTheListenerCloses(t *testing.T) {
	t.Parallel()
	for delay := time.Second; ; delay *= 2 {
		b := newBench(t)
		b.health.AddCheck("always", func(context.Context) error { return nil })
		httpapi.MountOperations(b.router, b.health, prometheus.NewRegistry())
		c := config()
		c.DrainDelay = delay
		server := b.listen(t, c)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- server.Run(ctx) }()
		stopped := time.Now()
		stop()
		<-b.health.Draining()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get(server.URL() + "/readyz")
		took := time.Since(stopped)
		if err == nil {
			_ = answer.Body.Close()
		}
		if err := <-ran; err != nil {
			t.Error(err)
		}
		switch {
		case err != nil && took >= delay: // this machine has no time for it
			continue
		case err != nil:
			t.Errorf("the listener closed with the first sign of draining: %v", err)
		case answer.StatusCode != http.StatusServiceUnavailable:
			t.Errorf("status %d", answer.StatusCode)
		}
		return
	}
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	entered, finish := make(chan struct{}), make(chan struct{})
	b.router.HandleFunc("GET /stuck", func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-finish
	})
	c := config()
	c.DrainTimeout = 10 * time.Millisecond
	server := b.listen(t, c)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	gone := make(chan error, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get(server.URL() + "/stuck")
		if err == nil {
			_ = answer.Body.Close()
		}
		gone <- err
	}()
	<-entered
	stop()
	if err := <-ran; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run: %v", err)
	}
	close(finish)
	if err := <-gone; err == nil {
		t.Error("the request that was cut off looks answered")
	}
}

func TestConnectionsBeyondTheCapAreToldSo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	entered, finish := make(chan struct{}, 2), make(chan struct{})
	b.router.HandleFunc("GET /x", func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-finish
	})
	c := config()
	c.MaxConnections = 1
	server := b.listen(t, c)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	get := func() (*http.Response, error) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get(server.URL() + "/x")
		if err == nil {
			_ = answer.Body.Close()
		}
		return answer, err
	}
	first := make(chan error, 1)
	go func() {
		_, err := get()
		first <- err
	}()
	<-entered
	answer, err := get()
	if err != nil {
		t.Fatal(err)
	}
	probed, err := http.Get(server.URL() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = probed.Body.Close()
	if probed.StatusCode == http.StatusServiceUnavailable {
		t.Error("a busy process is taken for a dead one")
	}
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "1" || answer.Header.Get(httpapi.TraceHeader) == "" || !answer.Close {
		t.Errorf("one too many: %d %v", answer.StatusCode, answer.Header)
	}
	close(finish)
	if err := <-first; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	const want = "# HELP agentmeter_http_requests_total Requests answered, by route pattern and status code.\n# TYPE agentmeter_http_requests_total counter\n" +
		"agentmeter_http_requests_total{code=\"200\",route=\"GET /x\"} 1\nagentmeter_http_requests_total{code=\"404\",route=\"unmatched\"} 1\nagentmeter_http_requests_total{code=\"503\",route=\"GET /x\"} 1\n"
	if err := testutil.GatherAndCompare(b.reg, strings.NewReader(want), "agentmeter_http_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestListeningBeyondLoopbackIsSaid(t *testing.T) {
	t.Parallel()
	const beyond, open = "level=INFO msg=\"listening beyond loopback", "level=WARN msg=\"beyond loopback without TLS"
	_, encrypted := authority(t)
	for _, tt := range []struct {
		listen       string
		tls          *tls.Config
		beyond, open int
		url          string
	}{
		{"127.0.0.1:0", nil, 0, 0, "http://127.0.0.1:"},
		{"localhost:0", nil, 0, 0, "http://127.0.0.1:"},
		{"127.0.0.1:0", encrypted, 0, 0, "https://127.0.0.1:"},
		{"0.0.0.0:0", nil, 1, 1, "http://127.0.0.1:"},
		{"0.0.0.0:0", encrypted, 1, 0, "https://127.0.0.1:"},
	} {
		b := newBench(t)
		c := config()
		c.Listen, c.TLS = tt.listen, tt.tls
		server := b.listen(t, c)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
		if said := strings.Count(b.log.String(), beyond); said != tt.beyond {
			t.Errorf("%s, TLS %t: said %d times that others reach it, want %d", tt.listen, tt.tls != nil, said, tt.beyond)
		}
		if said := strings.Count(b.log.String(), open); said != tt.open {
			t.Errorf("%s, TLS %t: said %d times that others can read along, want %d", tt.listen, tt.tls != nil, said, tt.open)
		}
		if !strings.HasPrefix(server.URL(), tt.url) {
			t.Errorf("%s: url %s", tt.listen, server.URL())
		}
	}
}

func TestDefaultConfigListensOnLoopback(t *testing.T) {
	t.Parallel()
	c := httpapi.DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("default listen address %q: %v", c.Listen, err)
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	t.Parallel()
	err := httpapi.Config{Listen: "nonsense", DrainDelay: -1}.Validate()
	for _, want := range []string{"--http-listen", "--http-max-conns", "max header bytes", "read header timeout", "read timeout", "write timeout", "idle timeout", "drain timeout", "--drain-delay"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestReadinessNamesChecksAndHidesReasons(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		httpapi.MountOperations(b.router, b.health, prometheus.NewRegistry())
		if w := b.get(t, "/readyz"); w.Code != 503 {
			t.Errorf("ready before anything was checked: %s", w.Body)
		}
		broken := true
		runs := 0
		b.health.AddCheck("kafka", func(context.Context) error {
			runs++
			if broken {
				return errors.New("dial 10.0.0.9: refused")
			}
			return nil
		})
		for range 20 {
			w := b.get(t, "/readyz")
			if w.Code != 503 || !strings.Contains(w.Body.String(), `"kafka"`) || strings.Contains(w.Body.String(), "10.0.0.9") {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		if runs != 1 { // no time passes in a bubble
			t.Errorf("%d checks for 20 requests: readiness is load", runs)
		}
		if !strings.Contains(b.log.String(), "10.0.0.9") {
			t.Error("the reason is not in the log")
		}
		broken = false
		b.health.AddCheck("clickhouse", func(context.Context) error { return nil }) // a new check counts at once
		if w := b.get(t, "/readyz"); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestAStuckCheckFailsInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.health.AddCheck("stuck", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	began := time.Now()
	readiness := b.health.Readiness(t.Context())
	if readiness.Checks[0].Ok || time.Since(began) > 10*time.Second {
		t.Errorf("%+v after %v", readiness, time.Since(began))
	}
}

func TestOperationsAreAsTheContractSays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	httpapi.MountOperations(b.router, b.health, prometheus.NewRegistry())
	for _, path := range []string{"/healthz", "/metrics", "/openapi.yaml", "/readyz"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		w := httptest.NewRecorder()
		b.router.ServeHTTP(w, r)
		contracttest.Check(t, r, w.Result())
		if path == "/openapi.yaml" && !strings.HasPrefix(w.Body.String(), "openapi: 3.1") {
			t.Errorf("%.40s", w.Body)
		}
	}
}

func TestOnlyThisMachineIsLoopback(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, remote, host, header string
		want                       bool
	}{
		{"direct", "127.0.0.1:5", "127.0.0.1:8080", "", true},
		{"by name", "127.0.0.1:5", "localhost:8080", "", true},
		{"IPv6", "[::1]:5", "[::1]:8080", "", true},
		{"IPv6 without port", "[::1]:5", "[::1]", "", true},
		{"mapped", "[::ffff:127.0.0.1]:5", "localhost", "", true},
		{"other machine", "10.0.0.2:5", "127.0.0.1:8080", "", false},
		{"through a proxy", "127.0.0.1:5", "localhost:8080", "X-Forwarded-For", false},
		{"rebound name", "127.0.0.1:5", "evil.example.com:8080", "", false},
		{"no address", "", "localhost", "", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.RemoteAddr, r.Host = tt.remote, tt.host
		if tt.header != "" {
			r.Header.Set(tt.header, "10.0.0.3")
		}
		if got := httpapi.FromLoopback(r); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
