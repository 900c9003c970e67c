package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/clickhouse"
)

// slow makes a world whose progress can only be read by a statement that never
// ends of itself, and returns how many of those the engine is running.
func (w *world) slow(t *testing.T) (running func() int) {
	t.Helper()
	w.exec(t, "DROP TABLE rollup_progress", nil)
	w.exec(t, `CREATE VIEW rollup_progress AS
SELECT toUUID('`+w.stream.String()+`') AS stream, toInt32(number % 4) AS partition, toInt32(4) AS partitions, toInt64(number) AS position,
 now64(3, 'UTC') AS counted_through, '' AS halted, now64(3, 'UTC') AS halted_from, now64(3, 'UTC') AS updated_at
FROM numbers(4000000000000) WHERE cityHash64(number) = 0`, nil)
	return func() int { return w.statements(t, "rollup_progress") }
}

// statements is how many statements of the world the engine is running that
// mention something.
func (w *world) statements(t *testing.T, what string) (n int) {
	t.Helper()
	var count proto.ColUInt64
	err := w.client.Select(t.Context(), clickhouse.Statement{
		SQL: `SELECT count() AS n FROM system.processes
WHERE query LIKE {what:String} AND query NOT LIKE '%system.processes%' AND current_database = {database:String} FORMAT Native`,
		Params: map[string]string{"what": "%" + what + "%", "database": w.client.Database()},
	}, proto.Results{{Name: "n", Data: &count}}, func(int) error {
		n = int(count[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually waits until a condition holds, half a minute at most.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !holds(); {
		select {
		case <-deadline:
			t.Fatalf("not within half a minute: %s", what)
		case <-tick.C:
		}
	}
}

func TestAReaderThatLeavesStopsItsStatementsInTheEngine(t *testing.T) {
	w := newWorld(t)
	running := w.slow(t)
	s := w.serve(t, frozen, with(func(c *Config) { c.QueryTimeout = 10 * time.Minute }))
	for _, path := range []string{
		"/v1/usage/dashboard?workspace=ws", "/v1/usage/agents?workspace=ws", "/v1/usage/export.csv?workspace=ws",
		"/v1/usage/breakdown?by=model&workspace=ws", "/v1/usage/live?workspace=ws",
	} {
		ctx, leave := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+s.token)
		left := make(chan error, 1)
		go func() {
			response, err := s.server.Client().Do(request)
			if err == nil {
				err = fmt.Errorf("answered %s", response.Status)
				_ = response.Body.Close()
			}
			left <- err
		}()
		eventually(t, path+" is being answered", func() bool { return running() == 1 })
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
		eventually(t, path+" has left nothing running", func() bool { return running() == 0 })
	}
}

func TestAnAnswerThatTakesTooLongStopsItsStatementsInTheEngine(t *testing.T) {
	w := newWorld(t)
	running := w.slow(t)
	// Were it not stopped, the engine's own limit would end it within a second more.
	s := w.serve(t, frozen, with(func(c *Config) { c.QueryTimeout = 1100 * time.Millisecond }))
	began := time.Now()
	response, body := s.get(t, "/v1/usage/dashboard?workspace=ws")
	if response.StatusCode != http.StatusGatewayTimeout || !strings.Contains(string(body), `"timeout"`) {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	eventually(t, "nothing is left running", func() bool { return running() == 0 })
	t.Logf("the answer came, and the statement had ended, after %v", time.Since(began))
}
