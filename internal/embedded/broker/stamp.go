package broker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Offsets in a record batch of format 2.
const (
	batchLength         = 8
	batchMagic          = 16
	batchCRC            = 17
	batchAttributes     = 21 // the checksum covers everything from here
	batchFirstTimestamp = 27
	batchMaxTimestamp   = 35
	batchNumRecords     = 57
	batchHeader         = 61

	attributeCodec      = 0x07
	attributeAppendTime = 0x08
)

// maxSpread is how far apart, in milliseconds, the times of a batch's records
// may be and still be kept: what a producer's linger comes to. The youngest
// record gets the time of the append.
const maxSpread = 1000

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamper puts the broker's time on batches. It is used by one goroutine at a
// time (the broker's).
type stamper struct {
	inflater inflater
	last     int64 // the clock never goes back
}

// stampResult says what had to be done to a batch.
type stampResult string

const (
	// stampLeft: not a sound batch; the broker refuses it with the right error.
	stampLeft stampResult = "left"
	// stampShifted: the records keep their distances, in the header alone.
	stampShifted stampResult = "shifted"
	// stampRewritten: the records got one time, uncompressed.
	stampRewritten stampResult = "rewritten"
)

// stamp returns the batch with the time of its append, which is now in
// milliseconds. The result may be batch itself, changed in place.
//
// It does not set the batch's append-time flag: kfake would then replace both
// timestamps without a new checksum.
func (s *stamper) stamp(batch []byte, now int64) ([]byte, stampResult) {
	if len(batch) < batchHeader || batch[batchMagic] != 2 ||
		int(binary.BigEndian.Uint32(batch[batchLength:])) != len(batch)-12 ||
		binary.BigEndian.Uint32(batch[batchCRC:]) != crc32.Checksum(batch[batchAttributes:], castagnoli) {
		return batch, stampLeft
	}
	now = max(now, s.last)
	s.last = now

	attributes := binary.BigEndian.Uint16(batch[batchAttributes:])
	count := int(int32(binary.BigEndian.Uint32(batch[batchNumRecords:])))
	records := batch[batchHeader:]
	records, err := s.inflater.inflate(records, kgo.CompressionCodecType(attributes&attributeCodec))
	if err != nil {
		// Nobody will be able to read it. Its times are the broker's all the same.
		return seal(batch, attributes, now, now), stampShifted
	}
	oldest, youngest, err := spread(records, count)
	switch {
	case err != nil:
		return seal(batch, attributes, now, now), stampShifted
	case attributes&attributeAppendTime == 0 && youngest-oldest <= maxSpread && youngest-oldest >= 0:
		return seal(batch, attributes, now-youngest, now), stampShifted
	}

	out := make([]byte, batchHeader, batchHeader+len(records)+count)
	copy(out, batch)
	out = appendWithoutDeltas(out, records, count)
	binary.BigEndian.PutUint32(out[batchLength:], uint32(len(out)-12))
	return seal(out, attributes&^attributeCodec, now, now), stampRewritten
}

// seal writes the header's times and the checksum.
func seal(batch []byte, attributes uint16, first, youngest int64) []byte {
	binary.BigEndian.PutUint16(batch[batchAttributes:], attributes&^attributeAppendTime)
	binary.BigEndian.PutUint64(batch[batchFirstTimestamp:], uint64(first))
	binary.BigEndian.PutUint64(batch[batchMaxTimestamp:], uint64(youngest))
	binary.BigEndian.PutUint32(batch[batchCRC:], crc32.Checksum(batch[batchAttributes:], castagnoli))
	return batch
}

var errRecords = errors.New("records end in the middle")

// record is one record: its bytes behind the length, and within them the place
// behind the timestamp.
type record struct {
	body  []byte
	delta int64
	rest  []byte
}

// cutRecord takes the first record off records.
func cutRecord(records []byte) (r record, left []byte, err error) {
	length, n := binary.Varint(records)
	if n <= 0 || length < 2 || length > int64(len(records)-n) {
		return r, nil, errRecords
	}
	r.body = records[n : n+int(length)]
	delta, m := binary.Varint(r.body[1:])
	if m <= 0 {
		return r, nil, errRecords
	}
	r.delta, r.rest = delta, r.body[1+m:]
	return r, records[n+int(length):], nil
}

// spread returns the least and the greatest distance from the batch's first timestamp.
func spread(records []byte, count int) (oldest, youngest int64, err error) {
	if count <= 0 {
		return 0, 0, errRecords
	}
	for i := range count {
		r, left, err := cutRecord(records)
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			oldest, youngest = r.delta, r.delta
		}
		oldest, youngest = min(oldest, r.delta), max(youngest, r.delta)
		records = left
	}
	return oldest, youngest, nil
}

// appendWithoutDeltas appends the records, which spread has looked at, with the
// batch's first timestamp as their own.
func appendWithoutDeltas(dst, records []byte, count int) []byte {
	for range count {
		r, left, err := cutRecord(records)
		if err != nil {
			return dst
		}
		dst = binary.AppendVarint(dst, int64(2+len(r.rest)))
		dst = append(dst, r.body[0], 0)
		dst = append(dst, r.rest...)
		records = left
	}
	return dst
}
