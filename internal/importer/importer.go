package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"agentmeter/internal/eventclient"
)

// saveInterval is how often progress is saved at most; a kill loses no more
// than that, and losing it only means sending some lines again.
const saveInterval = time.Second

// Run imports the files one after another and reports on opts.Stdout. It
// returns when all are done, or at the first fault that the next file would
// meet too. The error says what to do; the caller shows it and ends as
// Result.Outcome says.
func Run(ctx context.Context, opts Options, names ...string) (Result, error) {
	var result Result
	result.Err = run(ctx, opts, names, &result)
	return result, result.Err
}

func run(ctx context.Context, opts Options, names []string, result *Result) error {
	if err := opts.Validate(); err != nil {
		return misuse(err)
	}
	opts = opts.withDefaults()
	stdin, err := checkNames(ctx, opts, names)
	if err != nil {
		return misuse(err)
	}
	show := newDisplay(opts.Stderr, opts.Progress)
	client, err := eventclient.New(eventclient.Config{
		Endpoint: opts.Endpoint, RetryFor: opts.RetryFor, RequestTimeout: opts.RequestTimeout,
		MinBackoff: opts.MinBackoff, MaxBackoff: opts.MaxBackoff, OnRetry: show.retry,
		Compress: opts.Compress, UserAgent: "agentmeter-import", Transport: opts.Transport,
	})
	if err == nil {
		defer client.Close()
		err = client.Connect(ctx)
	}
	if err != nil {
		return misuse(err)
	}
	if opts.Target == "" {
		opts.Target = client.BaseURL()
	}
	var faults []error
	for i, name := range names {
		source := stdin
		if name != stdinName {
			if source, err = (sources{}).open(name); err != nil {
				return errors.Join(append(faults, misuse(err))...)
			}
		}
		file, fileErr := importFile(ctx, opts, client, show, source)
		fileErr = errors.Join(fileErr, source.close())
		if file != nil {
			result.Files = append(result.Files, *file)
			if err := file.print(opts.Stdout); err != nil {
				fileErr = errors.Join(fileErr, fmt.Errorf("write result: %w", err))
			}
		}
		if fileErr == nil {
			continue
		}
		faults = append(faults, fileErr)
		if ctx.Err() != nil || errors.Is(fileErr, ErrMisuse) || serverFault(fileErr) {
			if left := len(names) - i - 1; left > 0 {
				faults = append(faults, fmt.Errorf("%d of %d files not begun", left, len(names)))
			}
			break
		}
	}
	return errors.Join(faults...)
}

