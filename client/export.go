package client

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// ExportCSV reads the figures as CSV, one row a bar and agent, with a header row:
// start, end, agent_id, agent_name, credits, messages, state. There is no limit
// of bars, and nothing of it is held in memory. The caller closes it.
//
// The file is whole only if it ends with io.EOF: an export that the server could
// not finish ends with another error, and is not begun again, because the rows
// that were read already would come twice.
func (c *Client) ExportCSV(ctx context.Context, params api.ExportUsageParams) (io.ReadCloser, error) {
	var rows io.ReadCloser
	err := c.do(ctx, operation{
		safety: reads,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			return requests.ExportUsage(ctx, &params)
		},
		take:   refused,
		stream: &rows, accept: "text/csv", patience: c.timeout,
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// ExportRow is a bar's usage of one agent.
type ExportRow struct {
	Start, End time.Time
	// AgentID and AgentName are empty where the bar has no usage.
	AgentID, AgentName string
	// Credits and Messages are nil where they are unknown, which is not zero.
	Credits  *api.Decimal
	Messages *api.Count
	State    api.BarState
}

// exportColumns are those that ExportRows needs. The file may gain others.
var exportColumns = []string{"start", "end", "agent_id", "agent_name", "credits", "messages", "state"}

// ExportRows reads the figures of ExportCSV row by row. An error ends the
// sequence, and then what came before it is not the whole.
func (c *Client) ExportRows(ctx context.Context, params api.ExportUsageParams) iter.Seq2[ExportRow, error] {
	return func(yield func(ExportRow, error) bool) {
		file, err := c.ExportCSV(ctx, params)
		if err != nil {
			yield(ExportRow{}, err)
			return
		}
		defer file.Close()
		in := csv.NewReader(file)
		in.ReuseRecord = true
		place := make(map[string]int)
		header, err := in.Read()
		if err == nil {
			for i, name := range header {
				place[name] = i
			}
			for _, name := range exportColumns {
				if _, ok := place[name]; !ok {
					err = fmt.Errorf("%w: the export has no column %s", ErrAnswer, name)
				}
			}
		} else if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: the export has no header row", ErrAnswer)
		}
		for err == nil {
			var fields []string
			if fields, err = in.Read(); err != nil {
				break
			}
			row, faulty := exportRow(func(name string) string { return fields[place[name]] })
			if faulty != nil {
				line, _ := in.FieldPos(0)
				err = fmt.Errorf("%w: line %d of the export: %w", ErrAnswer, line, faulty)
				break
			}
			if !yield(row, nil) {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("%w: the export: %w", ErrAnswer, err)
		}
		yield(ExportRow{}, err)
	}
}

func exportRow(field func(string) string) (row ExportRow, err error) {
	if row.Start, err = time.Parse(time.RFC3339, field("start")); err != nil {
		return row, err
	}
	if row.End, err = time.Parse(time.RFC3339, field("end")); err != nil {
		return row, err
	}
	// A record is one string, and whoever keeps a part of it would keep it all.
	row.AgentID = strings.Clone(schemas.UnguardedCell(field("agent_id")))
	row.AgentName = strings.Clone(schemas.UnguardedCell(field("agent_name")))
	if credits := field("credits"); credits != "" {
		row.Credits = new(strings.Clone(credits))
	}
	if messages := field("messages"); messages != "" {
		row.Messages = new(strings.Clone(messages))
	}
	row.State = api.BarState(strings.Clone(field("state")))
	return row, nil
}
