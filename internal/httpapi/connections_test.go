package httpapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// ask sends a request and reads its answer, on a connection that both may keep.
func ask(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	if _, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("a request without an answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer
}

func TestIdleConnectionsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("GET /x", func(http.ResponseWriter, *http.Request) {})
	c := config()
	c.MaxConnections = 16
	server := b.runs(t, c)
	var kept []net.Conn
	for range c.MaxConnections / 2 {
		conn := dial(t, server)
		if answer := ask(t, conn); answer.Close {
			t.Error("a connection ends though there is room")
		}
		kept = append(kept, conn)
	}
	for range c.MaxConnections / 2 {
		conn := dial(t, server)
		if answer := ask(t, conn); answer.StatusCode != http.StatusOK || !answer.Close {
			t.Errorf("%d, and the connection ends: %t", answer.StatusCode, answer.Close)
		}
		closed(t, conn)
	}
	for _, conn := range kept {
		if answer := ask(t, conn); answer.StatusCode != http.StatusOK {
			t.Errorf("on a connection that was kept: %d", answer.StatusCode)
		}
	}
}

// Whoever sends something that must not be done twice has to learn whether it was
// done, however many come at once.
func TestEveryRequestIsAnsweredHoweverManyConnections(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.router.HandleFunc("POST /x", func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
	})
	c := config()
	c.MaxConnections = 8
	server := b.runs(t, c)
	body := strings.Repeat("x", 32<<10)
	var all sync.WaitGroup
	for range 5 * c.MaxConnections {
		all.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := http.Client{Transport: transport}
			for range 25 {
				answer, err := client.Post(server.URL()+"/x", "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err) // which a client does not try again: it is a POST
					return
				}
				if answer.StatusCode != http.StatusOK && (answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "") {
					t.Errorf("answered with %d", answer.StatusCode)
				}
				_, _ = io.Copy(io.Discard, answer.Body) // the client wants it read, to keep the connection
				_ = answer.Body.Close()
			}
		})
	}
	all.Wait()
}
