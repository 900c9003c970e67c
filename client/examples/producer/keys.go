package main

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// keyOf is the key of an event's record: by it, all copies of an id meet in one
// partition.
func keyOf(workspace, id string) []byte {
	return fmt.Appendf(nil, "%s/%d", workspace, positive(murmur2([]byte(id)))%4)
}

// partitionOf is the partition of a key: that of Kafka's default partitioner.
func partitionOf(key []byte, partitions int) int {
	return int(positive(murmur2(key))) % partitions
}

func positive(hash uint32) uint32 { return hash & 0x7fffffff }

// murmur2 is the hash of Kafka's own clients.
func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
	}
	if len(data) > 0 {
		var rest [4]byte
		copy(rest[:], data)
		h = (h ^ binary.LittleEndian.Uint32(rest[:])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// uuidOf is an id as 16 bytes, if it is a UUID in canonical lower-case text.
func uuidOf(id string) ([]byte, bool) {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.String() != id {
		return nil, false
	}
	return parsed[:], true
}
