package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// The engine's process is this program, run again with a hidden command that
// calls ServeChild. Between the two stand:
//
//   - descriptor 3: the listener. The parent holds it too, so that the address
//     outlives a crash and clients wait in the kernel's queue meanwhile.
//   - standard input: one line of JSON, a childOrder; then "stop", or the end.
//   - standard output: one line of JSON, a childReport.
//   - standard error: the log, a JSON object a line; anything else is a crash
//     talking.
const (
	childListener = 3
	stopOrder     = "stop"
)

// childOrder is what the parent tells the child to do.
type childOrder struct {
	Dir            string     `json:"dir"`
	Library        string     `json:"library"`
	ConfigFile     string     `json:"config_file,omitempty"`
	MemoryBytes    int64      `json:"memory_bytes"`
	MaxStatements  int        `json:"max_statements"`
	MaxWaiting     int        `json:"max_waiting"`
	MaxBodyBytes   int64      `json:"max_body_bytes"`
	MaxResultBytes int64      `json:"max_result_bytes"`
	LogLevel       slog.Level `json:"log_level"`
}

func (o childOrder) config(log *slog.Logger) Config {
	return Config{
		Dir: o.Dir, Library: o.Library, ConfigFile: o.ConfigFile, Logger: log, MemoryBytes: o.MemoryBytes,
		MaxStatements: o.MaxStatements, MaxWaiting: o.MaxWaiting,
		MaxBodyBytes: o.MaxBodyBytes, MaxResultBytes: o.MaxResultBytes,
	}
}

// childReport says that the engine answers, or why it never will.
type childReport struct {
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"`
	InUse   bool   `json:"in_use,omitempty"` // the error is ErrInUse
}

// ServeChild is the whole of the engine's process: the hidden command that
// [Supervise] runs calls it with the process's standard streams (the input is what
// [TakeStdin] gives) and exits when it returns. It serves until its parent says stop
// (then it drains and returns nil) or is gone (then it ends the process on the spot).
func ServeChild(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	// Ctrl-C reaches the whole process group; when to stop is the parent's decision.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)

	err := serveChild(ctx, bufio.NewReader(stdin), stdout, stderr)
	if err != nil {
		report := childReport{Error: err.Error(), InUse: errors.Is(err, ErrInUse)}
		_ = json.NewEncoder(stdout).Encode(report) // without a reader there is nobody to tell
	}
	return err
}

func serveChild(ctx context.Context, stdin *bufio.Reader, stdout, stderr io.Writer) (err error) {
	line, err := stdin.ReadString('\n')
	if err != nil {
		return fmt.Errorf("engine process: it is started by agentmeter run, not by hand: %w", err)
	}
	var order childOrder
	if err := json.Unmarshal([]byte(line), &order); err != nil {
		return fmt.Errorf("engine process: order: %w", err)
	}
	file := os.NewFile(childListener, "listener")
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("engine process: listener: %w", err)
	}
	_ = file.Close() // the listener has a descriptor of its own

	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: order.LogLevel}))
	e, err := Open(order.config(log))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, e.Close()) }()

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		for {
			order, err := stdin.ReadString('\n')
			if strings.TrimSpace(order) == stopOrder {
				stop(errors.New("the parent said stop"))
				return
			}
			if err != nil {
				// Nobody is left to serve, and a successor may be waiting for
				// the data directory. What is on disk is sound: a kill at this
				// moment must be, too.
				os.Exit(orphanStatus)
			}
		}
	}()
	if err := json.NewEncoder(stdout).Encode(childReport{Version: e.Version()}); err != nil {
		return fmt.Errorf("engine process: report: %w", err)
	}
	return e.Serve(ctx, listener)
}

// orphanStatus is the exit status of an engine whose parent is gone.
const orphanStatus = 3
