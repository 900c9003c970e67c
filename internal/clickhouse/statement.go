package clickhouse

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"agentmeter/internal/pause"
	"agentmeter/internal/tracing"
)

// Statement is one statement, with all that says how it is meant.
type Statement struct {
	SQL string
	// Params are bound to the {name:Type} places of SQL.
	Params map[string]string
	// Settings are set for this statement alone.
	Settings map[string]string
	// Mutex, where not empty, is the query id that the statement runs under.
	// At most one statement with it runs at a time, until it has ended in the
	// engine; others wait. It is the partition's mutex of the protocol.
	Mutex string
	// Place, where not nil, is what the statement is about, all of it. On a
	// cluster it goes to the server that writes there.
	Place *Place
	// EachShard makes a question one of each shard's own server, whose answers
	// follow one another, where counting must not go by what another replica
	// knows.
	EachShard bool
	// Body is sent after SQL, in the format that SQL names.
	Body []byte
	// Summary, where not nil, is filled in with what the statement took, once it
	// has succeeded.
	Summary *Summary
}

// Summary is what ClickHouse says that a statement took.
type Summary struct {
	// Known is whether it said so; the rest is zero where it did not.
	Known bool
	// ReadRows and ReadBytes are what was read from tables, decompressed.
	ReadRows, ReadBytes uint64
	// WrittenRows were inserted.
	WrittenRows uint64
}

// summaryOf reads X-ClickHouse-Summary. Since ClickHouse answers at a
// statement's end here, what it says is about the whole of it.
func summaryOf(header http.Header) Summary {
	var said struct {
		ReadRows    *uint64 `json:"read_rows,string"`
		ReadBytes   *uint64 `json:"read_bytes,string"`
		WrittenRows uint64  `json:"written_rows,string"`
	}
	err := json.Unmarshal([]byte(header.Get("X-ClickHouse-Summary")), &said)
	if err != nil || said.ReadRows == nil || said.ReadBytes == nil {
		return Summary{}
	}
	return Summary{Known: true, ReadRows: *said.ReadRows, ReadBytes: *said.ReadBytes, WrittenRows: said.WrittenRows}
}

