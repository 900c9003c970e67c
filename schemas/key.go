package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Spread is over how many record keys, and so over at most how many
// partitions, one workspace's events are spread. It is part of the topic's
// meaning: changing it means a new topic.
const Spread = 4

// RecordKey is the Kafka key of an event's record: "workspace/n", n being
// murmur2(id) mod Spread. All copies of an id have the same key and so meet in
// one partition.
func RecordKey(workspace WorkspaceID, id string) []byte {
	return AppendRecordKey(make([]byte, 0, len(workspace)+2), workspace, id)
}

// AppendRecordKey appends RecordKey to dst.
func AppendRecordKey(dst []byte, workspace WorkspaceID, id string) []byte {
	dst = append(dst, workspace...)
	return appendSlot(dst, toPositive(murmur2(id))%Spread)
}

// appendSlot appends what follows the workspace in a key, a digit.
func appendSlot(dst []byte, slot int32) []byte { return append(dst, '/', byte('0'+slot)) }

// PartitionOf is the partition that Kafka's default partitioner gives a key
// in a topic of n partitions: murmur2(key), made positive, mod n.
func PartitionOf(key []byte, n int32) int32 {
	return toPositive(murmur2(key)) % n
}

// PartitionsOf lists the partitions, of n, that the records of a workspace's events
// go to, each once.
func PartitionsOf(workspace WorkspaceID, n int32) []int32 {
	if n < 1 {
		return nil
	}
	var own []int32
	key := append(make([]byte, 0, len(workspace)+2), workspace...)
	for slot := range int32(Spread) {
		if p := PartitionOf(appendSlot(key, slot), n); !slices.Contains(own, p) {
			own = append(own, p)
		}
	}
	return own
}

func toPositive(h uint32) int32 { return int32(h & 0x7fffffff) }

// murmur2 is the 32-bit MurmurHash2 with the seed that Kafka's clients use.
func murmur2[T string | []byte](data T) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	length := len(data)
	h := uint32(seed) ^ uint32(length)
	i := 0
	for ; i+4 <= length; i += 4 {
		k := uint32(data[i]) | uint32(data[i+1])<<8 | uint32(data[i+2])<<16 | uint32(data[i+3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	switch length - i {
	case 3:
		h ^= uint32(data[i+2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[i+1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[i])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// IDHash identifies an event for ever: the first 16 bytes of SHA-256 over the
// workspace, a zero byte and the id. It is cryptographic because a tenant must
// not be able to make another tenant's event look like a copy of its own.
type IDHash [16]byte

// IDKey is the first 48 bits of an IDHash, as a number: what the id look-up is
// ordered by. It finds where an event may stand, and is no event's own: among 40
// million ids some two pairs have the same.
type IDKey uint64

// IDKeyBits is how many bits an IDKey has.
const IDKeyBits = 48

// Key is the hash's IDKey.
func (h *IDHash) Key() IDKey { return IDKey(binary.BigEndian.Uint64(h[:8]) >> (64 - IDKeyBits)) }

// KeyRanges cuts all IDKeys into equal ranges, both ends included, so many that one
// has about most of so many ids: keys are uniform.
func KeyRanges(ids, most int64) iter.Seq2[int64, int64] {
	ranges := int64(1)
	for ids/ranges > most && ranges < 1<<32 {
		ranges *= 2
	}
	width := int64(1<<IDKeyBits) / ranges
	return func(yield func(from, through int64) bool) {
		for from := int64(0); from < 1<<IDKeyBits; from += width {
			if !yield(from, from+width-1) {
				return
			}
		}
	}
}

// HashID computes the IDHash of an event's id.
func HashID(workspace WorkspaceID, id string) IDHash {
	var stack [2*MaxIDRunes + 1]byte
	input := append(stack[:0], workspace...)
	input = append(input, 0)
	input = append(input, id...)
	sum := sha256.Sum256(input)
	return IDHash(sum[:16])
}

// PayloadHash tells copies of one id apart: two events with the same id and
// the same PayloadHash are the same event, re-sent. It covers workspace,
// agent, occurred_at, channel, credits, messages and whether it is an
// adjustment; conversation, model and reason are description, not payload. The
// credits of a Playground test are left out, since the ledger does not keep
// them.
func (e *Event) PayloadHash() uint64 {
	credits := e.Credits
	if e.Playground() {
		credits = 0
	}
	var stack [512]byte
	b := stack[:0]
	for _, text := range [...]string{string(e.Workspace), string(e.Agent), e.Channel} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(e.OccurredAt.UnixMicro()))
	b = binary.LittleEndian.AppendUint64(b, uint64(credits))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Messages))
	if e.Adjustment != nil {
		b = append(b, 1)
	}
	return xxhash.Sum64(b)
}
