package ingest

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// plainObject walks text to its end and reports whether it was an object of
// plain members.
func plainObject(text []byte) bool {
	walk, ok := plainMembers(text)
	for ok {
		_, _, ok = walk.next()
		if !ok {
			return !walk.broken
		}
	}
	return false
}

func TestUsualEventsArePlainObjects(t *testing.T) {
	for _, e := range sampleEvents(50) {
		if text := jsonOf(e); !plainObject([]byte(text)) {
			t.Errorf("%s has to be looked at twice", text)
		}
	}
}

// FuzzPlainObject holds what is taken for a plain object to what jsontext takes
// for JSON.
func FuzzPlainObject(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	for _, seed := range []string{
		`{}`, `{ }`, `{} `, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a":1 "b":2}`, `{"a":1}}`, `{"a" : null , "b":true,"c":false}`,
		`{"a":nul}`, `{"a":true1}`, `{"a":[1]}`, `{"a":{}}`, `{"a":"\n"}`, `{"a":"\""}`, `{"a":"\\"}`, `{"a":"12345678"}`, `{"a":"1234567"}`,
		`{"a":0}`, `{"a":-0}`, `{"a":00}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.1}`, `{"a":1.5e+10}`, `{"a":1e}`, `{"a":1E-}`, `{"a":+1}`,
		"{\"a\":\"1234567\x00\"}", "{\"a\":\"\x1f2345678\"}", "{\"a\":\"123\xff5678\"}", "{\"a\":\"\u00e4\u6f22\U0001f600\"}", "{\"a\":\"\x7f\"}",
		"{\"a\":\"1234567", "{\"a\":\"12345678", "{\t\"a\"\r:\n1}", `{"a":"b","a":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !plainObject(text) {
			return
		}
		if !jsontext.Value(text).IsValid(wellFormed) {
			t.Fatalf("%q is taken for a JSON object", text)
		}
		plain, _ := plainMembers(text)
		walk := members(text)
		for {
			name, value, ok := plain.next()
			wantName, want, more := walk.next()
			if ok != more || name != wantName || !bytes.Equal(value.raw, want.raw) || value.escaped != want.escaped {
				t.Fatalf("%q: member %q of %q, want %q of %q", text, name, value.raw, wantName, want.raw)
			}
			if !ok {
				return
			}
		}
	})
}
