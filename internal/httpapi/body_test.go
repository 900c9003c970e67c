package httpapi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"agentmeter/internal/httpapi"
)

func TestJSONBodiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, mediaType, encoding, body string
		status                          int
		code                            string
	}{
		{"good", "application/json", "", `{"name":"x"}`, 0, ""},
		{"charset", "application/json; charset=UTF-8", "identity", `{"name":"x"}`, 0, ""},
		{"none", "application/json", "", ``, 400, "body_missing"},
		{"no media type", "", "", `{}`, 415, "media_type_missing"},
		{"broken media type", "application/json; =", "", `{}`, 415, "media_type_invalid"},
		{"other media type", "text/plain", "", `{}`, 415, "media_type_unsupported"},
		{"other charset", "application/json; charset=latin1", "", `{}`, 415, "charset_unsupported"},
		{"compressed", "application/json", "gzip", `{}`, 415, "encoding_unsupported"},
		{"broken", "application/json", "", `{"name":`, 400, "json_invalid"},
		{"two documents", "application/json", "", `{} {}`, 400, "json_invalid"},
		{"duplicate", "application/json", "", `{"name":"a","name":"b"}`, 400, "json_invalid"},
		{"unknown member", "application/json", "", `{"nam":"a"}`, 422, "fields_invalid"},
		{"wrong type", "application/json", "", `{"name":5}`, 422, "fields_invalid"},
		{"no object", "application/json", "", `[]`, 422, "fields_invalid"},
		{"null", "application/json", "", ` null `, 422, "fields_invalid"},
		{"too large", "application/json", "", `{"name":"` + strings.Repeat("x", 100) + `"}`, 413, "body_too_large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.router.HandleFunc("POST /v1/x", func(w http.ResponseWriter, r *http.Request) {
				var into struct {
					Name string `json:"name"`
				}
				if err := httpapi.ReadJSON(w, r, 64, &into); err != nil {
					httpapi.WriteError(w, r, err)
					return
				}
				if into.Name != "x" {
					t.Errorf("read %+v", into)
				}
			})
			r := httptest.NewRequest(http.MethodPost, "/v1/x", strings.NewReader(tt.body))
			if tt.mediaType != "" {
				r.Header.Set("Content-Type", tt.mediaType)
			}
			if tt.encoding != "" {
				r.Header.Set("Content-Encoding", tt.encoding)
			}
			w := httptest.NewRecorder()
			b.router.ServeHTTP(w, r)
			if tt.status == 0 {
				if w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
			if problem := problemIn(t, w); w.Code != tt.status || problem.Code != tt.code {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
		})
	}
}

func TestABodyThatBreaksOffIsTheCallersFault(t *testing.T) {
	t.Parallel()
	var problem *httpapi.Problem
	if !errors.As(httpapi.ReadError(errors.New("connection reset")), &problem) || problem.Status != 400 || problem.Code != "body_incomplete" {
		t.Errorf("%+v", problem)
	}
}
