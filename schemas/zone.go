package schemas

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrZone means that a name is not one of the IANA time zone database.
var ErrZone = errors.New(`not an IANA time zone; write it like "Europe/Copenhagen"`)

// LoadZone returns the zone of that name in the IANA database. It refuses, with
// ErrZone, what the machine's zone directory would also give but what is no zone's
// name: its own local time, and the variants that count leap seconds.
func LoadZone(name string) (*time.Location, error) {
	switch {
	case name == "", name == "Local", name == "localtime", name == "posixrules",
		strings.HasPrefix(name, "right/"), strings.HasPrefix(name, "posix/"):
		return nil, ErrZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrZone, err)
	}
	return zone, nil
}
