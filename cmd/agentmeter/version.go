package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the build, as in -ldflags "-X main.release=v1.2.3".
var release = "dev"

// version describes the build in one line.
func version() string {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
				revision = " " + setting.Value[:12]
			}
		}
	}
	return fmt.Sprintf("agentmeter %s%s %s %s/%s", release, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
