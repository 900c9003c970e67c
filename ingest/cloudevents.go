package ingest

import (
	"bytes"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"agentmeter/schemas"
)

// CloudEvents 1.0 in JSON.

// decodeCloudEvent reads one envelope (structured mode).
func decodeCloudEvent(body []byte, b *batch) error {
	values := jsontext.NewDecoder(bytes.NewBuffer(body), wellFormed)
	if values.PeekKind() != jsontext.KindBeginObject {
		return notThis(values, "a CloudEvent")
	}
	b.single = true
	return onlyValue(values, b.cloudEvent)
}

// decodeCloudEvents reads an array of envelopes (batch mode).
func decodeCloudEvents(body []byte, b *batch) error {
	values := jsontext.NewDecoder(bytes.NewBuffer(body), wellFormed)
	if values.PeekKind() != jsontext.KindBeginArray {
		return notThis(values, "an array of CloudEvents")
	}
	return eachValue(values, b.cloudEvent)
}

// cloudEvent takes one envelope as an item.
func (b *batch) cloudEvent(value []byte) error {
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
	envelope, faults := decodeEnvelope(value)
	if faults != nil {
		b.reject(envelope.id, faults...)
		return nil
	}
	b.event = schemas.Event{Messages: 1}
	walk := members(envelope.data)
	faults = decodeEvent(&walk, &b.event)
	if b.event.ID == "" {
		b.event.ID = envelope.id
	}
	if b.event.Agent == "" {
		b.event.Agent = schemas.AgentID(envelope.source)
	}
	if b.event.OccurredAt.IsZero() {
		b.event.OccurredAt = envelope.time
	}
	b.accept(&b.event, faults)
	return nil
}

// envelope is what the event's metadata says.
type envelope struct {
	id     string
	source string
	time   time.Time
	data   []byte
}

// maxAttributes is how many members an envelope has at most.
const maxAttributes = 64

func decodeEnvelope(value []byte) (envelope, []schemas.FieldError) {
	var (
		f                                     fields
		e                                     envelope
		specVersion, kind, mediaType, ignored string
	)
	walk := members(value)
	names := make([]string, 0, maxAttributes)
	for {
		name, value, ok := walk.next()
		if !ok {
			break
		}
		// Those of extensions are anyone's.
		switch {
		case slices.Contains(names, name):
			f.fault(presentable(name), codeFieldDuplicate, "is given more than once")
			continue
		case len(names) == maxAttributes:
			f.fault("", codeCloudEvent, fmt.Sprintf("has more than %d attributes", maxAttributes))
			return e, f.faults
		}
		names = append(names, name)
		switch name {
		case "specversion":
			f.text(name, value, &specVersion)
		case "id":
			f.text(name, value, &e.id)
		case "source":
			f.text(name, value, &e.source)
		case "type":
			f.text(name, value, &kind)
		case "time":
			f.time(name, value, &e.time)
		case "datacontenttype":
			f.text(name, value, &mediaType)
		case "subject", "dataschema":
			f.text(name, value, &ignored)
		case "data":
			if value.isObject() {
				e.data = value.raw
			} else {
				f.fault(name, codeCloudEvent, "is not a JSON object")
			}
		case "data_base64":
			f.fault(name, codeCloudEvent, "is not taken; send the event as JSON in data")
		default:
			f.extension(name, value)
		}
	}
	for _, required := range [...]struct{ name, value string }{
		{"id", e.id}, {"source", e.source}, {"type", kind},
	} {
		if required.value == "" {
			f.fault(required.name, codeCloudEvent, "is required in a CloudEvent")
		}
	}
	if specVersion != "1.0" {
		f.fault("specversion", codeCloudEvent, `is not "1.0"`)
	}
	if e.data == nil {
		f.fault("data", codeCloudEvent, "is required; it holds the event")
	}
	if mediaType != "" && !isJSON(mediaType) {
		f.fault("datacontenttype", codeCloudEvent, "is not application/json")
	}
	return e, f.faults
}

// extension accepts and ignores an extension attribute, whose name and value
// the specification restricts: that finds a misspelt attribute.
func (f *fields) extension(name string, value jsonValue) {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			f.unknown(name)
			return
		}
	}
	if value.isObject() || value.raw[0] == '[' {
		f.fault(presentable(name), codeCloudEvent, "is an extension attribute and no simple value")
	}
}

func isJSON(mediaType string) bool {
	parsed, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (parsed == "application/json" || parsed == "text/json" || strings.HasSuffix(parsed, "+json"))
}