// ClickHouse reads parameters in its escaped format, in which these characters
// do not stand for themselves.
var parameterEscapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`)

// How long a statement waits between two tries for its mutex.
const (
	mutexFirstWait = 2 * time.Millisecond
	mutexMaxWait   = 100 * time.Millisecond
)

// Exec runs a statement that returns nothing. On success it has ended in the
// engine, its views included. An *Exception means that the engine reported an
// error, of which Refused is one that changed nothing; any other error means
// that the outcome is unknown.
func (c *Client) Exec(ctx context.Context, statement Statement) error {
	if statement.EachShard {
		return errors.New("clickhouse: a statement that writes is of one shard")
	}
	targets, err := c.targets(ctx, statement)
	if err != nil {
		return err
	}
	answer, err := targets[0].run(ctx, statement)
	if err != nil {
		return err
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// Select runs a statement whose SQL ends in FORMAT Native and gives each block
// of its answer to onBlock, decoded into columns. onBlock must copy what it
// keeps.
func (c *Client) Select(ctx context.Context, statement Statement, columns proto.Results, onBlock func(rows int) error) error {
	targets, err := c.targets(ctx, statement)
	if err != nil {
		return err
	}
	for _, target := range targets {
		if err := target.selectHere(ctx, statement, columns, onBlock); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) selectHere(ctx context.Context, statement Statement, columns proto.Results, onBlock func(rows int) error) error {
	answer, err := c.run(ctx, statement)
	if err != nil {
		return err
	}
	defer answer.Close()
	reader := proto.NewReader(answer)
	for {
		var block proto.Block
		err := block.DecodeRawBlock(reader, 0, columns)
		if errors.Is(err, io.EOF) && block.Columns == 0 {
			return nil // the end, and not the middle of a block
		}
		if err != nil {
			return fmt.Errorf("decode answer: %w", err)
		}
		if block.Rows > 0 {
			if err := onBlock(block.Rows); err != nil {
				return err
			}
		}
		for _, column := range columns {
			column.Data.Reset()
		}
	}
}

// EncodeBlock encodes columns as one block in the Native format, appending to
// dst.
func EncodeBlock(dst []byte, rows int, columns proto.Input) ([]byte, error) {
	buffer := proto.Buffer{Buf: dst}
	block := proto.Block{Columns: len(columns), Rows: rows}
	if err := block.EncodeRawBlock(&buffer, 0, columns); err != nil {
		return nil, fmt.Errorf("encode block: %w", err)
	}
	return buffer.Buf, nil
}

// run sends the statement, waiting for its mutex, and returns the body of a
// successful answer.
func (c *Client) run(ctx context.Context, statement Statement) (_ io.ReadCloser, err error) {
	ctx, end := tracing.Child(ctx, trace.SpanKindClient, firstWord(statement.SQL), attribute.String("db.system.name", "clickhouse"),
		attribute.String("db.namespace", c.config.Database), attribute.String("db.query.text", statement.SQL)) // values are bound, and not in it
	defer func() { end(err) }()
	if statement.Mutex != "" && c.config.Cluster != "" {
		// Two inserts of a table cannot wait for their quorum at once.
		statement.Mutex = "agentmeter-" + c.config.Database
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", statement.Mutex, context.Cause(ctx))
		case c.turn <- struct{}{}:
			defer func() { <-c.turn }()
		}
	}
	wait := mutexFirstWait
	for {
		answer, err := c.send(ctx, statement)
		if err == nil || statement.Mutex == "" || ExceptionCode(err) != CodeAlreadyRunning {
			return answer, err
		}
		if !pause.For(ctx, wait) {
			return nil, fmt.Errorf("wait for %s: %w", statement.Mutex, context.Cause(ctx))
		}
		wait = min(2*wait, mutexMaxWait)
	}
}

// firstWord of a statement, after its comments, is what it does.
func firstWord(sql string) string {
	for line := range strings.Lines(sql) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word != "" && word != "--" {
			return word
		}
	}
	return ""
}

func (c *Client) send(ctx context.Context, statement Statement) (io.ReadCloser, error) {
	query := url.Values{
		"database":           {c.config.Database},
		waitForEnd:           {"1"},
		"async_insert":       {"0"},
		"default_format":     {"Native"},
		"max_execution_time": {"0"},
		// A user's profile may say otherwise; part of an answer is none.
		"read_overflow_mode": {"throw"}, "set_overflow_mode": {"throw"}, "group_by_overflow_mode": {"throw"},
		"sort_overflow_mode": {"throw"}, "result_overflow_mode": {"throw"}, "distinct_overflow_mode": {"throw"},
		"join_overflow_mode": {"throw"}, "limit": {"0"}, "offset": {"0"}, "use_query_cache": {"0"},
	}
	for name, value := range c.settings {
		query.Set(name, value)
	}
	for name, value := range statement.Settings {
		query.Set(name, value)
	}
	for name, value := range statement.Params {
		query.Set("param_"+name, parameterEscapes.Replace(value))
	}
	if statement.Mutex != "" {
		query.Set("query_id", statement.Mutex)
		query.Set("replace_running_query", "0")
	}
	body := []byte(statement.SQL)
	if statement.Body != nil {
		query.Set("query", statement.SQL)
		body = statement.Body
	}
	target := *c.base
	target.Path = "/"
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("clickhouse: request: %w", err)
	}
	request.Header.Set("X-ClickHouse-User", c.config.User)
	if c.config.Password != "" {
		request.Header.Set("X-ClickHouse-Key", c.config.Password)
	}
	tracing.ToHTTP(ctx, propagation.HeaderCarrier(request.Header))
	response, err := c.http.Do(request)
	if err != nil {
		var urlError *url.Error
		if errors.As(err, &urlError) {
			err = urlError.Err // the URL holds parameters and says nothing new
		}
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	if response.StatusCode == http.StatusOK && response.Header.Get("X-ClickHouse-Exception-Code") == "" {
		// Whoever stands in between can say 200, too. ClickHouse says which
		// statement it is that has ended.
		id := response.Header.Get("X-ClickHouse-Query-Id")
		if id != "" && (statement.Mutex == "" || id == statement.Mutex) {
			if statement.Summary != nil {
				*statement.Summary = summaryOf(response.Header)
			}
			return response.Body, nil
		}
		_ = response.Body.Close()
		return nil, fmt.Errorf("clickhouse: an answer without the statement's id (%q, want %q): not ClickHouse's own", id, statement.Mutex)
	}
	defer response.Body.Close()
	const maxMessage = 64 << 10
	message, _ := io.ReadAll(io.LimitReader(response.Body, maxMessage))
	code, _ := strconv.Atoi(response.Header.Get("X-ClickHouse-Exception-Code"))
	if code == 0 {
		code = ExceptionCode(errors.New(string(message)))
	}
	if code == 0 {
		return nil, fmt.Errorf("clickhouse: answered %s: %.200s", response.Status, message)
	}
	return nil, &Exception{Code: code, Message: string(bytes.TrimSpace(message))}
}

// SelectText runs a statement without a FORMAT and gives each row of its
// answer to onRow as unescaped text fields.
func (c *Client) SelectText(ctx context.Context, statement Statement, onRow func(fields []string) error) error {
	statement.SQL += "\nFORMAT TabSeparated"
	targets, err := c.targets(ctx, statement)
	if err != nil {
		return err
	}
	for _, target := range targets {
		if err := target.selectTextHere(ctx, statement, onRow); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) selectTextHere(ctx context.Context, statement Statement, onRow func(fields []string) error) error {
	answer, err := c.run(ctx, statement)
	if err != nil {
		return err
	}
	defer answer.Close()
	scanner := bufio.NewScanner(answer)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		fields := strings.Split(scanner.Text(), "\t")
		for i, field := range fields {
			fields[i] = textEscapes.Replace(field)
		}
		if err := onRow(fields); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

var textEscapes = strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r", `\0`, "\x00", `\'`, "'", `\b`, "\b", `\f`, "\f")
