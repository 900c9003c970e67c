package importer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"agentmeter/internal/eventclient"
)

// Codes of what the importer itself rejects; they are the contract's.
const (
	codeInvalid  = "event_invalid"
	codeTooLarge = "event_too_large"
)

// fault is why a line was rejected.
type fault struct {
	code   string
	detail string
}

// Rejection is one rejected line.
type Rejection struct {
	Line   int64  `json:"line"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	ID     string `json:"-"` // where the server could read one
}

const (
	// rejectedSuffix is what the name of a file's rejected lines has after the file's.
	rejectedSuffix = ".rejected.ndjson"
	// maxEnvelopeBytes is how long a line of such a file may be: the longest event,
	// escaped once more.
	maxEnvelopeBytes = 2 * MaxEventBytes
)

// envelope is a line of such a file as it is read again.
type envelope struct {
	Line   *int64          `json:"line"`
	Code   string          `json:"code"`
	Detail string          `json:"detail"`
	Event  json.RawMessage `json:"event"`
	Base64 []byte          `json:"event_base64"`
}

// unwrapEnvelope returns the event in a line that appendEnvelope made, and that
// somebody may have corrected since. No event can be taken for one: none may have a
// field named line.
func unwrapEnvelope(data []byte) (event []byte, ok bool) {
	inside, ok := bytes.CutPrefix(data, []byte("{"))
	if !ok || !bytes.HasPrefix(bytes.TrimLeft(inside, " \t"), []byte(`"line"`)) {
		return nil, false
	}
	var e envelope
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil || decoder.InputOffset() != int64(len(data)) || e.Line == nil {
		return nil, false
	}
	var text string
	switch {
	case e.Event == nil:
		return e.Base64, len(e.Base64) > 0
	case json.Unmarshal(e.Event, &text) == nil && e.Event[0] == '"':
		return []byte(text), true // a line that was no JSON, corrected within the string or not at all
	}
	return e.Event, true
}

// oneLine makes an event from within an envelope a line of a batch, or says why it
// is none: escaped it may be longer than a line may, hold line breaks, or be nothing.
func oneLine(event []byte) ([]byte, *fault) {
	event = bytes.TrimSpace(event)
	if bytes.ContainsAny(event, "\r\n") {
		var line bytes.Buffer
		if json.Compact(&line, event) != nil {
			return nil, &fault{codeInvalid, "the event is not JSON; put the corrected one, as a JSON object, in its place"}
		}
		event = line.Bytes()
	}
	switch {
	case len(event) == 0:
		return nil, &fault{codeInvalid, "the event is empty; put the corrected one, as a JSON object, in its place"}
	case len(event) > MaxEventBytes:
		return nil, &fault{codeTooLarge, fmt.Sprintf("the event is longer than %d bytes and was not sent", MaxEventBytes)}
	}
	return event, nil
}

// appendEnvelope appends the line that FILE.rejected.ndjson has for a
// rejection: {"line","code","detail","event"}. event is the event itself where
// the line is JSON, else the line as a string; bytes that are not UTF-8 stand
// in event_base64 instead.
func appendEnvelope(dst []byte, r Rejection, original []byte) []byte {
	dst = fmt.Appendf(dst, `{"line":%d,"code":`, r.Line)
	dst = eventclient.AppendString(dst, strings.ToValidUTF8(r.Code, "\uFFFD"))
	dst = append(dst, `,"detail":`...)
	dst = eventclient.AppendString(dst, strings.ToValidUTF8(r.Detail, "\uFFFD"))
	switch {
	case !utf8.Valid(original):
		dst = append(dst, `,"event_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, original)
		dst = append(dst, '"')
	case json.Valid(original):
		dst = append(dst, `,"event":`...)
		dst = append(dst, original...)
	default:
		dst = append(dst, `,"event":`...)
		dst = eventclient.AppendString(dst, original)
	}
	return append(dst, "}\n"...)
}

// rejectedLog collects the envelopes of a file's rejected lines in its state
// directory, in the order of the lines, until they are published beside the
// file.
type rejectedLog struct {
	file    *os.File // nil if there is nowhere to collect them
	w       *bufio.Writer
	bytes   int64 // written so far
	count   int64
	first   []Rejection // at most limit
	limit   int
	scratch []byte
	failure error // the first one; lines after it are only counted
}

// openRejectedLog opens the log at path with its first keep bytes, which hold
// count rejections.
func openRejectedLog(path string, keep, count int64, limit int) (*rejectedLog, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &rejectedLog{file: file, w: bufio.NewWriterSize(file, 64<<10), bytes: keep, count: count, limit: limit}
	if err := l.rewind(keep, count); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

// rewind cuts the log to what the progress file vouches for and reads the
// first rejections back for the listing.
func (l *rejectedLog) rewind(keep, count int64) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < keep {
		return fmt.Errorf("rejected lines of the run before: %d bytes are left of %d", info.Size(), keep)
	}
	if err := l.file.Truncate(keep); err != nil {
		return err
	}
	lines := bufio.NewReader(l.file)
	for range min(count, int64(l.limit)) {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("rejected lines of the run before: %w", err)
		}
		var rejection Rejection
		if err := json.Unmarshal(line, &rejection); err != nil {
			return fmt.Errorf("rejected lines of the run before: %w", err)
		}
		l.first = append(l.first, rejection)
	}
	_, err = l.file.Seek(keep, io.SeekStart)
	return err
}

func (l *rejectedLog) add(r Rejection, original []byte) {
	l.count++
	if len(l.first) < l.limit {
		l.first = append(l.first, r)
	}
	if l.failure != nil || l.file == nil {
		return
	}
	l.scratch = appendEnvelope(l.scratch[:0], r, original)
	n, err := l.w.Write(l.scratch)
	l.bytes += int64(n)
	l.fail(err)
}

func (l *rejectedLog) flush() {
	if l.file != nil && l.failure == nil {
		l.fail(l.w.Flush())
	}
}

func (l *rejectedLog) fail(err error) {
	if l.failure == nil {
		l.failure = err
	}
}

// publish writes the log to path, whole or not at all.
func (l *rejectedLog) publish(path string) error {
	l.flush()
	if l.failure != nil {
		return l.failure
	}
	if l.file == nil {
		return errors.New("there was nowhere to collect them")
	}
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return writeWhole(path, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, io.LimitReader(l.file, l.bytes))
		return err
	})
}

// close ends the log and, unless it is still needed, removes it.
func (l *rejectedLog) close(keep bool) error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	if keep {
		return err
	}
	return errors.Join(err, os.Remove(l.file.Name()))
}

// keptAt is where the rejections are collected, "" if they are not, or not
// all.
func (l *rejectedLog) keptAt() string {
	if l.file == nil || l.failure != nil {
		return ""
	}
	return l.file.Name()
}

// writeWhole replaces the file at path by what write writes.
func writeWhole(path string, mode os.FileMode, write func(io.Writer) error) (err error) {
	temporary := path + ".part"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}()
	if err := write(file); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// printable makes text from elsewhere safe to show on a terminal.
func printable(text string) string {
	var out bytes.Buffer
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
