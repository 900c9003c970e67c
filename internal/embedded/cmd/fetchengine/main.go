// Command fetchengine brings the embedded ClickHouse engine's library into the
// user's cache. It is instantaneous when the library is there already.
//
//	go run ./internal/embedded/cmd/fetchengine [-link bin]
//
// The library's path is the only thing on stdout; progress goes to stderr. With
// -link the library also stands beside the executable in that directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"agentmeter/internal/embedded/chdb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fetchengine", flag.ContinueOnError)
	flags.SetOutput(stderr)
	link := flags.String("link", "", "directory of an executable that shall find the library beside it")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintln(stderr, "fetchengine takes no arguments")
		return 2
	}
	path, err := chdb.Fetch(ctx, stderr)
	if err == nil && *link != "" {
		path, err = chdb.Link(path, *link)
	}
	if err != nil {
		fmt.Fprintln(stderr, "fetchengine:", err)
		return 1
	}
	fmt.Fprintln(stdout, path)
	return 0
}
