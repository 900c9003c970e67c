package simulate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

// random is SplitMix64. It is our own because its numbers must stay the same
// for ever: the demo's history is recognised as sent before by its ids.
type random uint64

// newRandom starts a stream of its own for each seed and list of words.
func newRandom(seed uint64, words ...string) random {
	h := sha256.New()
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], seed)
	h.Write(number[:])
	for _, word := range words {
		binary.LittleEndian.PutUint64(number[:], uint64(len(word)))
		h.Write(number[:])
		h.Write([]byte(word))
	}
	return random(binary.LittleEndian.Uint64(h.Sum(nil)))
}

func (r *random) next() uint64 {
	*r += golden
	return mix(uint64(*r))
}

// below returns a number in [0, n), and 0 for n ≤ 0. It is as even as 64 bits
// over n are.
func (r *random) below(n int64) int64 {
	if n <= 0 {
		return 0
	}
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int64(hi)
}

const golden = 0x9e3779b97f4a7c15

// mix is a bijection of 64 bits.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// appendUUID appends a version 8 UUID in which all of unique can be found
// again, so that different ones give different UUIDs; filler is the rest.
func appendUUID(dst []byte, unique, filler uint64) []byte {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[0:], unique)
	binary.BigEndian.PutUint64(raw[8:], filler)
	// The bits that version and variant displace move to the end.
	raw[14], raw[15] = raw[6], raw[7]
	raw[6] = 0x80 | raw[6]&0x0f
	raw[8] = 0x80 | raw[8]&0x3f
	var text [36]byte
	hex.Encode(text[0:8], raw[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], raw[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], raw[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], raw[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], raw[10:16])
	return append(dst, text[:]...)
}
