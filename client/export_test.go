package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/client"
	"agentmeter/schemas/api"
)

const exportHeader = "start,end,agent_id,agent_name,credits,messages,state\n"

func csvWire(t *testing.T, serve func(w http.ResponseWriter, r *http.Request)) *client.Client {
	t.Helper()
	return newClient(t, newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		serve(w, r)
	}))
}

func TestExportedRowsAreExact(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := csvWire(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "start,of_tomorrow,end,agent_id,agent_name,credits,messages,state\n"+
				"2026-11-24T00:00:00+01:00,x,2026-11-25T00:00:00+01:00,'-agt,\"'=Bot, the \"\"1st\"\"\",12345678901234567890.000001,3,final\n"+
				"2026-11-25T00:00:00+01:00,x,2026-11-26T00:00:00+01:00,,,0,0,final\n"+
				"2026-11-26T00:00:00+01:00,x,2026-11-27T00:00:00+01:00,,,,,missing\n")
		})
		var rows []client.ExportRow
		for row, err := range c.ExportRows(t.Context(), api.ExportUsageParams{Workspace: "ws"}) {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if len(rows) != 3 {
			t.Fatalf("%d rows: %+v", len(rows), rows)
		}
		first := rows[0]
		if first.AgentID != "-agt" || first.AgentName != `=Bot, the "1st"` || *first.Credits != "12345678901234567890.000001" || *first.Messages != "3" ||
			first.State != api.BarFinal || !first.Start.Equal(time.Date(2026, 11, 23, 23, 0, 0, 0, time.UTC)) || first.End.Sub(first.Start) != 24*time.Hour {
			t.Errorf("got %+v", first)
		}
		if zero := rows[1]; zero.AgentID != "" || *zero.Credits != "0" || *zero.Messages != "0" {
			t.Errorf("got %+v, want a known zero", zero)
		}
		if unknown := rows[2]; unknown.Credits != nil || unknown.Messages != nil || unknown.State != api.BarMissing {
			t.Errorf("got %+v, want unknown figures", unknown)
		}
	})
}

// Half a file is never taken for a whole one, and not begun again either.
func TestExportThatIsCutOffIsAnError(t *testing.T) {
	t.Parallel()
	const row = "2026-11-24T00:00:00Z,2026-11-25T00:00:00Z,agt,Bot,1.5,1,final\n"
	for name, sent := range map[string]string{
		"between rows": exportHeader + row + row,
		"within a row": exportHeader + row + row + row[:50],
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				serve := func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprint(w, sent)
					cut(w)
				}
				rows := 0
				var failed error
				for _, err := range csvWire(t, serve).ExportRows(t.Context(), api.ExportUsageParams{Workspace: "ws"}) {
					if failed = err; err == nil {
						rows++
					}
				}
				if rows != 2 || !errors.Is(failed, io.ErrUnexpectedEOF) {
					t.Errorf("%d rows, then %v", rows, failed)
				}
				file, err := csvWire(t, serve).ExportCSV(t.Context(), api.ExportUsageParams{Workspace: "ws"})
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				if content, err := io.ReadAll(file); string(content) != sent || !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("read %q, then %v", content, err)
				}
			})
		})
	}
}

func TestExportThatIsNotUnderstoodIsAnError(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"nothing":          "",
		"another header":   "start,end,agent_id,agent_name,credits,state\n",
		"no instant":       exportHeader + "yesterday,today,agt,Bot,1.5,1,final\n",
		"a row of another": exportHeader + "1,2\n",
		"a broken quote":   exportHeader + "\"2026\"x,2026-11-25T00:00:00Z,agt,Bot,1.5,1,final\n",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := csvWire(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) })
				seen := 0
				for row, err := range c.ExportRows(t.Context(), api.ExportUsageParams{Workspace: "ws"}) {
					if seen++; !errors.Is(err, client.ErrAnswer) {
						t.Errorf("got %+v, %v", row, err)
					}
				}
				if seen != 1 {
					t.Errorf("%d rows and errors, want the one error", seen)
				}
			})
		})
	}
}

// A long export may take longer than the timeout, which bounds each wait for more
// of it, and not the time that the reader takes over what it has.
func TestTimeoutBoundsTheSilenceOfAnExport(t *testing.T) {
	t.Parallel()
	const row = "2026-11-24T00:00:00Z,2026-11-25T00:00:00Z,agt,Bot,1.5,1,final\n"
	for name, test := range map[string]struct {
		pause, reading time.Duration
		rows           int
		ok             bool
	}{
		"the server takes its time": {50 * time.Second, 0, 10, true},
		"the reader takes its time": {time.Second, 10 * time.Minute, 10, true},
		"the server says no more":   {61 * time.Second, 0, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := csvWire(t, func(w http.ResponseWriter, r *http.Request) {
					fmt.Fprint(w, exportHeader)
					for range 10 {
						fmt.Fprint(w, row)
						_ = http.NewResponseController(w).Flush()
						select {
						case <-time.After(test.pause):
						case <-r.Context().Done():
							return
						}
					}
				})
				rows := 0
				var failed error
				for _, err := range c.ExportRows(t.Context(), api.ExportUsageParams{Workspace: "ws"}) {
					if failed = err; err == nil {
						rows++
						<-time.After(test.reading)
					}
				}
				if rows != test.rows || (failed == nil) != test.ok || (failed != nil && !strings.Contains(failed.Error(), "no answer in time")) {
					t.Errorf("%d rows, then %v", rows, failed)
				}
			})
		})
	}
}

// The Timeout of an http.Client cuts whatever takes longer. Here it is that of an
// attempt, so that streams may.
func TestTimeoutOfAGivenClientDoesNotCutStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/usage/export.csv" {
				wait(r, time.Hour)
				return
			}
			fmt.Fprint(w, exportHeader)
			for range 10 {
				fmt.Fprint(w, "2026-11-24T00:00:00Z,2026-11-25T00:00:00Z,agt,Bot,1.5,1,final\n")
				_ = http.NewResponseController(w).Flush()
				wait(r, 2*time.Second)
			}
		})
		w.Timeout = 3 * time.Second
		c := newClient(t, w, client.WithRetries(client.Retries{Attempts: 1}))
		rows := 0
		for _, err := range c.ExportRows(t.Context(), api.ExportUsageParams{Workspace: "ws"}) {
			if err != nil {
				t.Fatalf("%d rows, then %v", rows, err)
			}
			rows++
		}
		if rows != 10 {
			t.Errorf("%d rows, want 10", rows)
		}
		var err error
		if took := elapsed(func() { _, err = c.Workspace(t.Context(), "ws") }); err == nil || took != 3*time.Second {
			t.Errorf("got %v after %s", err, took)
		}
		if w.Timeout != 3*time.Second || w.CheckRedirect != nil {
			t.Error("the caller's client has changed")
		}
	})
}

func TestExportThatIsLeftIsHungUpOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hungUp := false
		c := csvWire(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, exportHeader+"2026-11-24T00:00:00Z,2026-11-25T00:00:00Z,agt,Bot,1.5,1,final\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			hungUp = true
		})
		for _, err := range c.ExportRows(t.Context(), api.ExportUsageParams{Workspace: "ws"}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		synctest.Wait()
		if !hungUp {
			t.Error("the server goes on writing")
		}
	})
}
