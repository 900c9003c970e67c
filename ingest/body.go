package ingest

import (
	"bufio"
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
	// firstBodyBuffer is the most that a request has for what it only promises:
	// more is taken as it arrives.
	firstBodyBuffer = 512 << 10
	// maxZstdWindow is the window that every zstd decoder must support; larger
	// ones only let a small request ask for much memory.
	maxZstdWindow = 8 << 20
	// smallZstdWindow is enough for what is compressed as a whole, as batches are.
	smallZstdWindow = 1 << 20
	// What decompressors hold beside a window.
	gzipOverhead, zstdOverhead = 64 << 10, 256 << 10
)

// readers pools what reading a body needs.
type readers struct {
	buffers sync.Pool // *[]byte
	gzips   sync.Pool // *gzip.Reader
	zstds   sync.Pool // *zstd.Decoder of small windows
	wides   sync.Pool // *zstd.Decoder of any window that is taken
}

func errBodyTooLarge(limit int64) error {
	return httpapi.TooLarge("body_too_large", fmt.Sprintf("The body is larger than %d bytes after decompression; split the batch.", limit))
}

// readBody reads and decompresses a request's body, and stops at the limit:
// what a small body would grow to is never held in memory, and what decompressing
// takes counts like the body itself.
func (in *Ingest) readBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	limit := in.config.MaxBodyBytes
	if r.ContentLength > limit {
		return nil, errBodyTooLarge(limit)
	}
	raw := &rawBody{reader: http.MaxBytesReader(w, r.Body, limit)}
	working := in.holding(r.Context())
	defer working.release()
	plain, done, err := in.readers.decompress(r, raw, &working)
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
// the byte that says there is no more, where its length is known and not large.
func sizeHint(r *http.Request) int64 {
	hint := int64(unknownBodyBuffer)
	switch {
	case r.ContentLength < 0:
	case r.Header.Get("Content-Encoding") == "":
		hint = r.ContentLength + 1
	default:
		hint = usualCompression*r.ContentLength + minBodyBuffer
	}
	return min(hint, firstBodyBuffer)
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
		return httpapi.TooLarge("window_too_large", fmt.Sprintf("A zstd frame needs a window of more than %d bytes, or of more than %d where the first frame needs less; compress with a smaller one.", maxZstdWindow, smallZstdWindow))
	default:
		return &httpapi.Problem{
			Status: http.StatusBadRequest, Code: "encoding_invalid",
			Detail: "The body is not what its Content-Encoding says.", Cause: err,
		}
	}
}

// decompress wraps the raw body by the request's Content-Encoding, and takes what
// that needs of the budget. done gives the decompressor back.
func (rs *readers) decompress(r *http.Request, raw *rawBody, working *holding) (plain io.Reader, done func(), err error) {
	encodings := r.Header.Values("Content-Encoding")
	encoding := ""
	if len(encodings) == 1 {
		encoding = strings.ToLower(strings.TrimSpace(encodings[0]))
	}
	switch {
	case len(encodings) == 0, encoding == "identity":
		return raw, func() {}, nil
	case encoding == "gzip", encoding == "x-gzip":
		if err := working.take(gzipOverhead); err != nil {
			return nil, nil, err
		}
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
		frames := bufio.NewReaderSize(raw, zstdHeaderBuffer)
		window, pool := int64(smallZstdWindow), &rs.zstds
		if zstdWindow(frames) > smallZstdWindow {
			window, pool = maxZstdWindow, &rs.wides
		}
		if err := working.take(window + zstdOverhead); err != nil {
			return nil, nil, err
		}
		decoder, ok := pool.Get().(*zstd.Decoder)
		if !ok {
			// One at a time: no goroutines that would have to be ended.
			decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(window)))
			if err != nil {
				return nil, nil, fmt.Errorf("make zstd decoder: %w", err)
			}
		}
		giveBack := func() {
			_ = decoder.Reset(nil) // lets go of the body
			pool.Put(decoder)
		}
		if err := decoder.Reset(frames); err != nil {
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

// zstdHeaderBuffer holds the header of a frame.
const zstdHeaderBuffer = 64

// zstdWindow is the window that the first frame asks for; that of a later one may
// not be of a larger class. What is no frame is the decoder's to find out.
func zstdWindow(frames *bufio.Reader) uint64 {
	begin, _ := frames.Peek(zstd.HeaderMaxSize) // there may be less, or an error that reading meets again
	var header zstd.Header
	if err := header.Decode(begin); err != nil {
		return maxZstdWindow
	}
	if header.SingleSegment {
		return header.FrameContentSize
	}
	return header.WindowSize
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
