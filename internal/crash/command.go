package crash

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Setup is what every run needs.
type Setup struct {
	// Binary is a test build of agentmeter; see Build.
	Binary string
	// Dir is where data and logs go. It is made where it is missing.
	Dir string
	// Seed decides about load and faults.
	Seed uint64
}

func (s Setup) validate() error {
	var faults []error
	if s.Binary == "" {
		faults = append(faults, errors.New("crash: binary: a test build is required"))
	}
	if s.Dir == "" {
		faults = append(faults, errors.New("crash: dir: a directory is required"))
	}
	return errors.Join(faults...)
}

// prepare makes the directory and the test build where none are given. remove
// removes the directory if nobody has asked for it.
func (s *Setup) prepare(ctx context.Context) (remove func() error, err error) {
	remove = func() error { return nil }
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "agentmeter-crash-"); err != nil {
			return nil, fmt.Errorf("crash: %w", err)
		}
		remove = func() error { return os.RemoveAll(s.Dir) }
	} else if err := os.MkdirAll(s.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	if s.Binary == "" {
		s.Binary, err = Build(ctx, s.Dir)
	}
	return remove, err
}

// Result is what a run found.
type Result interface {
	comparable
	// Right reports whether everything is as it has to be.
	Right() bool
	// WriteTable writes what was found for a terminal.
	WriteTable(w io.Writer) error
}

// Command is a run as a program, with the flags that all of them have; the caller
// has defined the others. It returns the exit status: 0 nothing is wrong, 1
// something is, 2 the run could not be carried out.
func Command[R Result](name string, run func(ctx context.Context, setup Setup) (R, error)) int {
	var setup Setup
	flag.StringVar(&setup.Binary, "binary", "", "a build of agentmeter with -tags faults; empty: build one")
	flag.StringVar(&setup.Dir, "dir", "", "directory for data and logs; empty: a temporary one, removed if nothing is wrong")
	flag.Uint64Var(&setup.Seed, "seed", 0, "decides about load and faults; 0: a new one")
	report := flag.String("report", "", "write the report there: as JSON or, where there is one to read, as Markdown with JSON beside it")
	flag.Parse()
	if setup.Seed == 0 {
		setup.Seed = rand.Uint64() //nolint:gosec // a seed, not a secret
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail := func(err error) int {
		fmt.Fprintf(os.Stderr, "%s: seed %d, see %s: %v\n", name, setup.Seed, setup.Dir, err)
		return 2
	}
	remove, err := setup.prepare(ctx)
	if err != nil {
		return fail(err)
	}
	fmt.Fprintf(os.Stderr, "%s: seed %d, data and logs in %s\n", name, setup.Seed, setup.Dir)
	result, err := run(ctx, setup)
	var none R
	if result != none {
		err = errors.Join(err, result.WriteTable(os.Stdout), writeReport(*report, result))
	}
	switch {
	case err != nil:
		return fail(err)
	case !result.Right():
		fmt.Printf("\nWRONG.\nAgain: make %s SEED=%d, with the same settings\nTo look at it: agentmeter audit --data-dir %s; logs in %s/logs\n",
			name, setup.Seed, setup.Dir, setup.Dir)
		return 1
	}
	fmt.Println("\nRight.")
	if err := remove(); err != nil {
		return fail(err)
	}
	return 0
}

// writeReport leaves the report where it is wanted.
func writeReport[R Result](name string, result R) error {
	if name == "" {
		return nil
	}
	if document, ok := any(result).(interface{ WriteMarkdown(w io.Writer) error }); ok {
		file, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := errors.Join(document.WriteMarkdown(file), file.Close()); err != nil {
			return err
		}
		name = strings.TrimSuffix(name, filepath.Ext(name)) + ".json"
	}
	encoded, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(encoded, '\n'), 0o600)
}
