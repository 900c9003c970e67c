package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The address that events are sent to is one whose health can be asked.
func TestHealthAsksWhetherAProcessIsReadyUnlessItIsToldWhat(t *testing.T) {
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.Path }))
	defer server.Close()
	for path, want := range map[string]string{"": "/readyz", "/": "/readyz", "/healthz": "/healthz", "/behind/readyz": "/behind/readyz"} {
		t.Setenv("AGENTMETER_URL", server.URL+path)
		var out bytes.Buffer
		if code := run(t.Context(), []string{"health"}, nil, &out, &out); code != exitOK || asked != want {
			t.Errorf("%q: exit status %d; %q was asked, want %q: %s", path, code, asked, want, &out)
		}
	}
}
