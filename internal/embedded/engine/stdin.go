package engine

import (
	"fmt"
	"os"
)

// TakeStdin returns the process's standard input, and leaves /dev/null in its
// place. A process that opens an engine does so first.
//
// The library looks for more data at descriptor 0 with every INSERT: it makes the
// descriptor non-blocking, reads, and makes it blocking again. Where two do so at
// once, one may read after the other has made it blocking. From a pipe whose writer
// says nothing it never comes back then, with its query id held, whatever time limit
// it has; and what the writer does say may go to the library. There is nothing in
// /dev/null, which is told at once.
func TakeStdin() (*os.File, error) {
	stdin, err := takeStdin()
	if err != nil {
		return nil, fmt.Errorf("engine process: take standard input: %w", err)
	}
	return stdin, nil
}
