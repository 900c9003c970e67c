//go:build !(cgo && (linux || darwin) && (amd64 || arm64))

package engine

import "errors"

// errNoCgo is what every use of the engine returns in a build that cannot load it.
var errNoCgo = errors.New("this build of agentmeter lacks the embedded mode, having no ClickHouse engine: " +
	"rebuild it with CGO_ENABLED=1 and a C compiler on linux or darwin (amd64, arm64), or use a ClickHouse server")

// buildable tells whether this build can load the engine at all.
func buildable() error { return errNoCgo }

func loadLibrary(string) error { return errNoCgo }

type session struct {
	mark string
}

func openSession([]string) (*session, error) { return nil, errNoCgo }

func (s *session) close() {}

func (s *session) query([]byte, string, []param) *result { return &result{err: errNoCgo} }

func (s *session) stream([]byte, string, []param) *stream { return &stream{} }

type result struct {
	data  []byte
	err   error
	facts facts
}

func (r *result) release() {}

type stream struct{}

func (s *stream) err() error { return errNoCgo }

func (s *stream) next() *result { return &result{err: errNoCgo} }

func (s *stream) cancel() {}

func (s *stream) release() {}
