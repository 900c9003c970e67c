package engine

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// spillBytes is how much of a body is kept in memory before it goes to disk.
const spillBytes = 64 << 20

// copyBuffers hold what is under way between the socket and the body's file.
var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// bodyReader returns the request's body, decompressed and bounded.
func bodyReader(r *http.Request, nativeCompression bool, limit int64) (io.Reader, func(), error) {
	var body io.Reader = r.Body
	done := func() {}
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		gz, err := gzip.NewReader(body)
		if err != nil {
			return nil, nil, errDecompress(err)
		}
		body = gz
	case "deflate":
		z, err := zlib.NewReader(body)
		if err != nil {
			return nil, nil, errDecompress(err)
		}
		body = z
	case "br":
		body = brotli.NewReader(body)
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, errDecompress(err)
		}
		body, done = z, z.Close
	case "lz4":
		body = lz4.NewReader(body)
	default:
		return nil, nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "Unknown Content-Encoding %q", encoding)
	}
	if nativeCompression {
		body = &blockReader{compress.NewReader(body)}
	}
	return &boundedReader{from: body, left: limit, limit: limit}, done, nil
}

func errDecompress(err error) error {
	return exceptionf(codeCannotDecompress, "CANNOT_DECOMPRESS", "Request body: %v", err)
}

// blockReader reads ClickHouse's compressed blocks and ends between two of them.
// The decoder calls every end an error; only the one in front of a header, where
// nothing is missing, is the end of the data.
type blockReader struct{ from *compress.Reader }

func (b *blockReader) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if errors.Is(err, io.EOF) {
		if strings.HasSuffix(err.Error(), "header: EOF") {
			return n, io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// boundedReader fails, rather than ends, beyond its limit.
type boundedReader struct {
	from        io.Reader
	left, limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n, exceptionf(codeBodyTooLarge, "TOO_MANY_BYTES", "The request's body is larger than %d bytes", b.limit)
	}
	return n, err
}

// body is a request's data as a file that the engine can open by its path.
type body struct {
	file *os.File
	path string
	size int64
}

// spool stores everything from r: in memory while it is small, else in a file
// in dir that has no name (or loses it on close).
func spool(r io.Reader, dir string) (_ *body, err error) {
	b, err := newMemoryBody(dir)
	if err != nil {
		return nil, fmt.Errorf("keep request body: %w", err)
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)

	b.size, err = io.CopyBuffer(writerOnly{b.file}, io.LimitReader(r, spillBytes), *buffer)
	if err != nil {
		return nil, err
	}
	if b.size < spillBytes {
		return b, nil
	}
	memory := b
	if b, err = newDiskBody(dir); err != nil {
		memory.close()
		return nil, fmt.Errorf("keep request body: %w", err)
	}
	_, err = io.CopyBuffer(writerOnly{b.file}, io.NewSectionReader(memory.file, 0, spillBytes), *buffer)
	memory.close()
	if err != nil {
		return nil, err
	}
	rest, err := io.CopyBuffer(writerOnly{b.file}, r, *buffer)
	b.size = spillBytes + rest
	return b, err
}

// writerOnly hides ReadFrom, which would ignore the buffer.
type writerOnly struct{ io.Writer }