// checkNames looks at the beginning of every file, so that misuse is found
// before anything is sent. The standard input, which can be opened only once,
// is returned opened.
func checkNames(ctx context.Context, opts Options, names []string) (stdin *source, err error) {
	if len(names) == 0 {
		return nil, errors.New("name the files to import, or - for the standard input")
	}
	var faults []error
	for _, name := range names {
		if name == stdinName && stdin != nil {
			faults = append(faults, errors.New("-: the standard input can be imported only once"))
			continue
		}
		source, err := sources{ctx: ctx, stdin: opts.Stdin}.open(name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if name == stdinName {
			stdin = source
			continue
		}
		if err := source.close(); err != nil {
			faults = append(faults, err)
		}
	}
	return stdin, errors.Join(faults...)
}

// serverFault reports whether the next file would meet the same fault.
func serverFault(err error) bool {
	var refused *eventclient.RefusedError
	var gaveUp *eventclient.GaveUpError
	return errors.As(err, &refused) || errors.As(err, &gaveUp) || errors.Is(err, eventclient.ErrAnswer)
}

// fileImport is the import of one file.
type fileImport struct {
	opts   Options
	client *eventclient.Client
	show   *display
	source *source
	keep   *checkpoints // nil if progress cannot be kept

	point     checkpoint
	log       *rejectedLog
	savedAt   time.Time
	saveFails bool
	sentNow   int64 // lines answered in this run
}

func importFile(ctx context.Context, opts Options, client *eventclient.Client, show *display, source *source) (*FileResult, error) {
	f := &fileImport{opts: opts, client: client, show: show, source: source}
	began := time.Now()
	if err := f.prepare(); err != nil {
		return nil, err
	}
	result := &FileResult{Name: source.name, ResumedAt: f.point.Lines}
	show.begin(source.name, source.size)
	err := f.send(ctx)
	show.end()

	result.Finished = err == nil
	result.Lines, result.Accepted, result.Rejected = f.point.Lines, f.point.Accepted, f.point.Rejected
	result.First = slices.Clone(f.log.first)
	result.Elapsed = time.Since(began)
	result.sentNow = f.sentNow
	f.conclude(result)
	if err == nil && source.changed() {
		show.note("%s: the file changed while it was read; import it again to send what is new", source.name)
	}
	return result, f.explain(ctx, err)
}

// prepare finds out whether an earlier run is to be gone on with.
func (f *fileImport) prepare() error {
	f.point = checkpoint{Version: checkpointVersion, Path: f.source.path, Target: f.opts.Target, Fingerprint: f.source.print}
	f.log = &rejectedLog{limit: f.opts.ListLimit}
	if f.source.regular {
		keep, err := openCheckpoints(f.opts.StateDir, f.source.path, f.opts.Target)
		if errors.Is(err, errBusy) {
			return misuse(fmt.Errorf("%s: %w", f.source.name, err))
		}
		if err != nil {
			f.show.note("%s: progress cannot be kept (%v); if this run is cut short, the next one starts over", f.source.name, err)
		}
		f.keep = keep
	}
	found, reason, err := f.keep.load(f.point)
	switch {
	case err != nil:
		f.show.note("%s: starting over: %v", f.source.name, err)
	case reason != "":
		f.show.note("%s: starting over: %s", f.source.name, reason)
	case f.opts.Restart && found.Lines > 0:
		f.show.note("%s: starting over, as asked", f.source.name)
	case found.Lines > 0:
		if f.log, err = openRejectedLog(f.keep.rejected, found.RejectedBytes, found.Rejected, f.opts.ListLimit); err == nil {
			f.point = found
			f.show.note("%s: going on after line %d, where the run before stopped (%s accepted, %s rejected so far)",
				f.source.name, found.Lines, grouped(found.Accepted), grouped(found.Rejected))
			return nil
		}
		f.show.note("%s: starting over: %v", f.source.name, err)
	}
	f.openFreshLog()
	return nil
}

// openFreshLog collects rejected lines in the state directory or, without one,
// in a temporary file. Without either they are only listed, and conclude says
// so.
func (f *fileImport) openFreshLog() {
	var fault error
	if f.keep != nil {
		// An old note must not outlive the rejected lines that belong to it.
		fault = f.keep.forget()
		if fault == nil {
			if f.log, fault = openRejectedLog(f.keep.rejected, 0, 0, f.opts.ListLimit); fault == nil {
				return
			}
		}
		f.saveFails = true
	}
	f.log = &rejectedLog{limit: f.opts.ListLimit}
	temporary, err := os.CreateTemp("", "agentmeter-import-*.rejected.ndjson")
	if err != nil {
		f.log.failure = errors.Join(fault, err)
		return
	}
	log, err := openRejectedLog(temporary.Name(), 0, 0, f.opts.ListLimit)
	if err := errors.Join(err, temporary.Close()); err != nil {
		f.log.failure = errors.Join(fault, err)
		return
	}
	f.log = log
}

// batch is a run of lines on their way: those that are sent, and those that
// the importer rejects itself.
type batch struct {
	events eventclient.Batch
	lines  []int64 // of the events, by their index
	local  []localRejection
	size   int // of everything that it holds

	end  int64 // every line up to here is in this batch or one before
	read int64 // how much of the input had been read when it was closed

	done   chan struct{} // closed when answer and err are set
	answer eventclient.Answer
	err    error
}

type localRejection struct {
	Rejection
	original []byte
}

func (b *batch) count() int { return len(b.lines) + len(b.local) }

func (b *batch) reset() {
	b.events.Reset()
	b.lines, b.local, b.size = b.lines[:0], b.local[:0], 0
	b.answer, b.err = eventclient.Answer{}, nil
	b.done = make(chan struct{})
}

func (b *batch) reject(line int64, why fault, original []byte) {
	b.local = append(b.local, localRejection{
		Rejection: Rejection{Line: line, Code: why.code, Detail: why.detail},
		original:  slices.Clone(original),
	})
	b.size += len(original)
}

func (b *batch) add(line int64, event []byte) {
	b.events.AddLine(event)
	b.lines = append(b.lines, line)
	b.size += len(event) + 1
}

// send reads, posts and commits. At most InFlight batches are under way and as
// many wait for an earlier one's answer; the reader waits for them.
func (f *fileImport) send(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, f.opts.InFlight)
	ordered := make(chan *batch, f.opts.InFlight)
	free := make(chan *batch, 2*f.opts.InFlight+2)

	committed := make(chan error, 1)
	go func() {
		var failure error
		for b := range ordered {
			<-b.done
			if failure == nil {
				if failure = b.err; failure == nil {
					f.commit(b)
				} else {
					cancel(failure) // nothing behind it can be committed any more
				}
			}
			select {
			case free <- b:
			default:
			}
		}
		committed <- failure
	}()

	var posts sync.WaitGroup
	hand := func(b *batch) error {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		posts.Go(func() {
			defer func() { <-slots }()
			defer close(b.done)
			b.answer, b.err = f.client.Post(ctx, &b.events)
		})
		ordered <- b // the one who commits always takes it
		return nil
	}
	take := func() *batch {
		select {
		case b := <-free:
			b.reset()
			return b
		default:
			b := new(batch)
			b.reset()
			return b
		}
	}
	readErr := f.read(ctx, take, hand)
	close(ordered)
	commitErr := <-committed
	posts.Wait()
	f.save(true)
	if commitErr != nil {
		return commitErr
	}
	return readErr
}

