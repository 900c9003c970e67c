// Command crash kills, stops and cuts off everything that counts, and proves
// that no credit was lost or doubled by it. Exit status: 0 nothing is wrong, 1
// something is, 2 the run could not be carried out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"agentmeter/internal/crash"
)

func main() {
	os.Exit(run())
}

func run() int {
	config := crash.DefaultConfig()
	flag.IntVar(&config.Kills, "kills", config.Kills, "kills of processes at least")
	flag.IntVar(&config.KillsEach, "kills-each", 0, "kills of the engine, and of rollups, at least")
	flag.IntVar(&config.VerdictEvery, "verdict-every", config.VerdictEvery, "compare everything after so many kills")
	flag.IntVar(&config.Rollups, "rollups", config.Rollups, "rollup processes")
	flag.StringVar(&config.Variant, "variant", "", "a weakened protocol, which should be caught")
	flag.StringVar(&config.Binary, "binary", "", "a build of agentmeter with -tags faults; empty: build one")
	flag.StringVar(&config.Dir, "dir", "", "directory for data and logs; empty: a temporary one, removed if nothing is wrong")
	seed := flag.Uint64("seed", 0, "decides about events and faults; 0: a new one")
	report := flag.String("report", "", "write the report there, as Markdown, and beside it as JSON")
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64() //nolint:gosec // a seed, not a secret
	}
	config.Seed = *seed

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	temporary := config.Dir == ""
	if temporary {
		dir, err := os.MkdirTemp("", "agentmeter-crash-")
		if err != nil {
			return fail(err)
		}
		config.Dir = dir
	} else if err := os.MkdirAll(config.Dir, 0o750); err != nil {
		return fail(err)
	}
	if config.Binary == "" {
		binary, err := crash.Build(ctx, config.Dir)
		if err != nil {
			return fail(err)
		}
		config.Binary = binary
	}
	fmt.Fprintf(os.Stderr, "crash: seed %d, data and logs in %s\n", config.Seed, config.Dir)
	result, err := crash.Run(ctx, config)
	if result != nil {
		err = errors.Join(err, write(*report, result))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "crash: seed %d, see %s\n", config.Seed, config.Dir)
		return fail(err)
	}
	if !result.Right() {
		last := result.Verdicts[len(result.Verdicts)-1]
		for _, note := range last.Notes {
			fmt.Println("wrong:", note)
		}
		fmt.Printf("\nWRONG: %s\nAgain: make crash KILLS=%d SEED=%d\nTo look at it: agentmeter audit --data-dir %s; logs in %s/logs\n",
			last, config.Kills, config.Seed, config.Dir, config.Dir)
		return 1
	}
	fmt.Printf("\nRight: %s\n", result.Verdicts[len(result.Verdicts)-1])
	if temporary {
		if err := os.RemoveAll(config.Dir); err != nil {
			return fail(err)
		}
	}
	return 0
}

// write prints the tables and leaves the report where it is wanted.
func write(name string, result *crash.Report) error {
	if err := result.WriteTable(os.Stdout); err != nil || name == "" {
		return err
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(result.WriteMarkdown(file), file.Close()); err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(name, filepath.Ext(name))+".json", append(encoded, '\n'), 0o600)
}
