// Command agentmeter counts what AI agents spend: one binary, several roles.
//
// It is the only place that knows every package. Flags and environment become
// one configuration for each package, which the roles wire together: run puts
// all of them, with an embedded broker and engine, into one process tree;
// ingest, rollup and query are one stage each against real Kafka and
// ClickHouse.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	// Calendars are computed from IANA data that the binary brings along.
	_ "time/tzdata"

	"github.com/alecthomas/kong"

	"agentmeter/internal/clickhouse"
)

// Exit codes, of which the packages know nothing. A command that judges something
// ends with exitNo where the judgement went the other way. exitUnclear is that it
// could not tell, or began nothing, for misuse above all.
const (
	exitOK      = 0
	exitNo      = 1
	exitUnclear = 2
)

// exitError carries an exit code and, where there is one, the error to print.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// misuse is an error that the person at the command line can put right there.
func misuse(format string, args ...any) error {
	return &exitError{exitUnclear, fmt.Errorf(format, args...)}
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it parses args (flag beats environment beats
// default), runs the command and returns the exit code. The first SIGINT or
// SIGTERM asks the command to drain; a second one ends the process at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	ctx, stop := interruptible(ctx)
	defer stop()

	type exited int
	defer func() {
		if r := recover(); r != nil {
			status, ok := r.(exited)
			if !ok {
				panic(r)
			}
			code = int(status)
		}
	}()
	var commands cli
	streams := streams{stdin, stdout, stderr}
	parser, err := kong.New(&commands,
		kong.Name("agentmeter"),
		kong.Description("Counts what AI agents spend, each credit exactly once."),
		kong.DefaultEnvars("AGENTMETER"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(withDefault),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(exited(status)) }),
		kong.Vars{"version": version()},
	)
	if err != nil {
		fmt.Fprintln(stderr, "agentmeter:", err)
		return exitUnclear
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		var fault *kong.ParseError
		if errors.As(err, &fault) && fault.Context.Selected() != nil {
			defer fmt.Fprintf(stderr, "%s --help explains its flags.\n", fault.Context.Selected().FullPath())
			return refuse(stderr, fault.Context, err)
		}
		defer fmt.Fprintln(stderr, "agentmeter --help lists the commands; each takes --help.")
		return refuse(stderr, nil, err)
	}
	if err := refuseCredentials(parsed); err != nil {
		return refuse(stderr, parsed, err)
	}
	if command, ok := parsed.Selected().Target.Addr().Interface().(checker); ok {
		if err := command.check(); err != nil {
			return refuse(stderr, parsed, err)
		}
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(streams)
	err = parsed.Run()
	if code := clickhouse.ExceptionCode(err); code == clickhouse.CodeUnknownTable || code == clickhouse.CodeUnknownDatabase {
		defer fmt.Fprintln(stderr, "agentmeter: ClickHouse lacks tables of Agentmeter's: agentmeter migrate brings it to the current schema, or name another --clickhouse-database.")
	}
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(context.Cause(ctx), errInterrupted) && serves(parsed.Command()):
		// Asked to stop while it was still starting: what was cut short by that
		// is no failure.
		return exitOK
	case errors.As(err, &exit):
		switch {
		case exit.code == exitUnclear && exit.err != nil:
			return refuse(stderr, parsed, exit.err)
		case exit.err != nil:
			fmt.Fprintln(stderr, "agentmeter:", exit.err)
		}
		return exit.code
	default:
		fmt.Fprintln(stderr, "agentmeter:", err)
		return exitNo
	}
}

// refuseCredentials refuses addresses that carry a user or password: everybody on the
// machine sees a command line, and addresses are logged. It does not repeat them.
func refuseCredentials(parsed *kong.Context) error {
	for _, flag := range parsed.Flags() {
		var values []string
		switch value := flag.Target.Interface().(type) {
		case string:
			values = []string{value}
		case []string:
			values = value
		}
		for _, value := range values {
			if address, err := url.Parse(value); err == nil && address.User != nil ||
				err != nil && strings.Contains(value, "://") && strings.Contains(value, "@") {
				return fmt.Errorf("--%s: the address carries a user or password, which everybody on this machine can read; secrets are files, see --help", flag.Name)
			}
		}
	}
	return nil
}

// serves reports whether a command runs until it is told to stop.
func serves(command string) bool {
	switch command {
	case "run", "ingest", "rollup", "query", "broker", "engine":
		return true
	default:
		return false
	}
}

// streams are where a command reads from and writes to: results to out, logs
// and progress to err.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first SIGINT or SIGTERM ends. The
// second one is left to its default action, which ends the process.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(errInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
