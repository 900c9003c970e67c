package importer

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ErrMisuse is the root of errors that trying again will not mend: the command
// line, a file that is not what it should be, or a token or address that the
// server does not take.
var ErrMisuse = errors.New("misuse")

// misuseError shows only what is wrong; that it is misuse shows in the outcome.
type misuseError struct{ err error }

func (e *misuseError) Error() string   { return e.err.Error() }
func (e *misuseError) Unwrap() []error { return []error{ErrMisuse, e.err} }

func misuse(err error) error { return &misuseError{err} }

// Outcome is what came of an import as a whole.
type Outcome string

// The outcomes.
const (
	AllAccepted Outcome = "every event was accepted"
	NotAll      Outcome = "some events were rejected, or a file was not finished"
	// NothingDone means that no event got an answer: the command line or a file is not
	// what it should be, the server does not take the token, or it cannot be reached.
	NothingDone Outcome = "nothing could be done"
)

// Result says what became of the files that were begun.
type Result struct {
	Files []FileResult
	// Err is what Run returned.
	Err error
}

// Outcome sums the result up.
func (r Result) Outcome() Outcome {
	if r.Err != nil {
		answered := slices.ContainsFunc(r.Files, func(f FileResult) bool { return f.sentNow > 0 })
		if !answered && (errors.Is(r.Err, ErrMisuse) || serverFault(r.Err)) {
			return NothingDone
		}
		return NotAll
	}
	for _, file := range r.Files {
		if file.Rejected > 0 || !file.Finished {
			return NotAll
		}
	}
	return AllAccepted
}

// FileResult says what became of one file. The counts are about the whole
// file, what earlier runs had done included.
type FileResult struct {
	Name     string
	Accepted int64
	Rejected int64
	// First are the first rejected lines, at most Options.ListLimit.
	First []Rejection
	// RejectedFile holds all rejected lines; "" if there are none or it could
	// not be written, which RejectedErr says.
	RejectedFile string
	RejectedErr  error
	// Lines is up to where every line has its answer. ResumedAt is up to where
	// an earlier run had got.
	Lines     int64
	ResumedAt int64
	Elapsed   time.Duration
	Finished  bool

	sentNow int64 // lines answered in this run
}

// print writes the listing of rejected lines and the summary line.
func (f *FileResult) print(w io.Writer) error {
	var out []byte
	for _, r := range f.First {
		out = fmt.Appendf(out, "%s:%d: %s: %s", printable(f.Name), r.Line, printable(r.Code), printable(r.Detail))
		if r.ID != "" {
			out = fmt.Appendf(out, " (id %s)", printable(r.ID))
		}
		out = append(out, '\n')
	}
	if more := f.Rejected - int64(len(f.First)); more > 0 {
		out = fmt.Appendf(out, "%s: and %d more rejected lines, %d in all\n", printable(f.Name), more, f.Rejected)
	}
	if f.RejectedFile != "" {
		out = fmt.Appendf(out, "%s: the rejected lines are in %s\n", printable(f.Name), printable(f.RejectedFile))
	}
	out = fmt.Appendf(out, "%s: %d accepted, %d rejected in %s (%s events/s)", printable(f.Name), f.Accepted, f.Rejected, durationText(f.Elapsed), rate(f.sentNow, f.Elapsed))
	if f.ResumedAt > 0 {
		out = fmt.Appendf(out, ", resumed after line %d", f.ResumedAt)
	}
	if !f.Finished {
		out = fmt.Appendf(out, ", not finished: answered up to line %d", f.Lines)
	}
	_, err := w.Write(append(out, '\n'))
	return err
}