// read cuts the input into batches. What it could read before an error is
// handed on.
func (f *fileImport) read(ctx context.Context, take func() *batch, hand func(*batch) error) error {
	resumeAfter := f.point.Lines
	b := take()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, err := f.source.records.next()
		if err != nil {
			if b.count() > 0 {
				b.read = f.source.read.n.Load()
				if err := hand(b); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if record.end <= resumeAfter || record.blank() {
			continue
		}
		f.put(b, &record)
		b.end = record.end
		if b.count() >= f.opts.BatchEvents || b.size >= f.opts.BatchBytes {
			b.read = f.source.read.n.Load()
			if err := hand(b); err != nil {
				return err
			}
			b = take()
		}
	}
}

func (f *fileImport) put(b *batch, record *record) {
	if record.tooLong {
		b.reject(record.line, fault{
			code: codeTooLarge,
			detail: fmt.Sprintf("is longer than %d bytes and was not sent; only its first %d are kept with this list",
				f.source.records.maxBytes, len(record.data)),
		}, record.data)
		return
	}
	event, original := trimJSONSpace(record.data), record.data
	var why *fault
	if f.source.csv != nil {
		event, why = f.source.csv.convert(original)
	} else if inside, ok := unwrapEnvelope(event); ok {
		original = inside
		event, why = oneLine(inside)
	}
	if why != nil {
		b.reject(record.line, *why, original)
		return
	}
	b.add(record.line, event)
}

// commit takes in the answer of the next batch in the file's order.
func (f *fileImport) commit(b *batch) {
	local := b.local
	for _, item := range b.answer.Rejected {
		line := b.lines[item.Index]
		for len(local) > 0 && local[0].Line < line {
			f.log.add(local[0].Rejection, local[0].original)
			local = local[1:]
		}
		rejection := Rejection{Line: line, Code: item.Code, Detail: item.Detail}
		if item.ID != nil {
			rejection.ID = *item.ID
		}
		f.log.add(rejection, b.events.Item(item.Index))
	}
	for _, rejection := range local {
		f.log.add(rejection.Rejection, rejection.original)
	}
	f.point.Lines = b.end
	f.point.Accepted += int64(b.answer.Accepted)
	f.point.Rejected += int64(len(b.answer.Rejected) + len(b.local))
	f.sentNow += int64(b.count())
	f.save(false)
	f.show.update(b.read, f.point.Accepted, f.point.Rejected, f.sentNow)
}

// save writes the progress file if it is time, or always where now is set.
func (f *fileImport) save(now bool) {
	if f.keep == nil || f.saveFails || (!now && time.Since(f.savedAt) < f.opts.saveInterval) {
		return
	}
	f.log.flush()
	if f.log.failure != nil {
		return // a checkpoint would vouch for rejected lines that are not kept
	}
	f.savedAt = time.Now()
	f.point.RejectedBytes = f.log.bytes
	if err := f.keep.save(f.point); err != nil {
		f.show.note("%s: progress cannot be kept (%v); if this run is cut short, the next one starts over", f.source.name, err)
		f.saveFails = true
	}
}

// resumable reports whether a later run can go on where this one ends.
func (f *fileImport) resumable() bool { return f.keep != nil && !f.saveFails && f.log.failure == nil }

// conclude publishes the rejected lines and clears away what is not needed
// any more.
func (f *fileImport) conclude(result *FileResult) {
	path := f.source.name + rejectedSuffix
	if result.Rejected > 0 {
		if err := f.log.publish(path); err != nil {
			result.RejectedErr = err
			f.show.note("%s: the rejected lines cannot be written to %s: %v", f.source.name, path, err)
			if kept := f.log.keptAt(); kept != "" {
				f.show.note("%s: they are in %s instead", f.source.name, kept)
			} else {
				f.show.note("%s: only those listed on the standard output are known; import the file again to see them", f.source.name)
			}
		} else {
			result.RejectedFile = path
		}
	} else if result.Finished {
		switch err := os.Remove(path); {
		case err == nil:
			f.show.note("%s: removed %s, which an earlier import had left", f.source.name, path)
		case !errors.Is(err, fs.ErrNotExist):
			f.show.note("%s: %s is of an earlier import and cannot be removed: %v", f.source.name, path, err)
		}
	}
	if result.Finished {
		if err := f.keep.forget(); err != nil {
			f.show.note("%s: %v", f.source.name, err)
		}
	}
	if err := f.log.close(result.RejectedErr != nil || (f.resumable() && !result.Finished)); err != nil {
		f.show.note("%s: %v", f.source.name, err)
	}
	if err := f.keep.close(); err != nil {
		f.show.note("%s: %v", f.source.name, err)
	}
}

// explain says what to do about the fault that ended a file.
func (f *fileImport) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	again := "run the same command again to go on from there"
	if !f.resumable() {
		again = "import it again: what is sent twice counts once"
	}
	place := fmt.Sprintf("%s: answered up to line %d", f.source.name, f.point.Lines)
	var refused *eventclient.RefusedError
	var gaveUp *eventclient.GaveUpError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s, then stopped: %w; %s", place, err, again)
	case errors.As(err, &gaveUp):
		return fmt.Errorf("%s, then %w; %s", place, err, again)
	case errors.As(err, &refused):
		switch refused.Status {
		case http.StatusUnauthorized:
			return misuse(fmt.Errorf("%w; the token is missing, wrong or has run out: make one with `agentmeter token` and the scopes events:write and, for old events, events:import", err))
		case http.StatusForbidden:
			return misuse(fmt.Errorf("%w; the token needs the scope events:write, and events:import for events older than the server's limit", err))
		case http.StatusNotFound, http.StatusMethodNotAllowed:
			return misuse(fmt.Errorf("%w; is this the address of Agentmeter's write side?", err))
		}
		if refused.Status < http.StatusBadRequest {
			return misuse(err)
		}
		return fmt.Errorf("%s, then %w", place, err)
	case errors.Is(err, errUnclosedQuote):
		return fmt.Errorf("%s: %w; nothing from there on can be told apart, so nothing of it was sent: correct the line and import the file again", f.source.name, err)
	case errors.Is(err, eventclient.ErrAnswer):
		return fmt.Errorf("%s, then: %w", place, err)
	default:
		return fmt.Errorf("%s, then the file could not be read on: %w", place, err)
	}
}

// trimJSONSpace removes what JSON allows around a value.
func trimJSONSpace(line []byte) []byte {
	isSpace := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
	for len(line) > 0 && isSpace(line[0]) {
		line = line[1:]
	}
	for len(line) > 0 && isSpace(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	return line
}
