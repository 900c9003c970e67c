package query

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"agentmeter/internal/clickhouse"
	"agentmeter/query/tiers"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// explanation gathers how one answer is made. Requests that do not ask for it
// carry none, and then nothing is gathered. The methods may be called at once.
type explanation struct {
	began time.Time

	mu         sync.Mutex // guards what follows
	statements []api.ExplainedStatement
	held, read int64 // bars
}

type (
	explanationKey struct{}
	readsKey       struct{}
)

// explained is the request with an explanation to be gathered, if it asks for
// one.
func (u usageRequest) explained(r *http.Request) *http.Request {
	if !u.explain {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), explanationKey{}, &explanation{began: time.Now()}))
}

// explanationFrom is what is gathered for the request that ctx belongs to, or
// nil.
func explanationFrom(ctx context.Context) *explanation {
	x, _ := ctx.Value(explanationKey{}).(*explanation)
	return x
}

// explainReads says what the next statement of ctx reads.
func explainReads(ctx context.Context, branches []branch) context.Context {
	return context.WithValue(ctx, readsKey{}, branches)
}

// bars adds bars whose figures were held and such as had to be read.
func (x *explanation) bars(held, read int) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.held += int64(held)
	x.read += int64(read)
}

// statement adds a statement that has answered.
func (x *explanation) statement(ctx context.Context, name string, began time.Time, summary clickhouse.Summary, rows int) {
	own := api.ExplainedStatement{
		Name:                 name,
		BeganMicroseconds:    began.Sub(x.began).Microseconds(),
		DurationMicroseconds: time.Since(began).Microseconds(),
		Rows:                 strconv.Itoa(rows),
		Reads:                []api.ExplainedRead{},
	}
	if summary.Known {
		readRows, readBytes := strconv.FormatUint(summary.ReadRows, 10), strconv.FormatUint(summary.ReadBytes, 10)
		own.RowsRead, own.BytesRead = &readRows, &readBytes
	}
	branches, _ := ctx.Value(readsKey{}).([]branch)
	for _, b := range branches {
		own.Reads = append(own.Reads, b.explained())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.statements = append(x.statements, own)
}

// answer is what has been gathered, or nil.
func (x *explanation) answer() *api.Explanation {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	slices.SortStableFunc(x.statements, func(a, b api.ExplainedStatement) int {
		return cmp.Or(cmp.Compare(a.BeganMicroseconds, b.BeganMicroseconds), cmp.Compare(a.Name, b.Name))
	})
	return &api.Explanation{
		DurationMicroseconds: time.Since(x.began).Microseconds(),
		Statements:           append([]api.ExplainedStatement{}, x.statements...),
		Bars:                 api.ExplainedBars{Held: x.held, Read: x.read},
	}
}

func (b branch) explained() api.ExplainedRead {
	own := api.ExplainedRead{Table: b.Table, Stretches: []api.ExplainedStretch{}}
	for _, r := range b.Reads {
		own.Tier = tierName(r.planned.Step)
		if r.planned.Step != tiers.Ledger {
			own.StepSeconds = &r.Step
		}
		for _, i := range stretches(r.planned) {
			own.Stretches = append(own.Stretches, api.ExplainedStretch{From: i.Start.UTC(), To: i.End.UTC()})
		}
	}
	return own
}

// stretches is the time that a read covers, without the cells that it leaves
// out.
func stretches(r tiers.Read) []schemas.Interval {
	var all []schemas.Interval
	add := func(from, to time.Time) {
		switch n := len(all); {
		case !from.Before(to):
		case n > 0 && all[n-1].End.Equal(from):
			all[n-1].End = to
		default:
			all = append(all, schemas.Interval{Start: from, End: to})
		}
	}
	within := []schemas.Interval{{Start: r.From, End: r.To}}
	if r.Inside != nil {
		within = nil
		for _, cell := range r.Inside {
			within = append(within, schemas.Interval{Start: cell, End: cell.Add(time.Duration(r.InsideStep))})
		}
	}
	skip := r.Skip
	for _, i := range within {
		from, to := i.Start, i.End
		if from.Before(r.From) {
			from = r.From
		}
		if to.After(r.To) {
			to = r.To
		}
		for ; len(skip) > 0 && skip[0].Before(to); skip = skip[1:] {
			if skip[0].Before(from) {
				continue
			}
			add(from, skip[0])
			from = skip[0].Add(time.Duration(r.Step))
		}
		add(from, to)
	}
	return all
}
