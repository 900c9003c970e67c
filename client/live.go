package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"agentmeter/schemas/api"
)

const (
	// liveRetry is after how long a stream that ended is come back to, unless the
	// server names another time, of maxLiveRetry at most.
	liveRetry    = 2 * time.Second
	maxLiveRetry = time.Minute
	// liveSilence is how long a stream may say nothing at least: the server sends
	// a comment every 15 seconds.
	liveSilence = 45 * time.Second
	// maxLiveLine bounds a line of the stream.
	maxLiveLine = 1 << 20
)

// Live tells whenever more has been counted, until the loop is left, ctx ends, or
// an error, which ends the sequence. A stream that ends or breaks is no error: it
// is come back to after the time that the server names, with the id of the last
// event, if it had one, as Last-Event-ID. Where the server cannot be reached, or
// lets every stream break before its first event, the client gives up after
// Retries.For; the number of attempts bounds nothing here unless it is 1.
//
// Read the figures whenever an update says Changed. The first one of all does; the
// first after a break says whether there is anything new since the last.
func (c *Client) Live(ctx context.Context, workspace string) iter.Seq2[api.LiveUpdate, error] {
	return func(yield func(api.LiveUpdate, error) bool) {
		events := eventStream{retry: liveRetry}
		var barrenSince time.Time // when the streams without an event began
		barren := 0
		for {
			stream, err := c.openLive(ctx, workspace, events.lastID)
			if err != nil {
				yield(api.LiveUpdate{}, err)
				return
			}
			heard, left, err := events.follow(stream, yield)
			switch {
			case left:
				return
			case ctx.Err() != nil:
				yield(api.LiveUpdate{}, context.Cause(ctx))
				return
			case errors.Is(err, ErrAnswer):
				yield(api.LiveUpdate{}, err)
				return
			}
			now := time.Now()
			if barren++; heard {
				barren = 0
			}
			if heard || barrenSince.IsZero() {
				barrenSince = now
			}
			wait := max(c.retries.MinBackoff, events.retry) + rand.N(events.retry/4+1) //nolint:gosec // readers that come back apart, not a secret
			if !heard && (c.retries.Attempts == 1 || now.Add(wait).Sub(barrenSince) > c.retries.For) {
				yield(api.LiveUpdate{}, &GaveUpError{Attempts: barren, Tried: now.Sub(barrenSince), Last: err})
				return
			}
			if err := sleep(ctx, wait); err != nil {
				yield(api.LiveUpdate{}, err)
				return
			}
		}
	}
}

func (c *Client) openLive(ctx context.Context, workspace, lastID string) (io.ReadCloser, error) {
	var stream io.ReadCloser
	err := c.do(ctx, operation{
		safety: reads,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			params := api.GetLiveParams{Workspace: workspace}
			if lastID != "" {
				params.LastEventID = &lastID
			}
			return requests.GetLive(ctx, &params)
		},
		take:   refused,
		stream: &stream, accept: "text/event-stream", patience: max(c.timeout, liveSilence),
		untiring: true,
	})
	return stream, err
}

// eventStream reads server-sent events and remembers what has to outlive a
// connection.
type eventStream struct {
	lastID string
	retry  time.Duration
}

// errStreamEnded is a stream that the server ended in good order.
var errStreamEnded = errors.New("the stream ended")

// follow hands on the updates of one connection and closes it. It says whether
// there were any and whether the loop was left; else the error says why the
// stream is over.
func (s *eventStream) follow(stream io.ReadCloser, yield func(api.LiveUpdate, error) bool) (heard, left bool, err error) {
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxLiveLine)
	lines.Split(splitLines())
	var name, data []byte
	id := s.lastID
	first := true
	for lines.Scan() {
		line := lines.Bytes()
		if first {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
			first = false
		}
		if len(line) == 0 { // the event is whole
			s.lastID = id
			if string(name) == "watermark" && len(data) > 0 {
				var update api.LiveUpdate
				if err := decode(data, &update); err != nil {
					return heard, false, err
				}
				heard = true
				if !yield(update, nil) {
					return heard, true, nil
				}
			}
			name, data = name[:0], data[:0]
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = append(name[:0], value...)
		case "data":
			if len(data) > 0 {
				data = append(data, '\n')
			}
			data = append(data, value...)
		case "id":
			if text := string(value); headerText(text) {
				id = text
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				s.retry = min(maxLiveRetry, time.Duration(ms)*time.Millisecond)
			}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return heard, false, fmt.Errorf("%w: a line of the stream is longer than %d bytes", ErrAnswer, maxLiveLine)
	} else if err != nil {
		return heard, false, err
	}
	return heard, false, errStreamEnded
}

// headerText says whether a header can carry the text.
func headerText(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// splitLines ends a line at \n, \r\n or \r. It does not wait for what follows an
// \r, since that may be a long time in coming.
func splitLines() bufio.SplitFunc {
	afterCR := false
	return func(data []byte, atEOF bool) (advance int, line []byte, err error) {
		skipped := 0
		if afterCR && len(data) > 0 {
			if data[0] == '\n' {
				skipped, data = 1, data[1:]
			}
			afterCR = false
		}
		if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
			afterCR = data[i] == '\r'
			return skipped + i + 1, data[:i], nil
		}
		if atEOF {
			return skipped + len(data), nil, nil // a line that was cut off
		}
		return skipped, nil, nil
	}
}
