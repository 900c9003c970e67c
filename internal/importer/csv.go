package importer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"agentmeter/internal/eventclient"
)

// csvColumns are the fields of an event that a CSV file may name, and whether
// it must.
var csvColumns = []struct {
	name     string
	required bool
}{
	{"id", true},
	{"workspace_id", true},
	{"agent_id", true},
	{"conversation_id", false},
	{"occurred_at", true},
	{"channel", true},
	{"model", false},
	{"credits", true},
	{"messages", false},
}

// quoteState is where in a CSV record a scan is.
type quoteState uint8

const (
	quoteFieldStart quoteState = iota
	quoteOutside               // in a field that has no quotes
	quoteInside                // in a quoted field
	quoteMaybeEnd              // after a quote in a quoted field: its end, or one half of ""
	quoteBroken                // a quote where none may be; the record ends with its line
)

// scanQuotes goes through one line of a CSV record. quoteInside at its end
// means that the record goes on.
func scanQuotes(state quoteState, line []byte) quoteState {
	if state == quoteFieldStart && bytes.IndexByte(line, '"') < 0 {
		return quoteOutside
	}
	for i, c := range line {
		switch state {
		case quoteFieldStart, quoteOutside:
			switch {
			case c == ',':
				state = quoteFieldStart
			case c == '"' && state == quoteFieldStart:
				state = quoteInside
			case c == '"':
				return quoteBroken
			default:
				state = quoteOutside
			}
		case quoteInside:
			if c == '"' {
				state = quoteMaybeEnd
			}
		case quoteMaybeEnd:
			switch {
			case c == '"':
				state = quoteInside
			case c == ',':
				state = quoteFieldStart
			case c == '\r' && i == len(line)-1:
			default:
				return quoteBroken
			}
		case quoteBroken:
			return quoteBroken
		}
	}
	return state
}

var errQuote = errors.New(`a quote stands inside a field; quote the whole field and write the quote twice ("")`)

// splitFields cuts a CSV record into its fields, appending them to fields;
// quoted ones are unquoted into scratch. It returns both for the next call.
func splitFields(data []byte, fields [][]byte, scratch []byte) ([][]byte, []byte, error) {
	if cap(scratch) < len(data) {
		scratch = make([]byte, 0, len(data)) // never grows below: fields point into it
	}
	for {
		if len(data) == 0 || data[0] != '"' {
			field, rest, more := bytes.Cut(data, []byte{','})
			if bytes.IndexByte(field, '"') >= 0 {
				return fields, scratch, errQuote
			}
			fields = append(fields, field)
			if !more {
				return fields, scratch, nil
			}
			data = rest
			continue
		}
		data = data[1:]
		start := len(scratch)
		for {
			i := bytes.IndexByte(data, '"')
			if i < 0 {
				return fields, scratch, errUnclosedQuote
			}
			scratch = append(scratch, data[:i]...)
			data = data[i+1:]
			if len(data) == 0 || data[0] != '"' {
				break
			}
			scratch = append(scratch, '"')
			data = data[1:]
		}
		fields = append(fields, scratch[start:len(scratch):len(scratch)])
		if len(data) == 0 {
			return fields, scratch, nil
		}
		if data[0] != ',' {
			return fields, scratch, errQuote
		}
		data = data[1:]
	}
}

// csvConverter turns the records below one header row into JSON events.
type csvConverter struct {
	columns []string
	fields  [][]byte
	scratch []byte
	out     []byte
}

// newCSVConverter reads a header row. Its errors are misuse.
func newCSVConverter(header []byte) (*csvConverter, error) {
	cells, _, err := splitFields(header, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("header row: %w", err)
	}
	c := &csvConverter{}
	for i, cell := range cells {
		name := strings.TrimSpace(string(cell))
		switch {
		case name == "":
			return nil, fmt.Errorf("header row: column %d has no name; %s", i+1, allowedColumns())
		case !isCSVColumn(name):
			hint := ""
			if len(cells) == 1 && strings.ContainsAny(name, ";\t|") {
				hint = "; columns are separated by commas"
			}
			return nil, fmt.Errorf("header row: unknown column %q; %s%s", name, allowedColumns(), hint)
		case slices.Contains(c.columns, name):
			return nil, fmt.Errorf("header row: the column %s is there twice", name)
		}
		c.columns = append(c.columns, name)
	}
	for _, column := range csvColumns {
		if column.required && !slices.Contains(c.columns, column.name) {
			return nil, fmt.Errorf("header row: the column %s is missing; %s", column.name, allowedColumns())
		}
	}
	return c, nil
}

func isCSVColumn(name string) bool {
	for _, column := range csvColumns {
		if column.name == name {
			return true
		}
	}
	return false
}

func allowedColumns() string {
	var required, optional []string
	for _, column := range csvColumns {
		if column.required {
			required = append(required, column.name)
		} else {
			optional = append(optional, column.name)
		}
	}
	return fmt.Sprintf("the columns are %s, and optionally %s", strings.Join(required, ", "), strings.Join(optional, ", "))
}

// convert returns the record as a JSON event, valid until the next call, or
// why there is none. Each value becomes a string, which the server reads
// exactly; an empty one is left out.
func (c *csvConverter) convert(data []byte) ([]byte, *fault) {
	fields, scratch, err := splitFields(data, c.fields[:0], c.scratch[:0])
	c.fields, c.scratch = fields, scratch
	if err != nil {
		return nil, &fault{code: codeInvalid, detail: err.Error()}
	}
	if len(fields) != len(c.columns) {
		return nil, &fault{code: codeInvalid, detail: fmt.Sprintf("has %d fields, but the header row has %d", len(fields), len(c.columns))}
	}
	out := append(c.out[:0], '{')
	for i, field := range fields {
		if len(field) == 0 {
			continue
		}
		if !utf8.Valid(field) {
			return nil, &fault{code: c.columns[i] + "_invalid", detail: c.columns[i] + ": is not valid UTF-8; save the file as UTF-8"}
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), c.columns[i]...), '"', ':')
		out = eventclient.AppendString(out, field)
	}
	c.out = append(out, '}')
	return c.out, nil
}
