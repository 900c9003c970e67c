package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"agentmeter/client"
)

// stand is the app over https, with an Agentmeter that says what one would.
type stand struct {
	app       *httptest.Server
	browser   *http.Client // follows nothing
	asked     []string     // workspaces that links were asked for
	refuseAll bool
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{}
	agentmeter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Workspace string `json:"workspace_id"`
		}
		if r.URL.Path != "/v1/sessions" || r.Header.Get("Authorization") != "Bearer platform-token" || json.NewDecoder(r.Body).Decode(&body) != nil {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		if s.refuseAll {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		s.asked = append(s.asked, body.Workspace)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"url":"https://usage.example.com/session/code-%d","expires_at":"2026-11-24T09:31:47Z"}`, len(s.asked))
	}))
	t.Cleanup(agentmeter.Close)
	c, err := client.New(agentmeter.URL, client.WithToken("platform-token"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s.app = httptest.NewTLSServer(newPlatform(c, "https://usage.example.com", time.Minute, map[string]string{"ada": "ws_a", "ben": "ws_b"}))
	t.Cleanup(s.app.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.browser = s.app.Client()
	s.browser.Jar = jar
	s.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

func (s *stand) do(t *testing.T, method, path, form string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.app.URL+path, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := s.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestTheFrameIsOfTheWorkspaceOfWhoeverIsSignedIn(t *testing.T) {
	s := newStand(t)
	for n, want := range []struct{ user, workspace string }{{"ada", "ws_a"}, {"ben", "ws_b"}} {
		if r, _ := s.do(t, "POST", "/sign-in", "user="+want.user); r.Header.Get("Location") != "/usage" {
			t.Fatalf("sign-in of %s: %s", want.user, r.Status)
		}
		// What the browser says about workspaces is nothing to go by.
		r, body := s.do(t, "GET", "/usage/frame?workspace=ws_other&workspace_id=ws_other", "")
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != fmt.Sprintf("https://usage.example.com/session/code-%d", n+1) {
			t.Errorf("the frame: %s %s", r.Status, r.Header.Get("Location"))
		}
		if r.Header.Get("Cache-Control") != "no-store" || strings.Contains(body, "platform-token") {
			t.Errorf("headers %v, body %s", r.Header, body)
		}
		if got := s.asked[len(s.asked)-1]; got != want.workspace {
			t.Errorf("%s got a link to %s", want.user, got)
		}
	}
	// Each look at the frame takes a link of its own.
	if r, _ := s.do(t, "GET", "/usage/frame", ""); r.Header.Get("Location") != "https://usage.example.com/session/code-3" {
		t.Errorf("again: %s", r.Header.Get("Location"))
	}
}

func TestThePageAroundTheFrameHoldsNoLinkAndNoToken(t *testing.T) {
	s := newStand(t)
	s.do(t, "POST", "/sign-in", "user=ada")
	r, body := s.do(t, "GET", "/usage", "")
	if !strings.Contains(body, `<iframe id="usage" src="/usage/frame" title="Usage" data-renew="60000"`) || strings.Contains(body, "token") || strings.Contains(body, "session/") {
		t.Error(body)
	}
	if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-src 'self' https://usage.example.com;") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("policy %q", policy)
	}
	if len(s.asked) != 0 {
		t.Errorf("links to %v were made for nobody", s.asked)
	}
}

func TestNobodyElseGetsALink(t *testing.T) {
	s := newStand(t)
	if r, _ := s.do(t, "GET", "/usage", ""); r.Header.Get("Location") != "/" {
		t.Errorf("the page: %s", r.Status)
	}
	if r, _ := s.do(t, "GET", "/usage/frame", ""); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("the frame: %s", r.Status)
	}
	if r, _ := s.do(t, "POST", "/sign-in", "user=eve"); r.StatusCode != http.StatusForbidden || len(r.Cookies()) != 0 {
		t.Errorf("a stranger: %s", r.Status)
	}
	r, _ := s.do(t, "POST", "/sign-in", "user=ada")
	if cookie := r.Cookies()[0]; !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %v would be sent from frames of other sites", cookie)
	}
	if len(s.asked) != 0 {
		t.Errorf("links to %v", s.asked)
	}
}

func TestWithoutAgentmeterTheFrameSaysSo(t *testing.T) {
	s := newStand(t)
	s.refuseAll = true
	s.do(t, "POST", "/sign-in", "user=ada")
	if r, body := s.do(t, "GET", "/usage/frame", ""); r.StatusCode != http.StatusBadGateway || !strings.Contains(body, "Reload the page") {
		t.Errorf("%s: %s", r.Status, body)
	}
}
