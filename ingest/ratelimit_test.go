package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/kafka"
	"agentmeter/schemas"
)

// batchJSON is an array of as many events.
func batchJSON(workspace string, events int) []byte {
	items := make([]string, events)
	for i := range items {
		items[i] = eventJSON(map[string]any{"id": fmt.Sprintf("e-%d", i), "workspace_id": workspace})
	}
	return []byte("[" + strings.Join(items, ",") + "]")
}

func TestAKeyThatSendsTooMuchIsRefusedAndTheOthersAreNot(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.RateLimit, c.MaxEvents = 1, 50 })
	holder := func(workspace schemas.WorkspaceID, subject string) string {
		token, err := s.key.Mint(auth.Grant{Workspace: workspace, Subject: subject, Scopes: []auth.Scope{auth.EventsWrite, auth.DirectoryWrite}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	send := func(token, workspace string) *http.Response {
		return s.do(t, call{token: token, mediaType: "application/json", body: batchJSON(workspace, 50)}).Result()
	}
	began := time.Now()
	if answer := send(holder("ws_acme", "runtime"), "ws_acme"); answer.StatusCode != http.StatusAccepted || answer.Header.Get("RateLimit-Limit") != "1" {
		t.Fatalf("a whole request is refused at once: %d %v", answer.StatusCode, answer.Header)
	}
	// Fifty were taken of fifty: the next is let through when there is one again, which
	// may be so by now where this machine is slow; then another fifty are missing. A
	// renewed token is the same key.
	accepted := 1
	answer := send(holder("ws_acme", "runtime"), "ws_acme")
	if answer.StatusCode == http.StatusAccepted && time.Since(began) >= time.Second {
		accepted++
		answer = send(holder("ws_acme", "runtime"), "ws_acme")
	}
	if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" || answer.Header.Get("RateLimit-Remaining") != "0" {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
	s.ingest.limits.Owe("ws_acme\x00runtime", 3600, time.Now()) // none comes in from here on
	directory := s.do(t, call{route: "DELETE /v1/workspaces/ws_acme/agents/agt", token: holder("ws_acme", "runtime")})
	if problem := problemIn(t, directory); problem.Code != "rate_limited" {
		t.Errorf("the directory is open to a key that sent too much: %+v", problem)
	}
	for name, answer := range map[string]*http.Response{
		"another workspace's key": send(holder("ws_other", "runtime"), "ws_other"),
		"the workspace's other":   send(holder("ws_acme", "back office"), "ws_acme"),
	} {
		if answer.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
	if got := len(s.records(t, kafka.TopicEvents)); got != 50*(accepted+2) {
		t.Errorf("%d events in Kafka, want those of the %d requests that were accepted", got, accepted+2)
	}
	// What is refused for want of a token uses up nobody's.
	if w := s.do(t, call{token: "-", mediaType: "application/json", body: batchJSON("ws_acme", 1)}); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", w.Code)
	}
}

func TestAKeyMaySendAsMuchAsItCanUnlessItIsLimited(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for range 3 {
		answer := s.do(t, call{mediaType: "application/json", body: batchJSON("ws_acme", 5000)})
		if answer.Code != http.StatusAccepted || answer.Header().Get("RateLimit-Limit") != "" {
			t.Fatalf("%d %v", answer.Code, answer.Header())
		}
	}
}

func TestASteadyKeyGetsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := newRateLimits(Config{RateLimit: 1000, MaxEvents: 10_000})
		accepted := 0
		began := time.Now()
		for time.Since(began) < time.Minute { // batches of 500, as fast as they are let through
			if _, wait := limits.Take("key", time.Now()); wait > 0 {
				<-time.After(wait) // of the bubble's own clock
				continue
			}
			limits.Owe("key", 499, time.Now())
			accepted += 500
		}
		if accepted < 60_000+10_000 || accepted > 60_000+10_000+500 {
			t.Errorf("%d events in a minute at 1000 a second with a burst of 10000", accepted)
		}
	})
}
