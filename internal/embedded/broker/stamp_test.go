package broker

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// batchOf makes a batch as a producer would.
func batchOf(first int64, deltas []int64, codec kgo.CompressionCodecType) []byte {
	var records []byte
	for i, delta := range deltas {
		r := kmsg.NewRecord()
		r.TimestampDelta64 = delta
		r.OffsetDelta = int32(i)
		r.Key = []byte("key")
		r.Value = []byte(strings.Repeat("v", i%7))
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	switch codec {
	case kgo.CodecSnappy:
		records = s2.EncodeSnappy(nil, records)
	case kgo.CodecZstd:
		e, err := zstd.NewWriter(nil)
		if err != nil {
			panic(err)
		}
		records = e.EncodeAll(records, nil)
	default: // as they are
	}
	youngest := first
	for _, delta := range deltas {
		youngest = max(youngest, first+delta)
	}
	b := kmsg.RecordBatch{
		Magic: 2, Attributes: int16(codec), LastOffsetDelta: int32(len(deltas) - 1),
		FirstTimestamp: first, MaxTimestamp: youngest,
		ProducerID: 7, ProducerEpoch: 1, FirstSequence: 3, NumRecords: int32(len(deltas)), Records: records,
	}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - 12)
	raw = b.AppendTo(raw[:0])
	b.CRC = int32(crc32.Checksum(raw[batchAttributes:], castagnoli))
	return b.AppendTo(raw[:0])
}

// read returns the batch and its records' times, as a consumer sees them.
func read(t interface{ Fatalf(string, ...any) }, raw []byte) (kmsg.RecordBatch, []kmsg.Record, []int64) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Fatalf("read batch: %v", err)
	}
	if int(b.Length) != len(raw)-12 {
		t.Fatalf("batch of %d bytes says %d", len(raw), b.Length)
	}
	if uint32(b.CRC) != crc32.Checksum(raw[batchAttributes:], castagnoli) {
		t.Fatalf("checksum is wrong")
	}
	var inflater inflater
	plain, err := inflater.inflate(b.Records, kgo.CompressionCodecType(b.Attributes&attributeCodec))
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	var records []kmsg.Record
	var times []int64
	for range b.NumRecords {
		length, n := binary.Varint(plain)
		var r kmsg.Record
		if n <= 0 || int(length) > len(plain)-n {
			t.Fatalf("records end in the middle")
		}
		if err := r.ReadFrom(plain[:n+int(length)]); err != nil {
			t.Fatalf("read record: %v", err)
		}
		plain = plain[n+int(length):]
		records = append(records, r)
		times = append(times, b.FirstTimestamp+r.TimestampDelta64)
	}
	return b, records, times
}

func TestNoRecordIsOlderThanASecondOrFromTheFuture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const now = 1_800_000_000_000
		codec := rapid.SampledFrom([]kgo.CompressionCodecType{kgo.CodecNone, kgo.CodecSnappy, kgo.CodecZstd}).Draw(t, "codec")
		near := rapid.Int64Range(-5, 500)
		far := rapid.Int64Range(-1e15, 1e15)
		deltas := rapid.SliceOfN(rapid.OneOf(near, near, near, far), 1, 20).Draw(t, "deltas")
		first := rapid.Int64Range(-1e15, 1e15).Draw(t, "first")
		raw := batchOf(first, deltas, codec)
		before, recordsBefore, _ := read(t, raw)

		var s stamper
		out, result := s.stamp(append([]byte(nil), raw...), now)
		if result == stampLeft {
			t.Fatalf("a sound batch was left alone")
		}
		after, records, times := read(t, out)
		for i, at := range times {
			if at > now || at < now-maxSpread {
				t.Fatalf("record %d is of %d, %d away from the append (%s)", i, at, at-now, result)
			}
		}
		if after.MaxTimestamp != now {
			t.Fatalf("the batch is of %d, want the append's %d", after.MaxTimestamp, now)
		}
		if after.Attributes&attributeAppendTime != 0 {
			t.Fatalf("the append-time flag is set: kfake would break the checksum")
		}
		if after.ProducerID != before.ProducerID || after.ProducerEpoch != before.ProducerEpoch ||
			after.FirstSequence != before.FirstSequence || after.LastOffsetDelta != before.LastOffsetDelta {
			t.Fatalf("the producer's state changed: %+v, was %+v", after, before)
		}
		for i, r := range records {
			if string(r.Key) != string(recordsBefore[i].Key) || string(r.Value) != string(recordsBefore[i].Value) || r.OffsetDelta != recordsBefore[i].OffsetDelta {
				t.Fatalf("record %d changed", i)
			}
		}
	})
}

