package importer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"agentmeter/internal/eventclient"
)

// ProgressMode says how progress is shown.
type ProgressMode uint8

// The modes. ProgressAuto is a bar on a terminal and plain lines elsewhere.
const (
	ProgressAuto ProgressMode = iota
	ProgressBar
	ProgressLines
	ProgressNone
)

const (
	lineInterval  = 5 * time.Second
	retryInterval = 10 * time.Second
)

// display shows people how far an import is. It writes to stderr only, and
// what it cannot write is not worth failing for.
type display struct {
	w    io.Writer
	mode ProgressMode

	mu          sync.Mutex // guards the fields below
	bar         *progressbar.ProgressBar
	name        string
	size        int64
	began       time.Time
	lastLine    time.Time
	lastRetry   time.Time
	retrying    bool
	description string
}

func newDisplay(w io.Writer, mode ProgressMode) *display {
	if mode == ProgressAuto {
		mode = ProgressLines
		if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			mode = ProgressBar
		}
	}
	return &display{w: w, mode: mode}
}

// begin starts showing one file.
func (d *display) begin(name string, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.name, d.size, d.began, d.lastLine, d.lastRetry, d.retrying = name, size, now, now, time.Time{}, false
	if d.mode != ProgressBar {
		return
	}
	d.bar = progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(d.w),
		progressbar.OptionSetDescription(filepath.Base(name)),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
	)
}

// update shows that the first read bytes of the file have their answers.
func (d *display) update(read, accepted, rejected, sent int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.retrying {
		d.retrying = false
		d.print("%s: the server answers again", d.name)
	}
	if d.bar != nil {
		description := fmt.Sprintf("%s: %s accepted, %s rejected", filepath.Base(d.name), grouped(accepted), grouped(rejected))
		if description != d.description {
			d.description = description
			d.bar.Describe(description)
		}
		_ = d.bar.Set64(read) // what it cannot draw is not worth failing for
		return
	}
	now := time.Now()
	if d.mode != ProgressLines || now.Sub(d.lastLine) < lineInterval {
		return
	}
	d.lastLine = now
	share := ""
	if d.size > 0 {
		share = fmt.Sprintf("%d %% of %s, ", read*100/d.size, bytesText(d.size))
	}
	d.print("%s: %s%s accepted, %s rejected, %s events/s", d.name, share, grouped(accepted), grouped(rejected), rate(sent, now.Sub(d.began)))
}

// retry tells that the server does not answer, not too often.
func (d *display) retry(r eventclient.Retry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !d.lastRetry.IsZero() && now.Sub(d.lastRetry) < retryInterval {
		return
	}
	d.lastRetry, d.retrying = now, true
	d.print("%s: %v; trying again for up to %s", d.name, r.Err, max(0, r.GiveUp.Sub(now)).Round(time.Second))
}

// note shows one line.
func (d *display) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.print(format, args...)
}

func (d *display) print(format string, args ...any) {
	if d.mode == ProgressNone {
		return
	}
	if d.bar != nil {
		_ = d.bar.Clear()
	}
	_, _ = fmt.Fprintln(d.w, printable(fmt.Sprintf(format, args...)))
}

// end stops showing the file.
func (d *display) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar != nil {
		_ = d.bar.Clear()
		_ = d.bar.Exit()
		d.bar = nil
	}
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func rate(events int64, in time.Duration) string {
	if in < time.Millisecond {
		in = time.Millisecond
	}
	return grouped(int64(float64(events) / in.Seconds()))
}

func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
}

func durationText(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
