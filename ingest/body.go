package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"agentmeter/internal/httpapi"
)

// body is a request's decompressed body and what it has of the budget.
type body struct {
	holding
	bytes []byte
	pool  *sync.Pool
}

// release gives the memory back. Nothing may refer to the bytes any more.
func (b *body) release() {
	if cap(b.bytes) <= maxPooledBytes {
		kept := b.bytes[:0]
		b.pool.Put(&kept)
	}
	b.bytes = nil
	b.holding.release()
}

const (
	unknownBodyBuffer = 64 << 10
	minBodyBuffer     = 1 << 10
	usualCompression  = 4
	maxPooledBytes    = 2 << 20
	// maxZstdWindow is the window that every zstd decoder must support; larger
	// ones only let a small request ask for much memory.
	maxZstdWindow = 8 << 20
)

// readers pools what reading a body needs.
type readers struct {
	buffers sync.Pool // *[]byte
	gzips   sync.Pool // *gzip.Reader
	zstds   sync.Pool // *zstd.Decoder
}

func errBodyTooLarge(limit int64) error {
	return httpapi.TooLarge("body_too_large", fmt.Sprintf("The body is larger than %d bytes after decompression; split the batch.", limit))
}

// readBody reads and decompresses a request's body, and stops at the limit:
// what a small body would grow to is never held in memory.
func (in *Ingest) readBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	limit := in.config.MaxBodyBytes
	if r.ContentLength > limit {
		return nil, errBodyTooLarge(limit)
	}
	raw := &rawBody{reader: http.MaxBytesReader(w, r.Body, limit)}
	plain, done, err := in.readers.decompress(r, raw)
	if err != nil {
		return nil, err
	}
	defer done()

	b := &body{holding: in.holding(r.Context()), pool: &in.readers.buffers}
	if kept, ok := in.readers.buffers.Get().(*[]byte); ok {
		b.bytes = *kept
	}
	if err := b.fill(plain, limit, sizeHint(r)); err != nil {
		b.release()
		if raw.err != nil {
			// The connection failed, not the compression.
			return nil, httpapi.ReadError(raw.err)
		}
		return nil, err
	}
	return b, nil
}

// sizeHint is how much of the body to make room for at first: all of it, and
// the byte that says there is no more, where its length is known.
func sizeHint(r *http.Request) int64 {
	switch {
	case r.ContentLength < 0:
		return unknownBodyBuffer
	case r.Header.Get("Content-Encoding") == "":
		return r.ContentLength + 1
	default:
		return usualCompression*r.ContentLength + minBodyBuffer
	}
}

// fill reads to the end. Reservation and buffer grow ahead of the data. One
// byte beyond the limit is read, to know that there is one.
func (b *body) fill(from io.Reader, limit, sizeHint int64) error {
	for {
		if int64(len(b.bytes)) == b.paid {
			if err := b.grow(limit, sizeHint); err != nil {
				return err
			}
		}
		n, err := from.Read(b.bytes[len(b.bytes):b.paid])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if int64(len(b.bytes)) > limit {
			return errBodyTooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return decompressError(limit, err)
		}
	}
}

// grow reserves and makes room for what the hint says, and then for twice as
// much each time.
func (b *body) grow(limit, sizeHint int64) error {
	want := min(max(2*b.paid, sizeHint), limit+1)
	if err := b.take(want - b.paid); err != nil {
		return err
	}
	if want > int64(cap(b.bytes)) {
		grown := make([]byte, len(b.bytes), want)
		copy(grown, b.bytes)
		b.bytes = grown
	}
	return nil
}

func decompressError(limit int64, err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return errBodyTooLarge(limit)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return httpapi.TooLarge("window_too_large", fmt.Sprintf("The zstd frame needs a window of more than %d bytes; compress with a smaller one.", maxZstdWindow))
	default:
		return &httpapi.Problem{
			Status: http.StatusBadRequest, Code: "encoding_invalid",
			Detail: "The body is not what its Content-Encoding says.", Cause: err,
		}
	}
}

// decompress wraps the raw body by the request's Content-Encoding. done gives
// the decompressor back.
func (rs *readers) decompress(r *http.Request, raw *rawBody) (plain io.Reader, done func(), err error) {
	encodings := r.Header.Values("Content-Encoding")
	encoding := ""
	if len(encodings) == 1 {
		encoding = strings.ToLower(strings.TrimSpace(encodings[0]))
	}
	switch {
	case len(encodings) == 0, encoding == "identity":
		return raw, func() {}, nil
	case encoding == "gzip", encoding == "x-gzip":
		reader, ok := rs.gzips.Get().(*gzip.Reader)
		if !ok {
			reader = new(gzip.Reader)
		}
		if err := reader.Reset(raw); err != nil {
			rs.gzips.Put(reader)
			if raw.err != nil {
				return nil, nil, httpapi.ReadError(raw.err)
			}
			return nil, nil, decompressError(0, err)
		}
		return reader, func() { rs.gzips.Put(reader) }, nil
	case encoding == "zstd":
		decoder, ok := rs.zstds.Get().(*zstd.Decoder)
		if !ok {
			// One at a time: no goroutines that would have to be ended.
			decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
			if err != nil {
				return nil, nil, fmt.Errorf("make zstd decoder: %w", err)
			}
		}
		giveBack := func() {
			_ = decoder.Reset(nil) // lets go of the body
			rs.zstds.Put(decoder)
		}
		if err := decoder.Reset(raw); err != nil {
			giveBack()
			return nil, nil, decompressError(0, err)
		}
		return decoder, giveBack, nil
	default:
		problem := httpapi.UnsupportedMediaType("encoding_unsupported", "The Content-Encoding is none of gzip and zstd, or there are several.")
		problem.Headers = map[string]string{"Accept-Encoding": "gzip, zstd"}
		return nil, nil, problem
	}
}

// rawBody remembers why reading the connection failed, which decompressors
// hide.
type rawBody struct {
	reader io.Reader
	err    error
}

func (b *rawBody) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
