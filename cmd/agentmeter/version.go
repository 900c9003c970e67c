package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, version())
	return err
}

// release is set by the build, as in -ldflags "-X main.release=v1.2.3".
var release = "dev"

// version describes the build in one line.
func version() string {
	of := release
	if revision := revision(); revision != "" {
		of += " " + revision
	}
	return fmt.Sprintf("agentmeter %s %s %s/%s", of, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// revision is the commit that was built, or "" where the build does not know.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
				return setting.Value[:12]
			}
		}
	}
	return ""
}
