package ingest

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// plainMembers begins the walk of what may be one JSON object as events are
// written: nothing nested, no escapes. The walk checks each byte that it passes.
// It ends at the first that does not belong to such an object and is broken
// then, whether the whole is well-formed or not: jsontext has to look at it,
// which takes several times as long, and what was read of it says nothing.
func plainMembers(b []byte) (walk object, ok bool) {
	if len(b) < 2 || b[0] != '{' || !utf8.Valid(b) {
		return object{}, false
	}
	return object{rest: b[1:], plain: true}, true
}

// nextPlain is next of such a walk.
func (o *object) nextPlain() (name string, value jsonValue, ok bool) {
	rest := skipSpace(o.rest)
	switch {
	case len(rest) == 0:
		return o.breaks()
	case rest[0] == '}':
		o.broken = len(rest) > 1
		return "", jsonValue{}, false
	case o.begun:
		if rest[0] != ',' {
			return o.breaks()
		}
		rest = skipSpace(rest[1:])
	}
	o.begun = true
	n := plainString(rest)
	if n == 0 {
		return o.breaks()
	}
	name, rest = unsafeString(rest[1:n-1]), skipSpace(rest[n:])
	if len(rest) == 0 || rest[0] != ':' {
		return o.breaks()
	}
	rest = skipSpace(rest[1:])
	if n = plainScalar(rest); n == 0 {
		return o.breaks()
	}
	o.rest = rest[n:]
	return name, jsonValue{raw: rest[:n]}, true
}

func (o *object) breaks() (string, jsonValue, bool) {
	o.broken = true
	return "", jsonValue{}, false
}

// plainScalar is the length of the string without escapes, the number, null,
// true or false that b begins with; 0 where it does not.
func plainScalar(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"':
		return plainString(b)
	case 'n':
		return wordLength(b, "null")
	case 't':
		return wordLength(b, "true")
	case 'f':
		return wordLength(b, "false")
	default:
		return numberLength(b)
	}
}

func wordLength(b []byte, word string) int {
	if len(b) < len(word) || string(b[:len(word)]) != word {
		return 0
	}
	return len(word)
}

// plainString is the length, quotes included, of the string that b begins with;
// 0 where it begins with none, or one with an escape or a control character.
func plainString(b []byte) int {
	const (
		each = 0x0101010101010101
		high = each * 0x80
	)
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	i := 1
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// The lowest high bit is that of the first byte that is a quote, a
		// backslash or less than a space: subtracting borrows from such a byte
		// only, so that what is wrong lies above it.
		quote, slash := x^each*'"', x^each*'\\'
		if stops := ((quote-each)&^quote | (slash-each)&^slash | (x-each*' ')&^x) & high; stops != 0 {
			i += bits.TrailingZeros64(stops) / 8
			break
		}
	}
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\', c < ' ':
			return 0
		}
	}
	return 0
}

// numberLength is the length of the JSON number that b begins with; 0 where it
// does not.
func numberLength(b []byte) int {
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	whole := digits(b[i:])
	if whole == 0 || b[i] == '0' && whole > 1 {
		return 0
	}
	i += whole
	if i < len(b) && b[i] == '.' {
		fraction := digits(b[i+1:])
		if fraction == 0 {
			return 0
		}
		i += 1 + fraction
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		exponent := digits(b[i:])
		if exponent == 0 {
			return 0
		}
		i += exponent
	}
	return i
}

// digits is how many digits b begins with.
func digits(b []byte) (n int) {
	for n < len(b) && isDigit(b[n]) {
		n++
	}
	return n
}
