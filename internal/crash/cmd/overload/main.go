// Command overload brings more to a whole stack of processes than it can do, and
// compares what is counted with what was accepted. Exit status: 0 every goal is met,
// 1 one is not, 2 the run could not be carried out.
package main

import (
	"context"
	"flag"
	"os"

	"agentmeter/internal/crash"
)

func main() {
	config := crash.DefaultOverloadConfig()
	flag.DurationVar(&config.Overload, "overload", config.Overload, "how long each role is overloaded")
	flag.DurationVar(&config.Quiet, "quiet", config.Quiet, "how long each measurement to compare with lasts")
	flag.Float64Var(&config.Times, "times", config.Times, "how many times its capacity is brought")
	flag.IntVar(&config.Connections, "connections", config.Connections, "connections of the load; what is due while all are busy is not sent")
	flag.BoolVar(&config.JudgeTimes, "judge-times", config.JudgeTimes, "times that miss their goal are a failure, too; not on a machine that does other things")
	os.Exit(crash.Command("overload", func(ctx context.Context, setup crash.Setup) (*crash.OverloadReport, error) {
		config.Setup = setup
		return crash.Overload(ctx, config)
	}))
}
