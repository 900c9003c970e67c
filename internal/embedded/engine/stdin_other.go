//go:build !linux

package engine

import "os"

// takeStdin leaves it where it is: no library is known to be right here anyway.
func takeStdin() (*os.File, error) { return os.Stdin, nil }