func TestTheBrokersClockNeverGoesBack(t *testing.T) {
	var s stamper
	s.stamp(batchOf(5, []int64{0}, kgo.CodecNone), 2000)
	out, _ := s.stamp(batchOf(5, []int64{0}, kgo.CodecNone), 1500)
	if b, _, _ := read(t, out); b.MaxTimestamp != 2000 {
		t.Fatalf("after 2000 came %d", b.MaxTimestamp)
	}
}

// kfake would write its own times into such a batch and leave the checksum.
func TestAProducersAppendTimeFlagIsTakenOff(t *testing.T) {
	raw := batchOf(5, []int64{0, 1}, kgo.CodecNone)
	raw[batchAttributes+1] |= attributeAppendTime
	binary.BigEndian.PutUint32(raw[batchCRC:], crc32.Checksum(raw[batchAttributes:], castagnoli))
	var s stamper
	out, _ := s.stamp(raw, 1000)
	b, _, times := read(t, out)
	if b.Attributes&attributeAppendTime != 0 || times[0] != 1000 || times[1] != 1000 {
		t.Fatalf("attributes %#x, times %v", b.Attributes, times)
	}
}

func TestABombIsNotInflated(t *testing.T) {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := e.EncodeAll(make([]byte, maxBatchBytes+1), nil)
	var i inflater
	if out, err := i.inflate(bomb, kgo.CodecZstd); err == nil {
		t.Fatalf("%d bytes became %d", len(bomb), len(out))
	}
	claim := binary.AppendUvarint(nil, 1<<31)
	if _, err := i.inflate(append(claim, 0, 0, 0), kgo.CodecSnappy); err == nil {
		t.Fatal("a snappy block may claim two gigabytes")
	}
}

func FuzzStamp(f *testing.F) {
	f.Add(batchOf(1, []int64{0, 5, -7}, kgo.CodecNone), true)
	f.Add(batchOf(1, []int64{0, 1e12}, kgo.CodecSnappy), true)
	f.Add(batchOf(1, []int64{0, 1e12}, kgo.CodecZstd), true)
	f.Add([]byte("\x00\x01garbage"), false)
	f.Fuzz(func(t *testing.T, raw []byte, sound bool) {
		if sound && len(raw) >= batchHeader {
			// Past the checks of length and checksum, to where it hurts.
			binary.BigEndian.PutUint32(raw[batchLength:], uint32(len(raw)-12))
			raw[batchMagic] = 2
			binary.BigEndian.PutUint32(raw[batchCRC:], crc32.Checksum(raw[batchAttributes:], castagnoli))
		}
		var s stamper
		out, result := s.stamp(raw, 1_800_000_000_000)
		if result == stampLeft {
			return
		}
		if int(binary.BigEndian.Uint32(out[batchLength:])) != len(out)-12 {
			t.Fatal("length is wrong")
		}
		if binary.BigEndian.Uint32(out[batchCRC:]) != crc32.Checksum(out[batchAttributes:], castagnoli) {
			t.Fatal("checksum is wrong")
		}
	})
}

func BenchmarkStamp(b *testing.B) {
	deltas := make([]int64, 5000)
	for i := range deltas {
		deltas[i] = int64(i / 500)
	}
	for name, codec := range map[string]kgo.CompressionCodecType{"none": kgo.CodecNone, "snappy": kgo.CodecSnappy, "zstd": kgo.CodecZstd} {
		b.Run(name, func(b *testing.B) {
			raw := batchOf(1, deltas, codec)
			var s stamper
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				s.stamp(raw, 1_800_000_000_000)
			}
			b.ReportMetric(float64(b.N*len(deltas))/b.Elapsed().Seconds(), "records/s")
		})
	}
}
