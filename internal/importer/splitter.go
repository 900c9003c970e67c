package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// record is one line of a file, or, in CSV, the lines that a quoted field
// with line breaks joins.
type record struct {
	line    int64  // the number of its first line, from 1
	end     int64  // and of its last
	data    []byte // without the line ending; valid until the next record
	tooLong bool   // data is only the beginning of what stands in the file
}

// blank reports whether the record is only white space. Such lines are not
// events for anyone, so they are never sent.
func (r *record) blank() bool { return !r.tooLong && len(bytes.TrimSpace(r.data)) == 0 }

// excerptBytes is how much of a line that is too long is kept.
const excerptBytes = 1024

// errUnclosedQuote says that the rest of a CSV file cannot be told apart: what
// looks like records may be the inside of a quoted field.
var errUnclosedQuote = errors.New("a quoted field is never closed")

// splitter cuts a stream into records, none longer than maxBytes.
type splitter struct {
	reader   *bufio.Reader
	maxBytes int
	csv      bool

	line   int64  // lines read so far
	long   []byte // a line that did not fit reader's buffer
	joined []byte // lines of a CSV record so far
}

// next returns the next record, or io.EOF after the last one. A stream that
// breaks off in the middle of a line gives the error and not the half line.
func (s *splitter) next() (record, error) {
	data, tooLong, err := s.nextLine()
	if err != nil {
		return record{}, err
	}
	first := s.line
	if !s.csv || tooLong {
		return record{line: first, end: first, data: trimCR(data), tooLong: tooLong}, nil
	}
	state := scanQuotes(quoteFieldStart, data)
	if state != quoteInside {
		return record{line: first, end: first, data: trimCR(data)}, nil
	}
	s.joined = append(s.joined[:0], data...)
	for state == quoteInside {
		data, tooLong, err = s.nextLine()
		if errors.Is(err, io.EOF) || (err == nil && (tooLong || len(s.joined)+1+len(data) > s.maxBytes)) {
			return record{}, fmt.Errorf("line %d: %w", first, errUnclosedQuote)
		}
		if err != nil {
			return record{}, err
		}
		s.joined = append(append(s.joined, '\n'), data...)
		state = scanQuotes(state, data)
	}
	return record{line: first, end: s.line, data: trimCR(s.joined)}, nil
}

// nextLine reads one physical line, without its line feed.
func (s *splitter) nextLine() (data []byte, tooLong bool, err error) {
	data, err = s.reader.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.long = append(s.long[:0], data...)
		for errors.Is(err, bufio.ErrBufferFull) {
			data, err = s.reader.ReadSlice('\n')
			if !tooLong {
				s.long = append(s.long, data...)
			}
			// One byte more for the line feed and one for a carriage return.
			if len(s.long) > s.maxBytes+2 {
				s.long, tooLong = s.long[:min(excerptBytes, s.maxBytes)], true
			}
		}
		data = s.long
	}
	if errors.Is(err, io.EOF) {
		if len(data) == 0 && !tooLong {
			return nil, false, io.EOF
		}
		err = nil // a last line without a line feed
	}
	if err != nil {
		return nil, false, err
	}
	s.line++
	if !tooLong {
		if n := len(data); data[n-1] == '\n' {
			data = data[:n-1]
		}
		if len(trimCR(data)) > s.maxBytes {
			data, tooLong = data[:min(excerptBytes, s.maxBytes)], true
		}
	}
	return data, tooLong, nil
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
