package query

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"agentmeter/internal/httpapi"
	"agentmeter/internal/pause"
	"agentmeter/query/calendar"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// exportBars is how many bars of a CSV are read by one statement. A file of
// more bars is of more moments, as many as it took statements.
const exportBars = 2000

// writeTimeout is how long one piece of a long answer may take to be taken.
const writeTimeout = time.Minute

var exportColumns = []string{"start", "end", "agent_id", "agent_name", "credits", "messages", "state"}

// ExportUsage answers GET /v1/usage/export.csv: one row a bar and agent, from
// the same plan as the dashboard's bars. It is written as it is read, so it can
// be of any length; where it cannot be finished the connection is cut, so that
// nobody takes half of it for whole.
func (s *Service) ExportUsage(w http.ResponseWriter, r *http.Request, _ api.ExportUsageParams) {
	p := readParameters(r)
	u := p.readUsage(r)
	u.compare = calendar.NoComparison // a file has no column for it
	if err := p.err(); err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	begun, err := s.export(w, r, u)
	switch {
	case err == nil:
	case begun && r.Context().Err() != nil: // whoever asked has left
		panic(http.ErrAbortHandler)
	case begun:
		s.log.WarnContext(r.Context(), "export cut off", "error", err, "trace_id", httpapi.TraceID(r.Context()))
		panic(http.ErrAbortHandler)
	default:
		httpapi.WriteError(w, r, err)
	}
}

// export writes the file. begun reports whether some of it was written. A question's slot is
// held while some bars are read, and not while they are written.
func (s *Service) export(w http.ResponseWriter, r *http.Request, u usageRequest) (begun bool, err error) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), s.config.ExportTimeout, errTimeout)
	defer cancel()
	var st *standing
	if err := s.inTurn(ctx, s.config.ExportTimeout, func(ctx context.Context) (err error) {
		st, err = s.standingOf(ctx, u)
		return err
	}); err != nil {
		return false, err
	}
	grain := u.grain
	if grain == "" {
		grain = calendar.AutoGrain(st.rng.Interval, st.rng.Zone)
	}
	header := w.Header()
	describe := func() {
		header.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		header.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, exportName(u, st.rng)))
		header.Set("Cache-Control", "private, no-cache")
		w.WriteHeader(http.StatusOK)
	}
	if r.Method == http.MethodHead {
		describe()
		return true, nil
	}
	out := csv.NewWriter(w)
	for edges := range chunks(calendar.Edges(st.rng.Interval, st.zone, grain), exportBars) {
		q := st.question(u, grain, edges)
		q.interval = schemas.NewInterval(edges[0], edges[len(edges)-1])
		var f *figures
		read := func() error {
			return s.inTurn(ctx, s.config.ExportTimeout, func(ctx context.Context) (err error) {
				f, err = s.figuresOf(ctx, u.route, q, false)
				return err
			})
		}
		err := read()
		for begun && errors.Is(err, errBusy) { // half a file is none
			if !pause.For(ctx, exportPause) {
				return true, context.Cause(ctx)
			}
			err = read()
		}
		if err != nil {
			return begun, err
		}
		if !begun {
			begun = true
			describe()
			_ = out.Write(exportColumns) // its error is that of Flush
		}
		// The server's limit is on answers of ordinary length.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		f.writeRows(out, q, st)
		if out.Flush(); out.Error() != nil {
			return true, out.Error()
		}
	}
	s.metrics.answers.WithLabelValues(u.route, string(st.watermark.completeness(st.rng.Interval, st.now))).Inc()
	return begun, nil
}

// exportPause is how long an export that has begun waits where all slots are taken.
const exportPause = time.Second

// chunks cuts the edges of bars into runs of at most size bars. A run's last
// edge is the first of the next.
func chunks(edges iter.Seq[time.Time], size int) iter.Seq[[]time.Time] {
	return func(yield func([]time.Time) bool) {
		var run []time.Time
		for edge := range edges {
			run = append(run, edge)
			if len(run) > size {
				if !yield(run) {
					return
				}
				run = append(make([]time.Time, 0, size+1), edge)
			}
		}
		if len(run) > 1 {
			yield(run)
		}
	}
}

// writeRows writes the rows of the question's bars.
func (f *figures) writeRows(out *csv.Writer, q question, st *standing) {
	type cell struct {
		agent *agentUsage
		tally
	}
	cells := make([][]cell, q.bars())
	for _, a := range f.agents {
		for _, own := range a.bars {
			cells[own.bar] = append(cells[own.bar], cell{a, own.tally})
		}
	}
	for i := range q.bars() {
		bar := q.bar(i)
		start, end := bar.Start.Format(time.RFC3339), bar.End.Format(time.RFC3339)
		state := st.watermark.state(bar, q.now)
		if len(cells[i]) == 0 {
			nothing := "0"
			if state == api.BarMissing {
				nothing = "" // unknown, and not zero
			}
			_ = out.Write([]string{start, end, "", "", nothing, nothing, string(state)}) // its error is that of Flush
			continue
		}
		slices.SortFunc(cells[i], func(a, b cell) int {
			return cmp.Or(b.credits.Cmp(a.credits), cmp.Compare(b.messages, a.messages), cmp.Compare(a.agent.id, b.agent.id))
		})
		for _, c := range cells[i] {
			_ = out.Write([]string{ // its error is that of Flush
				start, end, schemas.GuardedCell(c.agent.id), schemas.GuardedCell(st.agentName(c.agent.id)), c.credits.String(), count(c.messages), string(state),
			})
		}
	}
}

// exportName names the file after what is in it.
func exportName(u usageRequest, r calendar.Range) string {
	parts := []string{"usage", string(u.workspace)}
	if u.agent != "" {
		parts = append(parts, u.agent)
	}
	parts = append(parts, r.From.String(), r.To.String())
	for i, part := range parts {
		parts[i] = strings.Map(func(c rune) rune {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
				return c
			default:
				return '_'
			}
		}, part)
	}
	return strings.Join(parts, "_") + ".csv"
}
