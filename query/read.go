package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"agentmeter/internal/clickhouse"
	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// maxResultRows bounds what one statement answers, and so what a question holds:
// how many agents a workspace has is whatever sends its events.
const maxResultRows = 1_000_000

// read puts one statement to ClickHouse and gives each block of its answer,
// decoded into columns, to onBlock.
func (s *Service) read(ctx context.Context, route, name, sql string, params map[string]string, columns proto.Results, onBlock func(rows int)) error {
	return s.readStatement(ctx, route, name, clickhouse.Statement{SQL: sql, Params: params}, columns, onBlock)
}

// readStatement is read with settings and a mutex of the statement's own.
func (s *Service) readStatement(ctx context.Context, route, name string, statement clickhouse.Statement, columns proto.Results, onBlock func(rows int)) error {
	began := time.Now()
	total := 0
	settings := map[string]string{
		"max_threads": strconv.Itoa(s.config.QueryThreads),
		// A statement whose request has ended must not keep ClickHouse busy. It
		// stops those alone that are declared to change nothing.
		"max_result_rows": strconv.Itoa(maxResultRows), "result_overflow_mode": "throw",
		"readonly": "2", "cancel_http_readonly_queries_on_client_close": "1",
	}
	if deadline, ok := ctx.Deadline(); ok {
		// The engine gives up when nobody waits for it any more.
		left := time.Until(deadline) / time.Second
		settings["max_execution_time"] = strconv.FormatInt(int64(left)+1, 10)
	}
	maps.Copy(settings, statement.Settings)
	statement.Settings = settings
	explained := explanationFrom(ctx)
	if explained != nil {
		statement.Summary = &clickhouse.Summary{}
	}
	err := s.clickhouse.Select(ctx, statement, columns, func(rows int) error {
		total += rows
		onBlock(rows)
		return nil
	})
	s.metrics.observeStatement(name, route, began, total)
	if explained != nil && err == nil {
		explained.statement(ctx, name, began, *statement.Summary, total)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, storeError(ctx, err))
	}
	return nil
}

// row is one line of a statement of branches. Its who is valid until the next.
type row struct {
	part part
	bar  uint32
	who  []byte
	tally
}

// readRows runs a statement of branches.
func (s *Service) readRows(ctx context.Context, route, name string, b *builder, sql string, onRow func(row)) error {
	var (
		parts              proto.ColUInt8
		bars               proto.ColUInt32
		who                proto.ColStr
		spent              proto.ColInt128
		answered, recorded proto.ColInt64
	)
	for _, tier := range b.tiers {
		s.metrics.reads.WithLabelValues(tier).Inc()
	}
	if explanationFrom(ctx) != nil {
		ctx = explainReads(ctx, b.branches)
	}
	defer s.timeTier(route, b)()
	return s.read(ctx, route, name, sql, b.params, proto.Results{
		{Name: "part", Data: &parts},
		{Name: "bar", Data: &bars},
		{Name: "who", Data: &who},
		{Name: "spent", Data: &spent},
		{Name: "answered", Data: &answered},
		{Name: "recorded", Data: &recorded},
	}, func(rows int) {
		for i := range rows {
			onRow(row{
				part: part(parts[i]), bar: bars[i], who: who.RowBytes(i),
				tally: tally{
					credits:  creditsOf(spent[i]),
					messages: answered[i],
					events:   recorded[i],
				},
			})
		}
	})
}

// timeTier begins to time a statement; what it returns ends that.
func (s *Service) timeTier(route string, b *builder) (end func()) {
	if len(b.tiers) == 0 {
		return func() {}
	}
	began := time.Now()
	return func() {
		s.metrics.tiers.WithLabelValues(route, tierName(b.finest)).Observe(time.Since(began).Seconds())
	}
}

// creditsOf reads the engine's 128 bits.
func creditsOf(v proto.Int128) schemas.CreditsSum {
	return schemas.CreditsSum{Hi: int64(v.High), Lo: v.Low}
}

// storeError decides what an error of ClickHouse's means for the request. It
// is the only place that does: a wait that ended is the context's error, load
// and absence may be tried again, and the rest is a fault.
func storeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	const retryAfter = time.Second
	switch clickhouse.ExceptionCode(err) {
	case clickhouse.CodeTooManyQueries, clickhouse.CodeMemoryLimitExceeded, clickhouse.CodeNotEnoughSpace:
		return httpapi.Unavailable("storage_busy", "The figures cannot be read just now. Try again.", retryAfter, err)
	case clickhouse.CodeTooManyResultRows:
		return &httpapi.Problem{
			Status: http.StatusBadRequest, Code: "too_many_figures", Cause: err,
			Detail: fmt.Sprintf("The answer would be made of more than %d figures. Ask for less time, for a coarser grain, or for one agent.", maxResultRows),
		}
	case clickhouse.CodeNoServer:
		return httpapi.Unavailable("storage_unavailable", "The figures cannot be read just now. Try again.", retryAfter, err)
	case clickhouse.CodeTimeoutExceeded:
		return &httpapi.Problem{Status: http.StatusGatewayTimeout, Code: "timeout", Detail: "It took too long. Try again, or ask for less.", Cause: err}
	}
	// A connection that ends instead of answering: ClickHouse was stopped, or fell.
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return httpapi.Unavailable("storage_unavailable", "The figures cannot be read just now. Try again.", retryAfter, err)
	}
	return err
}
