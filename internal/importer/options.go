package importer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"agentmeter/internal/eventclient"
)

// Options says what to import to where.
type Options struct {
	// Endpoint is where to send to, asked again before each retry. Required.
	Endpoint eventclient.Endpoint
	// Target names the destination in progress files, so that a run that was
	// cut short is never continued towards another one. It must be stable while
	// the address of the same instance changes, and differ for an instance
	// whose data are others. By default it is the address.
	Target string
	// StateDir holds progress files; by default agentmeter/imports in the
	// user's cache directory.
	StateDir string
	// Restart ignores progress files.
	Restart bool

	// BatchEvents and BatchBytes bound a request; zero means the defaults.
	BatchEvents int
	BatchBytes  int
	// InFlight is how many requests are under way at once.
	InFlight int
	// RetryFor is how long a request is tried again before the import gives
	// up; zero means eventclient.DefaultRetryFor, negative not at all.
	RetryFor time.Duration
	// MinBackoff and MaxBackoff bound the waits in between.
	MinBackoff, MaxBackoff time.Duration
	// RequestTimeout bounds one attempt.
	RequestTimeout time.Duration
	// Compress says whether requests are compressed.
	Compress eventclient.Compress
	// Transport, where set, carries the requests.
	Transport http.RoundTripper

	// Progress says how progress is shown on Stderr.
	Progress ProgressMode
	// ListLimit is how many rejected lines of a file are listed on Stdout.
	ListLimit int

	Stdin          io.Reader
	Stdout, Stderr io.Writer

	saveInterval time.Duration // tests save more often
}

// The defaults.
const (
	DefaultBatchEvents = 5_000
	DefaultBatchBytes  = 8 << 20
	DefaultInFlight    = 2
	DefaultListLimit   = 100
)

// MaxEventBytes is the longest line that is sent.
const MaxEventBytes = 1 << 20

// Validate reports everything that is wrong with the options.
func (o Options) Validate() error {
	var faults []error
	if o.Endpoint == nil {
		faults = append(faults, errors.New("endpoint: is required"))
	}
	for _, bound := range []struct {
		name  string
		value int
	}{
		{"--batch-events", o.BatchEvents},
		{"batch bytes", o.BatchBytes},
		{"--in-flight", o.InFlight},
		{"list limit", o.ListLimit},
	} {
		if bound.value < 0 {
			faults = append(faults, fmt.Errorf("%s: %d is negative", bound.name, bound.value))
		}
	}
	if o.Progress > ProgressNone {
		faults = append(faults, errors.New("progress: not one of the choices"))
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	setDefault(&o.BatchEvents, DefaultBatchEvents)
	setDefault(&o.BatchBytes, DefaultBatchBytes)
	setDefault(&o.InFlight, DefaultInFlight)
	setDefault(&o.ListLimit, DefaultListLimit)
	if o.StateDir == "" {
		// Without a cache directory imports work but cannot be resumed.
		if cache, err := os.UserCacheDir(); err == nil {
			o.StateDir = filepath.Join(cache, "agentmeter", "imports")
		}
	}
	if o.saveInterval == 0 {
		o.saveInterval = saveInterval
	}
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	return o
}

func setDefault(value *int, usual int) {
	if *value == 0 {
		*value = usual
	}
}
