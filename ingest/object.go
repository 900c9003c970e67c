package ingest

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// object walks the members of one JSON object.
type object struct {
	rest []byte
	// plain: nothing has looked at the bytes before; see plainMembers.
	plain, begun, broken bool
}

// members begins the walk of an object whose bytes are well-formed, as jsontext
// has checked: the walk itself checks nothing and so costs little.
func members(value []byte) object { return object{rest: skipSpace(value)[1:]} }

// next returns the next member, its name without quotes and escapes.
func (o *object) next() (name string, value jsonValue, ok bool) {
	if o.plain {
		return o.nextPlain()
	}
	rest := skipSpace(o.rest)
	if rest[0] == ',' {
		rest = skipSpace(rest[1:])
	}
	if rest[0] == '}' {
		return "", jsonValue{}, false
	}
	end, escaped := stringEnd(rest)
	if name = unsafeString(rest[1 : end-1]); escaped {
		name = unquote(rest[:end])
	}
	rest = skipSpace(skipSpace(rest[end:])[1:]) // the colon
	value, o.rest = cutValue(rest)
	return name, value, true
}

// jsonValue is one well-formed JSON value as it was sent.
type jsonValue struct {
	raw     []byte
	escaped bool // it is a string with escapes
}

func (v jsonValue) isString() bool { return v.raw[0] == '"' }
func (v jsonValue) isNull() bool   { return v.raw[0] == 'n' }
func (v jsonValue) isObject() bool { return v.raw[0] == '{' }
func (v jsonValue) isNumber() bool { return v.raw[0] == '-' || ('0' <= v.raw[0] && v.raw[0] <= '9') }

// text is the content of a string. It shares the body's memory where there
// are no escapes.
func (v jsonValue) text() string {
	if v.escaped {
		return unquote(v.raw)
	}
	return unsafeString(v.raw[1 : len(v.raw)-1])
}

// number is a number's text.
func (v jsonValue) number() string { return unsafeString(v.raw) }

// unsafeString views bytes as a string without copying them. Bodies are not
// written to while their events are decoded, and everything that outlives the
// decoding is a copy.
func unsafeString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see above
}

func unquote(quoted []byte) string {
	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		// jsontext has accepted the same bytes before.
		return strings.ToValidUTF8(string(text), "\uFFFD")
	}
	return string(text)
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// stringEnd is the index after the closing quote of the string that b begins
// with.
func stringEnd(b []byte) (end int, escaped bool) {
	if n := plainString(b); n > 0 {
		return n, false
	}
	for i := 1; ; i++ {
		switch b[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i++
		}
	}
}

// cutValue splits the value that b begins with from what follows.
func cutValue(b []byte) (value jsonValue, rest []byte) {
	switch b[0] {
	case '"':
		end, escaped := stringEnd(b)
		return jsonValue{raw: b[:end], escaped: escaped}, b[end:]
	case '{', '[':
		end := nestedEnd(b)
		return jsonValue{raw: b[:end]}, b[end:]
	default:
		end := 1
		for end < len(b) && !endsScalar(b[end]) {
			end++
		}
		return jsonValue{raw: b[:end]}, b[end:]
	}
}

func endsScalar(c byte) bool {
	switch c {
	case ',', '}', ']', ' ', '\n', '\r', '\t':
		return true
	default:
		return false
	}
}

// nestedEnd is the index after the bracket that closes the one b begins with.
func nestedEnd(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			end, _ := stringEnd(b[i:])
			i += end - 1
		}
	}
}

// fields reads the members of one object into Go values and collects what is
// wrong with them. Its methods are for the arms of a switch over names.
type fields struct {
	faults []schemas.FieldError
	seen   uint32
}

// fault notes one. The name may be a view of the body, which does not live as
// long. An object of a hundred thousand members that do not belong into it is not
// answered with as many reasons.
func (f *fields) fault(field, code, detail string) {
	switch {
	case len(f.faults) >= httpapi.MaxFieldErrors:
		return
	case len(f.faults) == httpapi.MaxFieldErrors-1:
		field, code, detail = "", codeEventInvalid, "has more faults, which are not listed"
	}
	f.faults = append(f.faults, schemas.FieldError{Field: strings.Clone(field), Code: code, Detail: detail})
}

// once notes that a member has come, and reports false for the second time.
func (f *fields) once(name string, bit uint32) bool {
	if f.seen&bit != 0 {
		f.fault(name, codeFieldDuplicate, "is given more than once")
		return false
	}
	f.seen |= bit
	return true
}

// text reads a string; null is as good as absent.
func (f *fields) text(name string, value jsonValue, into *string) {
	switch {
	case value.isString():
		*into = value.text()
	case !value.isNull():
		f.fault(name, name+"_invalid", "is not a string")
	}
}

const notWhole = "is not a whole number; write it like 3"

var notDecimal = "is " + schemas.ErrCreditsSyntax.Error()

// whole reads a whole number, as a JSON number or in a string. It reports
// whether there was one.
func (f *fields) whole(name string, value jsonValue, into *int64) bool {
	amount, ok := f.decimal(name, value, notWhole, notWhole)
	if !ok {
		return false
	}
	if amount%schemas.MicroPerCredit != 0 {
		f.fault(name, name+"_invalid", notWhole)
		return false
	}
	*into = int64(amount / schemas.MicroPerCredit)
	return true
}

// decimal reads a decimal exactly, as a JSON number or in a string. It reports
// whether there was one. otherKind and otherForm say what is wrong with another
// kind of value, and with a text or number that does not read as a decimal.
func (f *fields) decimal(name string, value jsonValue, otherKind, otherForm string) (schemas.Credits, bool) {
	var amount schemas.Credits
	var err error
	switch {
	case value.isString():
		amount, err = schemas.ParseCredits(value.text())
	case value.isNumber():
		amount, err = schemas.ParseCreditsNumber(value.number())
	case value.isNull():
		return 0, false
	default:
		f.fault(name, name+"_invalid", otherKind)
		return 0, false
	}
	if err != nil {
		switch {
		case errors.Is(err, schemas.ErrCreditsPrecision):
			f.fault(name, name+"_precision", "is "+err.Error())
		case errors.Is(err, schemas.ErrCreditsRange):
			f.fault(name, name+"_out_of_range", "is "+err.Error())
		default:
			f.fault(name, name+"_invalid", otherForm)
		}
		return 0, false
	}
	return amount, true
}

// unknown notes a member that the object does not have.
func (f *fields) unknown(name string) {
	f.fault(presentable(name), codeFieldUnknown, "is not a member of this object")
}
