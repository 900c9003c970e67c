package ingest

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// Two steps decode JSON: jsontext checks that the bytes are well-formed (UTF-8
// and nesting included), and then a walk over the members reads them. Lines that
// hold an event as most are written need the walk alone, which then checks what
// it passes; see plainMembers. Duplicate members are the walk's to find, so that
// in a list they cost one event and not the whole.
var wellFormed = jsontext.AllowDuplicateNames(true)

// decodeJSON reads one event or an array of events.
func decodeJSON(body []byte, b *batch) error {
	values := jsontext.NewDecoder(bytes.NewBuffer(body), wellFormed)
	switch values.PeekKind() {
	case jsontext.KindBeginObject:
		b.single = true
		return onlyValue(values, func(value []byte) error { return b.jsonEvent(value) })
	case jsontext.KindBeginArray:
		return eachValue(values, b.jsonEvent)
	default:
		return notThis(values, "an event or an array of events")
	}
}

// decodeNDJSON reads one event a line. A broken line is a rejected item.
func decodeNDJSON(body []byte, b *batch) error {
	var buffer bytes.Buffer
	values := jsontext.NewDecoder(&buffer, wellFormed)
	for begin := 0; begin < len(body); {
		end := len(body)
		if n := bytes.IndexByte(body[begin:], '\n'); n >= 0 {
			end = begin + n
		}
		line := skipSpace(bytes.TrimRight(body[begin:end], " \t\r"))
		begin = end + 1
		if len(line) == 0 {
			continue
		}
		if taken, err := b.plainEvent(line); taken || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		buffer = *bytes.NewBuffer(line)
		values.Reset(&buffer, wellFormed)
		value, err := values.ReadValue()
		if err == nil && len(value) < len(line) {
			err = errors.New("there is more after the event")
		}
		if err == nil {
			err = b.jsonEvent(value)
		} else {
			err = b.brokenLine(len(line), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// brokenLine takes a line that is no JSON value as an item.
func (b *batch) brokenLine(bytes int, cause error) error {
	if err := b.next(); err != nil {
		return err
	}
	if b.fits(bytes) {
		b.reject("", schemas.FieldError{Code: codeEventInvalid, Detail: "the line is not one well-formed JSON object: " + syntaxDetail(cause)})
	}
	return nil
}

// onlyValue reads the one value that a body is.
func onlyValue(values *jsontext.Decoder, read func([]byte) error) error {
	value, err := values.ReadValue()
	if err != nil {
		return httpapi.InvalidJSON(err)
	}
	if err := read(value); err != nil {
		return err
	}
	return atEnd(values)
}

// eachValue reads the elements of the array that a body is.
func eachValue(values *jsontext.Decoder, read func([]byte) error) error {
	if _, err := values.ReadToken(); err != nil {
		return httpapi.InvalidJSON(err)
	}
	for values.PeekKind() != jsontext.KindEndArray {
		value, err := values.ReadValue()
		if err != nil {
			return httpapi.InvalidJSON(err)
		}
		if err := read(value); err != nil {
			return err
		}
	}
	if _, err := values.ReadToken(); err != nil {
		return httpapi.InvalidJSON(err)
	}
	return atEnd(values)
}

func atEnd(values *jsontext.Decoder) error {
	switch _, err := values.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return httpapi.InvalidJSON(err)
	default:
		return httpapi.InvalidJSON(errors.New("there is more after the document"))
	}
}

// notThis is the answer to a body that is another kind of value, or none.
func notThis(values *jsontext.Decoder, want string) error {
	if _, err := values.ReadValue(); err != nil {
		return httpapi.InvalidJSON(err)
	}
	return httpapi.BadRequest("json_invalid", "The body is not "+want+".")
}

// syntaxDetail describes what jsontext found, in its place.
func syntaxDetail(err error) string {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return syntactic.Err.Error()
	}
	return err.Error()
}

// jsonEvent takes one well-formed value as an item.
func (b *batch) jsonEvent(value []byte) error {
	if err := b.next(); err != nil {
		return err
	}
	if !b.fits(len(value)) {
		return nil
	}
	if value[0] != '{' {
		b.reject("", errNotAnObject)
		return nil
	}
	b.event = schemas.Event{Messages: 1}
	walk := members(value)
	b.accept(&b.event, decodeEvent(&walk, &b.event))
	return nil
}

// plainEvent takes a line as an item where it is an object of plain members. It
// has taken nothing otherwise.
func (b *batch) plainEvent(line []byte) (taken bool, err error) {
	walk, ok := plainMembers(line)
	if !ok || len(line) > b.config.MaxEventBytes {
		return false, nil
	}
	b.event = schemas.Event{Messages: 1}
	faults := decodeEvent(&walk, &b.event)
	if walk.broken {
		return false, nil
	}
	if err := b.next(); err != nil {
		return false, err
	}
	b.accept(&b.event, faults)
	return true, nil
}

var errNotAnObject = schemas.FieldError{Code: codeEventInvalid, Detail: "is not a JSON object"}

// Members of events and adjustments.
const (
	memberID = 1 << iota
	memberWorkspace
	memberAgent
	memberConversation
	memberOccurredAt
	memberChannel
	memberModel
	memberCredits
	memberMessages
	memberReason
	memberEventID
)

// decodeEvent reads an object's members into e, which holds the defaults. An e
// with an Adjustment reads one. It returns what is wrong with single members;
// Validate knows the rest.
func decodeEvent(walk *object, e *schemas.Event) []schemas.FieldError {
	var f fields
	hasCredits := false
	for {
		name, value, ok := walk.next()
		if !ok {
			break
		}
		switch name {
		case "id":
			if f.once(name, memberID) {
				f.text(name, value, &e.ID)
			}
		case "workspace_id":
			if f.once(name, memberWorkspace) {
				f.text(name, value, (*string)(&e.Workspace))
			}
		case "agent_id":
			if f.once(name, memberAgent) {
				f.text(name, value, (*string)(&e.Agent))
			}
		case "occurred_at":
			if f.once(name, memberOccurredAt) {
				f.time(name, value, &e.OccurredAt)
			}
		case "credits":
			if f.once(name, memberCredits) {
				before := len(f.faults)
				e.Credits, ok = f.decimal(name, value, "is neither a decimal string nor a number", notDecimal)
				hasCredits = ok || len(f.faults) > before
			}
		case "messages":
			if f.once(name, memberMessages) {
				f.whole(name, value, &e.Messages)
			}
		default:
			f.particular(name, value, e)
		}
	}
	if !hasCredits {
		f.fault("credits", "credits_missing", `is required; a decimal string such as "1.5"`)
	}
	return f.faults
}

// particular reads the members that only events or only adjustments have.
func (f *fields) particular(name string, value jsonValue, e *schemas.Event) {
	var into *string
	var bit uint32
	switch adjustment := e.Adjustment; {
	case adjustment == nil && name == "channel":
		into, bit = &e.Channel, memberChannel
	case adjustment == nil && name == "model":
		into, bit = &e.Model, memberModel
	case adjustment == nil && name == "conversation_id":
		into, bit = &e.Conversation, memberConversation
	case adjustment != nil && name == "reason":
		into, bit = &adjustment.Reason, memberReason
	case adjustment != nil && name == "event_id":
		into, bit = &adjustment.EventID, memberEventID
	default:
		f.unknown(name)
		return
	}
	if f.once(name, bit) {
		f.text(name, value, into)
	}
}

// time reads an RFC 3339 time and cuts it to microseconds, which is what is
// stored: a sender that repeats itself repeats the same instant.
func (f *fields) time(name string, value jsonValue, into *time.Time) {
	switch {
	case value.isNull():
		return
	case !value.isString():
		f.fault(name, name+"_invalid", "is not a string")
		return
	}
	text := value.raw[1 : len(value.raw)-1]
	if value.escaped {
		text = []byte(value.text())
	}
	t, ok := parseTime(text)
	if !ok {
		f.fault(name, name+"_invalid", "is not an RFC 3339 time; write it like 2026-11-24T09:31:47.123456Z")
		return
	}
	*into = t
}

func parseTime(text []byte) (time.Time, bool) {
	var t time.Time
	if !looksRFC3339(text) || t.UnmarshalText(text) != nil {
		return time.Time{}, false
	}
	return t.UTC().Add(-time.Duration(t.Nanosecond() % int(time.Microsecond))), true
}

// looksRFC3339 checks the form: time.UnmarshalText also takes hours of one
// digit, commas before the fraction, and offsets of a hundred hours.
func looksRFC3339(text []byte) bool {
	const form = "0000-00-00T00:00:00"
	if len(text) <= len(form) || !matches(text[:len(form)], form) {
		return false
	}
	rest := text[len(form):]
	if rest[0] == '.' {
		digits := 1
		for digits < len(rest) && isDigit(rest[digits]) {
			digits++
		}
		if digits == 1 {
			return false
		}
		rest = rest[digits:]
	}
	switch {
	case len(rest) == 1:
		return rest[0] == 'Z'
	case len(rest) == len("+00:00") && (rest[0] == '+' || rest[0] == '-'):
		return matches(rest[1:], "00:00") && string(rest[1:3]) < "24" && rest[4] < '6'
	default:
		return false
	}
}

// matches compares text with a form of the same length, in which 0 is any
// digit.
func matches(text []byte, form string) bool {
	for i := range len(form) {
		if form[i] == '0' && !isDigit(text[i]) || form[i] != '0' && text[i] != form[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
