//go:build faults

package fault

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// ClockVariable names a file with the time that Now tells, in RFC 3339. While
// the file is empty, Now tells the machine's.
const ClockVariable = "AGENTMETER_CLOCK"

// Now is the time by which questions are answered and by which changes of the
// directory hold. Tests stop it and set it.
func Now() time.Time {
	name := os.Getenv(ClockVariable)
	if name == "" {
		return time.Now()
	}
	content, err := os.ReadFile(name)
	if err != nil {
		panic(fmt.Errorf("%s: %w", ClockVariable, err))
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return time.Now()
	}
	now, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(fmt.Errorf("%s: %w", ClockVariable, err))
	}
	return now
}
