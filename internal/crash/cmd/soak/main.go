// Command soak runs mixed load and random faults for a while, and requires that all
// is counted exactly and nothing grows. Exit status: 0 nothing is wrong, 1 something
// is, 2 the run could not be carried out.
package main

import (
	"context"
	"flag"
	"os"

	"agentmeter/internal/crash"
)

func main() {
	config := crash.DefaultSoakConfig()
	flag.DurationVar(&config.For, "for", config.For, "how long it lasts at least")
	os.Exit(crash.Command("soak", func(ctx context.Context, setup crash.Setup) (*crash.SoakReport, error) {
		config.Setup = setup
		return crash.Soak(ctx, config)
	}))
}
