//go:build !faults

package fault

import "time"

// Enabled says whether this build can strike at all.
const Enabled = false

// Point marks a step. It does nothing in this build.
func Point(string) {}

// Is reports whether the named weakened protocol is selected: never in this
// build.
func Is(string) bool { return false }

// Now is the machine's time in this build.
func Now() time.Time { return time.Now() }
