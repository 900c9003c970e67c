// Command crash kills, stops and cuts off everything that counts, and proves
// that no credit was lost or doubled by it. Exit status: 0 nothing is wrong, 1
// something is, 2 the run could not be carried out.
package main

import (
	"context"
	"flag"
	"os"

	"agentmeter/internal/crash"
)

func main() {
	config := crash.DefaultConfig()
	flag.IntVar(&config.Kills, "kills", config.Kills, "kills of processes at least")
	flag.IntVar(&config.KillsEach, "kills-each", 0, "kills of the engine, and of rollups, at least")
	flag.IntVar(&config.VerdictEvery, "verdict-every", config.VerdictEvery, "compare everything after so many kills")
	flag.IntVar(&config.Rollups, "rollups", config.Rollups, "rollup processes")
	flag.StringVar(&config.Variant, "variant", "", "a weakened protocol, which should be caught")
	os.Exit(crash.Command("crash", func(ctx context.Context, setup crash.Setup) (*crash.Report, error) {
		config.Setup = setup
		return crash.Run(ctx, config)
	}))
}
