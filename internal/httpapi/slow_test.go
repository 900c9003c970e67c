package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"agentmeter/internal/httpapi"
)

// dial connects to a server by TCP. A connection that the server leaves open ends
// the test instead of hanging it.
func dial(t *testing.T, server *httpapi.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// runs serves until the test ends.
func (b bench) runs(t *testing.T, c httpapi.Config) *httpapi.Server {
	t.Helper()
	server := b.listen(t, c)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return server
}

// closed reads to the end, which has to come from the server.
func closed(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	rest, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
	return rest
}

func TestSlowSendersLoseTheirConnection(t *testing.T) {
	t.Parallel()
	const brief = 50 * time.Millisecond
	write := func(t *testing.T, conn net.Conn, text string) {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	post := func(b bench) chan error {
		read := make(chan error, 1)
		b.router.HandleFunc("POST /x", func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			read <- err
			if err != nil {
				httpapi.WriteError(w, r, httpapi.ReadError(err))
			}
		})
		return read
	}

	t.Run("who connects and says nothing", func(t *testing.T) {
		t.Parallel()
		c := config()
		c.ReadHeaderTimeout = brief
		closed(t, dial(t, newBench(t).runs(t, c)))
	})
	t.Run("who never ends the headers", func(t *testing.T) {
		t.Parallel()
		c := config()
		c.ReadHeaderTimeout = brief
		b := newBench(t)
		read := post(b)
		conn := dial(t, b.runs(t, c))
		write(t, conn, "POST /x HTTP/1.1\r\nHost: x\r\nX-A: ")
		closed(t, conn)
		select {
		case err := <-read:
			t.Errorf("a handler ran: %v", err)
		default:
		}
	})
	t.Run("who never ends the body", func(t *testing.T) {
		t.Parallel()
		c := config()
		c.ReadTimeout = brief
		b := newBench(t)
		read := post(b)
		conn := dial(t, b.runs(t, c))
		write(t, conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the body was read to %v", err)
		}
		if rest := closed(t, conn); !bytes.HasPrefix(rest, []byte("HTTP/1.1 400 ")) {
			t.Errorf("answered %.200q", rest)
		}
	})
	t.Run("who says nothing more", func(t *testing.T) {
		t.Parallel()
		c := config()
		c.IdleTimeout = brief
		b := newBench(t)
		post(b)
		conn := dial(t, b.runs(t, c))
		write(t, conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != http.StatusOK || answer.Close {
			t.Fatalf("%v %v", answer, err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		closed(t, conn)
	})
	t.Run("who does not read the answer", func(t *testing.T) {
		t.Parallel()
		c := config()
		c.WriteTimeout = brief
		b := newBench(t)
		wrote := make(chan error, 1)
		b.router.HandleFunc("GET /x", func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 1<<20); ; { // until the buffers of both sides are full
				if _, err := w.Write(chunk); err != nil {
					wrote <- err
					return
				}
			}
		})
		conn := dial(t, b.runs(t, c))
		write(t, conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing ended with %v", err)
		}
	})
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	c := config()
	c.MaxHeaderBytes = 8 << 10
	b := newBench(t)
	b.router.HandleFunc("GET /x", func(http.ResponseWriter, *http.Request) {})
	server := b.runs(t, c)
	// net/http allows for 4096 bytes more than it is told.
	for size, want := range map[int]string{6 << 10: "HTTP/1.1 200 ", 16 << 10: "HTTP/1.1 431 "} {
		conn := dial(t, server)
		// What is not read any more may be refused by a reset.
		_, _ = fmt.Fprintf(conn, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: %s\r\n\r\n", strings.Repeat("a", size))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, want) {
			t.Errorf("%d bytes of headers: %q %v", size, line, err)
		}
	}
}

// Defaults that let nobody hold a connection for nothing.
func TestEveryTimeoutIsSetByDefault(t *testing.T) {
	t.Parallel()
	c := httpapi.DefaultConfig()
	for name, timeout := range map[string]time.Duration{
		"headers": c.ReadHeaderTimeout, "body": c.ReadTimeout, "answer": c.WriteTimeout, "idle": c.IdleTimeout,
	} {
		if timeout <= 0 || timeout > 2*time.Minute {
			t.Errorf("%s: %v", name, timeout)
		}
	}
	if c.MaxHeaderBytes > 64<<10 {
		t.Errorf("headers of %d bytes", c.MaxHeaderBytes)
	}
}
