package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxBatchBytes bounds what a batch may decompress to. kgo's decompressor has
// no bound that fits: a megabyte of zstd could become two gigabytes.
const maxBatchBytes = 128 << 20

// keepBytes bounds the buffer that is kept for the next batch.
const keepBytes = 4 << 20

var errInflate = errors.New("batch does not decompress")

// inflater decompresses batches into one buffer: what inflate returned is valid
// until the next call.
type inflater struct {
	buf  []byte
	src  bytes.Reader
	gzip *gzip.Reader
	lz4  *lz4.Reader
	zstd *zstd.Decoder
}

func (i *inflater) inflate(src []byte, codec kgo.CompressionCodecType) (out []byte, err error) {
	if cap(i.buf) > keepBytes {
		i.buf = nil
	}
	switch codec {
	case kgo.CodecNone:
		return src, nil
	case kgo.CodecSnappy:
		out, err = i.snappy(src)
	case kgo.CodecGzip:
		if i.gzip == nil {
			i.gzip = new(gzip.Reader)
		}
		i.src.Reset(src)
		if err = i.gzip.Reset(&i.src); err == nil {
			out, err = i.readAll(i.gzip)
		}
	case kgo.CodecLz4:
		if i.lz4 == nil {
			i.lz4 = lz4.NewReader(nil)
		}
		i.src.Reset(src)
		i.lz4.Reset(&i.src)
		out, err = i.readAll(i.lz4)
	case kgo.CodecZstd:
		if i.zstd == nil {
			i.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(maxBatchBytes))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errInflate, err)
			}
		}
		out, err = i.zstd.DecodeAll(src, i.buf[:0])
	default:
		return nil, fmt.Errorf("%w: codec %d", errInflate, codec)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInflate, err)
	}
	i.buf = out
	return out, nil
}

// readAll reads a decompressor's output into the buffer.
func (i *inflater) readAll(from io.Reader) ([]byte, error) {
	out := bytes.NewBuffer(i.buf[:0])
	n, err := out.ReadFrom(io.LimitReader(from, maxBatchBytes+1))
	if err == nil && n > maxBatchBytes {
		err = errTooLarge
	}
	return out.Bytes(), err
}

var errTooLarge = fmt.Errorf("more than %d bytes", maxBatchBytes)

// snappy decodes a plain block, as librdkafka and franz-go write it, or the
// blocks within Java's framing.
func (i *inflater) snappy(src []byte) ([]byte, error) {
	const javaHeader = 16 // magic and two versions
	if !bytes.HasPrefix(src, []byte("\x82SNAPPY\x00")) || len(src) < javaHeader {
		return appendSnappy(i.buf[:0], src)
	}
	out := i.buf[:0]
	for src = src[javaHeader:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		size := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(size) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = appendSnappy(out, src[:size]); err != nil {
			return nil, err
		}
		src = src[size:]
	}
	return out, nil
}

// appendSnappy appends what a block decodes to. The block says how long that
// is, so the bound holds before anything is allocated.
func appendSnappy(dst, block []byte) ([]byte, error) {
	length, err := s2.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if length > maxBatchBytes-len(dst) {
		return nil, errTooLarge
	}
	at := len(dst)
	if cap(dst)-at < length {
		dst = append(make([]byte, 0, max(at+length, 2*cap(dst))), dst...)
	}
	if _, err := s2.Decode(dst[at:at+length], block); err != nil {
		return nil, err
	}
	return dst[:at+length], nil
}
