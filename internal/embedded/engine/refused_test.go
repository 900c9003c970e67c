package engine_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Whoever sends all before it reads gets the answer, however early the statement was
// refused: what it sends is read, and the connection not reset under it.
func TestWhoIsStillSendingHearsWhyTheStatementWasRefused(t *testing.T) {
	d := start(t)
	d.exec("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s")
	body := []byte(strings.Repeat("this is no compressed block\n", 300_000)) // more than fits in a socket
	for _, test := range []struct{ name, query, code string }{
		{"by its parameters", "query=INSERT INTO t FORMAT TSV&session_id=s", "48"},
		{"by its text", "", "62"},
		{"by its data", "query=INSERT INTO t FORMAT TSV&decompress=1", "271"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, err := url.Parse(d.url)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /?database=%s&%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", d.name, strings.ReplaceAll(test.query, " ", "%20"), address.Host, len(body))
			if n, err := conn.Write(body); err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if said := readAll(t, res); res.Header.Get("X-ClickHouse-Exception-Code") != test.code {
				t.Errorf("%d %s", res.StatusCode, said)
			}
		})
	}
}
