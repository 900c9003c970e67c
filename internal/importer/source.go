package importer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

// stdinName stands for the standard input on the command line.
const stdinName = "-"

// headBytes is how much of a file's beginning is in its fingerprint.
const headBytes = 64 << 10

// fingerprint tells whether a file is still the one that an import began with.
type fingerprint struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Head     string    `json:"head_sha256"`
}

func (f fingerprint) equal(other fingerprint) bool {
	return f.Size == other.Size && f.Modified.Equal(other.Modified) && f.Head == other.Head
}

// source is one opened input.
type source struct {
	name    string // for people
	path    string // absolute; "" for the standard input
	regular bool   // a regular file, which can be resumed
	size    int64  // compressed, as on disk; -1 if unknown
	print   fingerprint

	read    *countingReader
	records *splitter
	csv     *csvConverter // nil for NDJSON
	closers []io.Closer
}

// sources opens inputs.
type sources struct {
	ctx   context.Context //nolint:containedctx // bounds the reads of the standard input, which the Reader interface gives no context
	stdin io.Reader
}

func (o sources) open(name string) (*source, error) {
	s := &source{name: name, size: -1}
	var raw io.Reader
	if name == stdinName {
		s.name = "stdin"
		raw = &interruptibleReader{ctx: o.ctx, r: o.stdin}
	} else {
		// What is no regular file can be opened only once, and opening a named pipe waits.
		if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			return nil, fmt.Errorf("%s: is not a regular file; send it through the standard input: agentmeter import - < %s", name, name)
		}
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, file)
		raw = file
	}
	if err := s.prepare(raw); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.name, err), s.close())
	}
	return s, nil
}

func (s *source) close() error {
	var faults []error
	for _, c := range s.closers {
		faults = append(faults, c.Close())
	}
	s.closers = nil
	return errors.Join(faults...)
}

// prepare looks at the beginning of the input to find out what it is.
func (s *source) prepare(raw io.Reader) error {
	wanted := 2 // what tells gzip apart; the standard input may be slow to give more
	if file, ok := raw.(*os.File); ok {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			return errors.New("is a directory; name the files in it")
		}
		if s.path, err = filepath.Abs(s.name); err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			wanted = headBytes
			s.regular, s.size = true, info.Size()
			s.print = fingerprint{Size: info.Size(), Modified: info.ModTime().UTC()}
		}
	}
	s.read = &countingReader{r: raw}
	outer := bufio.NewReaderSize(s.read, headBytes)
	head, err := outer.Peek(wanted)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if s.regular {
		sum := sha256.Sum256(head)
		s.print.Head = hex.EncodeToString(sum[:])
	}
	text := outer
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(outer)
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		s.closers = append(s.closers, unpacked)
		text = bufio.NewReaderSize(unpacked, headBytes)
	}
	// One byte makes the buffer take in what is there; the rest is looked at
	// without waiting for more.
	if _, err := text.Peek(1); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("unpack: %w", err)
	}
	beginning, _ := text.Peek(text.Buffered()) // never more than is buffered, so it cannot fail
	if bytes.HasPrefix(beginning, []byte("\xff\xfe")) || bytes.HasPrefix(beginning, []byte("\xfe\xff")) {
		return errors.New("is UTF-16 text; save it as UTF-8")
	}
	if bytes.IndexByte(beginning, 0) >= 0 {
		return errors.New("is not text; NDJSON or CSV is needed, optionally compressed with gzip")
	}
	if mark := []byte("\xef\xbb\xbf"); bytes.HasPrefix(beginning, mark) {
		if _, err := text.Discard(len(mark)); err != nil {
			return err
		}
		beginning = beginning[len(mark):]
	}
	s.records = &splitter{reader: text, maxBytes: MaxEventBytes}
	if strings.HasSuffix(strings.TrimSuffix(s.name, ".gz"), rejectedSuffix) {
		s.records.maxBytes = maxEnvelopeBytes
	}
	isCSV, err := looksLikeCSV(s.name, bytes.TrimSpace(beginning))
	if err != nil || !isCSV {
		return err
	}
	s.records.csv = true
	return s.readHeader()
}

// looksLikeCSV goes by the name and, where that says nothing, by the first
// character.
func looksLikeCSV(name string, beginning []byte) (bool, error) {
	extension := strings.ToLower(filepath.Ext(name))
	if extension == ".gz" {
		extension = strings.ToLower(filepath.Ext(strings.TrimSuffix(name, filepath.Ext(name))))
	}
	if extension == ".csv" {
		return true, nil
	}
	if bytes.HasPrefix(beginning, []byte("[")) {
		return false, errors.New("is a JSON array; one event a line is needed, which `jq -c '.[]'` makes of it")
	}
	switch extension {
	case ".ndjson", ".jsonl", ".json", ".ldjson":
		return false, nil
	default:
		return len(beginning) > 0 && beginning[0] != '{', nil
	}
}

func (s *source) readHeader() error {
	for {
		header, err := s.records.next()
		if errors.Is(err, io.EOF) {
			s.csv = &csvConverter{}
			return nil // an empty file has no events
		}
		if err != nil {
			return fmt.Errorf("header row: %w", err)
		}
		if header.blank() {
			continue
		}
		if header.tooLong {
			return errors.New("header row: is longer than 1 MiB")
		}
		s.csv, err = newCSVConverter(header.data)
		return err
	}
}

// changed reports whether the file is no longer what it was when it was
// opened.
func (s *source) changed() bool {
	if !s.regular {
		return false
	}
	info, err := os.Stat(s.path)
	return err != nil || info.Size() != s.print.Size || !info.ModTime().Equal(s.print.Modified)
}

// countingReader counts what has been read. The count may be read at any time.
type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// interruptibleReader ends a Read when ctx ends, which the standard input
// itself does not. The read that was under way stays behind until the input
// gives something or the process ends.
type interruptibleReader struct {
	ctx     context.Context //nolint:containedctx // as in sources
	r       io.Reader
	pending chan readResult
	rest    []byte
	err     error
}

type readResult struct {
	data []byte
	err  error
}

func (r *interruptibleReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && r.err == nil {
		if r.pending == nil {
			r.pending = make(chan readResult, 1)
			go func() {
				buffer := make([]byte, headBytes)
				n, err := r.r.Read(buffer)
				r.pending <- readResult{buffer[:n], err}
			}()
		}
		select {
		case result := <-r.pending:
			r.pending, r.rest, r.err = nil, result.data, result.err
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}
