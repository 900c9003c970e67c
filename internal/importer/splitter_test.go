package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLines: lines come as bytes.Split cuts them, numbered from 1, whatever
// the buffer's size, and those beyond the limit say so.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\r\n\n c"), uint8(3))
	f.Add([]byte(strings.Repeat("x", 40)+"\n"+strings.Repeat("y", 41)+"\r\n"+strings.Repeat("z", 42)+"\r"), uint8(40))
	f.Add([]byte("\n\n\n"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, limit uint8) {
		want := bytes.Split(data, []byte{'\n'})
		if len(want[len(want)-1]) == 0 {
			want = want[:len(want)-1]
		}
		s := &splitter{reader: bufio.NewReaderSize(bytes.NewReader(data), 16), maxBytes: int(limit)}
		for i, line := range want {
			line = bytes.TrimSuffix(line, []byte{'\r'})
			got, err := s.next()
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			if got.line != int64(i+1) || got.end != got.line || got.tooLong != (len(line) > int(limit)) {
				t.Fatalf("line %d of %d bytes is %+v", i+1, len(line), got)
			}
			if got.tooLong && !bytes.HasPrefix(line, got.data) || !got.tooLong && !bytes.Equal(line, got.data) {
				t.Fatalf("line %d is %q, want %q", i+1, got.data, line)
			}
		}
		if _, err := s.next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last line: %v", err)
		}
	})
}

// FuzzCSV: records are those that encoding/csv reads, its errors are ours, and
// what is converted reads back as the fields were.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n1,2\n\"x\"\"y\",\"line\nbreak\"\n,\n"))
	f.Add([]byte("a\"b,c\nd\n\"e\"f,g\nh"))
	f.Add([]byte("\"never closed,\n1,2\n"))
	f.Add([]byte("\"\"\n\"\"\"\"\n\"a\",\n \n\xff,é\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.IndexByte(data, '\r') >= 0 {
			t.Skip("encoding/csv rewrites line endings")
		}
		reference := csv.NewReader(bytes.NewReader(data))
		reference.FieldsPerRecord = -1
		s := &splitter{reader: bufio.NewReaderSize(bytes.NewReader(data), 16), maxBytes: 1 << 20, csv: true}
		var fields [][]byte
		var scratch []byte
		for {
			before := reference.InputOffset()
			want, wantErr := reference.Read()
			blank := len(bytes.TrimSpace(data[before:reference.InputOffset()])) == 0
			if blank && wantErr == nil {
				continue
			}
			got, err := s.next()
			for err == nil && got.blank() {
				got, err = s.next()
			}
			if errors.Is(wantErr, io.EOF) {
				if !errors.Is(err, io.EOF) {
					t.Fatalf("record %q (%v) after the last one", got.data, err)
				}
				return
			}
			var parseErr *csv.ParseError
			if errors.As(wantErr, &parseErr) && errors.Is(err, errUnclosedQuote) {
				return // the one fault that ends a file
			}
			if err != nil {
				t.Fatalf("%v, but encoding/csv says %q, %v", err, want, wantErr)
			}
			fields, scratch, err = splitFields(got.data, fields[:0], scratch[:0])
			if (err != nil) != (wantErr != nil) {
				t.Fatalf("%q: %v, but encoding/csv says %v", got.data, err, wantErr)
			}
			if err != nil {
				if parseErr.StartLine != int(got.line) {
					t.Fatalf("fault on line %d, encoding/csv says %d", got.line, parseErr.StartLine)
				}
				continue
			}
			if len(fields) != len(want) {
				t.Fatalf("%q: %q, encoding/csv says %q", got.data, fields, want)
			}
			for i := range fields {
				if string(fields[i]) != want[i] {
					t.Fatalf("%q: %q, encoding/csv says %q", got.data, fields, want)
				}
			}
			if line, _ := reference.FieldPos(0); int64(line) != got.line {
				t.Fatalf("%q is on line %d, encoding/csv says %d", got.data, got.line, line)
			}
			checkConversion(t, got.data, want)
		}
	})
}

func checkConversion(t *testing.T, data []byte, want []string) {
	t.Helper()
	c := &csvConverter{}
	for i := range want {
		c.columns = append(c.columns, "column"+string(rune('A'+i%26))+strings.Repeat("x", i/26))
	}
	event, why := c.convert(data)
	for i, text := range want {
		if !utf8.ValidString(text) {
			if why == nil || why.code != c.columns[i]+"_invalid" {
				t.Fatalf("%q is not UTF-8 but was converted to %s (%+v)", data, event, why)
			}
			return
		}
	}
	if why != nil {
		t.Fatalf("%q: %+v", data, why)
	}
	var got map[string]string
	if err := json.Unmarshal(event, &got); err != nil || bytes.IndexByte(event, '\n') >= 0 {
		t.Fatalf("%q became %q: %v", data, event, err)
	}
	for i, text := range want {
		if got[c.columns[i]] != text {
			t.Fatalf("%q became %s", data, event)
		}
	}
}

func TestCSVRecordHasABound(t *testing.T) {
	t.Parallel()
	data := "a\n\"" + strings.Repeat("0123456789\n", 100)
	s := &splitter{reader: bufio.NewReaderSize(strings.NewReader(data), 16), maxBytes: 200, csv: true}
	if _, err := s.next(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(); !errors.Is(err, errUnclosedQuote) || !strings.HasPrefix(err.Error(), "line 2:") {
		t.Fatalf("got %v", err)
	}
	if s.line > 25 {
		t.Errorf("read on to line %d", s.line)
	}
}
