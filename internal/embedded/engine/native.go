package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The engine writes Native blocks of protocol revision 0. A client that asks
// for a newer one (client_protocol_version) gets the same columns with what the
// newer revision puts around them: a block's info, and for each column a byte
// that says "no custom serialization". The columns' own bytes stay as they are;
// finding where they end is what takes the knowledge of types below.

const (
	revisionBlockInfo           = 1     // any revision has it
	revisionCustomSerialization = 54454 // DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
)

const (
	// maxTypeDepth bounds the recursion over nested types.
	maxTypeDepth = 32
	// maxBlockRows is what clickhouse-go accepts, too.
	maxBlockRows = 1_000_000_000
)

var errTruncated = errors.New("native block ends in the middle")

// appendNative appends the blocks in src, of revision 0, to dst as blocks of the
// given revision.
func appendNative(dst, src []byte, revision int) ([]byte, error) {
	if revision < revisionBlockInfo {
		return append(dst, src...), nil
	}
	c := cursor{buf: src}
	for c.at < len(c.buf) {
		// Field 1: is_overflows = 0; field 2: bucket_num = -1; end of fields.
		dst = append(dst, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0)
		start := c.at
		columns := c.uvarint()
		rows := c.uvarint()
		if rows > maxBlockRows {
			c.fail(fmt.Errorf("native block claims %d rows", rows))
		}
		dst = append(dst, c.buf[start:c.at]...)
		for i := uint64(0); i < columns && c.err == nil; i++ {
			start = c.at
			c.bytes() // the name
			typeName := c.bytes()
			dst = append(dst, c.buf[start:c.at]...)
			if revision >= revisionCustomSerialization {
				dst = append(dst, 0)
			}
			if rows == 0 || c.err != nil {
				continue
			}
			t, err := parseType(string(typeName), 0)
			if err != nil {
				return nil, err
			}
			start = c.at
			t.skipPrefix(&c)
			t.skip(&c, rows)
			dst = append(dst, c.buf[start:c.at]...)
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	return dst, nil
}

// cursor reads src; the first error sticks and stops all movement.
type cursor struct {
	buf []byte
	at  int
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// move steps over n elements of size bytes.
func (c *cursor) move(n, size uint64) {
	left := uint64(len(c.buf) - c.at)
	if c.err != nil {
		return
	}
	if size > 0 && n > left/size {
		c.fail(errTruncated)
		return
	}
	c.at += int(n * size)
}

func (c *cursor) uvarint() uint64 {
	if c.err != nil {
		return 0
	}
	v, n := binary.Uvarint(c.buf[c.at:])
	if n <= 0 {
		c.fail(errTruncated)
		return 0
	}
	c.at += n
	return v
}

func (c *cursor) uint64() uint64 {
	start := c.at
	c.move(1, 8)
	if c.err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(c.buf[start:])
}

// bytes reads a length and as many bytes.
func (c *cursor) bytes() []byte {
	n := c.uvarint()
	start := c.at
	c.move(n, 1)
	if c.err != nil {
		return nil
	}
	return c.buf[start:c.at]
}

// nativeType knows how far a column of it reaches.
type nativeType interface {
	// skipPrefix steps over what stands before all the data of a column.
	skipPrefix(*cursor)
	// skip steps over rows values.
	skip(c *cursor, rows uint64)
}

type (
	fixedType  uint64 // bytes a value
	stringType struct{}
	// nullableType is a byte a value, then the values.
	nullableType struct{ of nativeType }
	// arrayType is the offsets, then the elements; a Map is an array of pairs.
	arrayType struct{ of nativeType }
	tupleType []nativeType
	// lowCardinalityType is a dictionary and indices into it.
	lowCardinalityType struct{ dictionary nativeType }
)

func (t fixedType) skipPrefix(*cursor)          {}
func (t fixedType) skip(c *cursor, rows uint64) { c.move(rows, uint64(t)) }

func (stringType) skipPrefix(*cursor) {}
func (stringType) skip(c *cursor, rows uint64) {
	for i := uint64(0); i < rows && c.err == nil; i++ {
		// Inlined uvarint of short strings: this loop is most of the work.
		if c.at < len(c.buf) && c.buf[c.at] < 0x80 {
			n := int(c.buf[c.at])
			if len(c.buf)-c.at-1 < n {
				c.fail(errTruncated)
				return
			}
			c.at += 1 + n
			continue
		}
		c.bytes()
	}
}

func (t nullableType) skipPrefix(c *cursor) { t.of.skipPrefix(c) }
func (t nullableType) skip(c *cursor, rows uint64) {
	c.move(rows, 1)
	t.of.skip(c, rows)
}

func (t arrayType) skipPrefix(c *cursor) { t.of.skipPrefix(c) }
func (t arrayType) skip(c *cursor, rows uint64) {
	if rows == 0 {
		return
	}
	c.move(rows-1, 8)
	elements := c.uint64() // the last offset is the number of elements
	if c.err == nil {
		t.of.skip(c, elements)
	}
}

func (t tupleType) skipPrefix(c *cursor) {
	for _, element := range t {
		element.skipPrefix(c)
	}
}

func (t tupleType) skip(c *cursor, rows uint64) {
	if len(t) == 0 {
		c.move(rows, 1) // an empty tuple is a byte a value
		return
	}
	for _, element := range t {
		if c.err != nil {
			return
		}
		element.skip(c, rows)
	}
}

func (t lowCardinalityType) skipPrefix(c *cursor) { c.move(1, 8) } // the version
func (t lowCardinalityType) skip(c *cursor, rows uint64) {
	if rows == 0 {
		return
	}
	const hasAdditionalKeys = 1 << 9
	flags := c.uint64()
	if c.err == nil && flags&hasAdditionalKeys == 0 {
		c.fail(fmt.Errorf("native LowCardinality column without its own keys (flags %#x)", flags))
	}
	keys := c.uint64()
	if c.err != nil {
		return
	}
	t.dictionary.skip(c, keys)
	if indices := c.uint64(); c.err == nil && indices != rows {
		c.fail(fmt.Errorf("native LowCardinality column with %d indices for %d rows", indices, rows))
	}
	size := uint64(1) << (flags & 0xff) // the low byte names UInt8 … UInt64
	if size > 8 {
		c.fail(fmt.Errorf("native LowCardinality column with index type %d", flags&0xff))
	}
	c.move(rows, size)
}

var fixedTypes = map[string]fixedType{
	"UInt8": 1, "UInt16": 2, "UInt32": 4, "UInt64": 8, "UInt128": 16, "UInt256": 32,
	"Int8": 1, "Int16": 2, "Int32": 4, "Int64": 8, "Int128": 16, "Int256": 32,
	"Float32": 4, "Float64": 8, "BFloat16": 2, "Bool": 1, "UUID": 16, "IPv4": 4, "IPv6": 16,
	"Date": 2, "Date32": 4, "DateTime": 4, "DateTime64": 8, "Time": 4, "Time64": 8,
	"Enum8": 1, "Enum16": 2, "Nothing": 1,
	"Decimal32": 4, "Decimal64": 8, "Decimal128": 16, "Decimal256": 32,
	"IntervalNanosecond": 8, "IntervalMicrosecond": 8, "IntervalMillisecond": 8, "IntervalSecond": 8,
	"IntervalMinute": 8, "IntervalHour": 8, "IntervalDay": 8, "IntervalWeek": 8, "IntervalMonth": 8,
	"IntervalQuarter": 8, "IntervalYear": 8,
}

// parseType reads a type's name as the engine writes it.
func parseType(name string, depth int) (nativeType, error) {
	if depth > maxTypeDepth {
		return nil, fmt.Errorf("native type is nested too deeply")
	}
	base, args, hasArgs := strings.Cut(name, "(")
	if hasArgs {
		if !strings.HasSuffix(args, ")") {
			return nil, fmt.Errorf("native type %q is malformed", name)
		}
		args = args[:len(args)-1]
	}
	switch base {
	case "String":
		return stringType{}, nil
	case "FixedString":
		n, err := strconv.ParseUint(args, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("native type %q: %w", name, err)
		}
		return fixedType(n), nil
	case "Decimal":
		precision, _, _ := strings.Cut(args, ",")
		n, err := strconv.Atoi(strings.TrimSpace(precision))
		switch {
		case err != nil:
			return nil, fmt.Errorf("native type %q: %w", name, err)
		case n <= 9:
			return fixedType(4), nil
		case n <= 18:
			return fixedType(8), nil
		case n <= 38:
			return fixedType(16), nil
		}
		return fixedType(32), nil
	case "Nullable":
		of, err := parseType(args, depth+1)
		return nullableType{of}, err
	case "Array":
		of, err := parseType(args, depth+1)
		return arrayType{of}, err
	case "Map":
		pair, err := parseTuple(args, depth)
		return arrayType{pair}, err
	case "Nested":
		fields, err := parseTuple(args, depth)
		return arrayType{fields}, err
	case "Tuple":
		return parseTuple(args, depth)
	case "LowCardinality":
		// The dictionary of a nullable one has its default in the place of NULL.
		if inner, ok := strings.CutPrefix(args, "Nullable("); ok {
			args = strings.TrimSuffix(inner, ")")
		}
		of, err := parseType(args, depth+1)
		return lowCardinalityType{of}, err
	case "SimpleAggregateFunction":
		parts := splitTypes(args)
		if len(parts) < 2 {
			return nil, fmt.Errorf("native type %q is malformed", name)
		}
		return parseType(parts[1], depth+1)
	case "Point":
		return tupleType{fixedType(8), fixedType(8)}, nil
	}
	if size, ok := fixedTypes[base]; ok {
		return size, nil
	}
	return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED",
		"The embedded engine's HTTP front can't send a column of type %s in Native format: cast it, or ask for another format", name)
}

// parseTuple reads the elements of a tuple, which may have names.
func parseTuple(args string, depth int) (tupleType, error) {
	var tuple tupleType
	for _, part := range splitTypes(args) {
		of, err := parseType(part, depth+1)
		if err != nil {
			if unnamed, ok := cutFieldName(part); ok {
				of, err = parseType(unnamed, depth+1)
			}
		}
		if err != nil {
			return nil, err
		}
		tuple = append(tuple, of)
	}
	return tuple, nil
}

// cutFieldName removes the name of a named tuple's element, quoted or not.
func cutFieldName(part string) (string, bool) {
	if strings.HasPrefix(part, "`") {
		l := lexer{text: []byte(part)}
		if t := l.next(); t.kind == tokenQuoted {
			return strings.TrimSpace(part[t.end:]), true
		}
		return "", false
	}
	_, rest, ok := strings.Cut(part, " ")
	return strings.TrimSpace(rest), ok
}

// splitTypes splits at the commas outside parentheses and quotes.
func splitTypes(args string) []string {
	var parts []string
	depth, start := 0, 0
	l := lexer{text: []byte(args)}
	for {
		t := l.next()
		switch {
		case t.kind == tokenEnd:
			if rest := strings.TrimSpace(args[start:]); rest != "" {
				parts = append(parts, rest)
			}
			return parts
		case t.kind == tokenInvalid:
			return append(parts, strings.TrimSpace(args[start:]))
		case l.is(t, "("):
			depth++
		case l.is(t, ")"):
			depth--
		case l.is(t, ",") && depth == 0:
			parts = append(parts, strings.TrimSpace(args[start:t.start]))
			start = t.end
		}
	}
}
