//go:build !linux

package engine

import "os"

// Without /proc a body needs a name, which goes away with close.
func newMemoryBody(dir string) (*body, error) { return newDiskBody(dir) }

func newDiskBody(dir string) (*body, error) {
	file, err := os.CreateTemp(dir, "insert-*.tmp")
	if err != nil {
		return nil, err
	}
	return &body{file: file, path: file.Name()}, nil
}

func (b *body) close() {
	_ = b.file.Close()
	_ = os.Remove(b.file.Name())
}
