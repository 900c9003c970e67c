package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"agentmeter/internal/slowtest"
)

// Whoever has a token, a session or a link that is good goes on while the key is
// rotated, between processes that share its file.
func TestTheKeyIsRotatedUnderTraffic(t *testing.T) {
	slowtest.Begin(t)
	dir := t.TempDir()
	_, kafka := startPrinted(t, "broker", "--data-dir", dir, "--kafka-listen", "127.0.0.1:0")
	_, clickhouse := startPrinted(t, "engine", "--data-dir", dir, "--clickhouse-listen", "127.0.0.1:0")
	mustAgentmeter(t, "migrate", "--kafka", kafka, "--clickhouse", clickhouse)
	key := filepath.Join(dir, "access.key")
	_, ingest := startStage(t, "ingest", "--kafka", kafka, "--token-key-file", key)
	query, base := startStage(t, "query", "--clickhouse", clickhouse, "--token-key-file", key)

	mint := func() string {
		return strings.TrimSpace(mustAgentmeter(t, "token", "--token-key-file", key, "--workspace", "ws_a", "--scope", "events:write,usage:read"))
	}
	// A link of one process's, redeemed at another, and a session of it.
	signIn := func() (*http.Client, error) {
		status, content := call(t, http.MethodPost, ingest+"/v1/sessions", mint(), strings.NewReader("{}"))
		if status != http.StatusCreated {
			return nil, fmt.Errorf("no link: %d %s", status, content)
		}
		_, rest, _ := strings.Cut(string(content), "/session/")
		code, _, _ := strings.Cut(rest, `"`)
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, err
		}
		browser := &http.Client{Jar: jar, Transport: &http.Transport{}}
		answer, err := browser.Get(base + "/session/" + code)
		if err != nil {
			return nil, err
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK { // of the page that it leads to
			return nil, fmt.Errorf("the link is answered %d", answer.StatusCode)
		}
		return browser, nil
	}

	old := mint()
	oldBrowser, err := signIn()
	if err != nil {
		t.Fatal(err)
	}
	var rotated atomic.Bool
	var sent, minted, read, signedIn atomic.Int64
	var traffic errgroup.Group
	during := func(counter *atomic.Int64, step func() error) {
		traffic.Go(func() error {
			for first := true; first || !rotated.Load(); first = false {
				if err := step(); err != nil {
					return err
				}
				counter.Add(1)
			}
			return nil
		})
	}
	send := func(token string) error {
		event := fmt.Sprintf(`{"id":"e%d","workspace_id":"ws_a","agent_id":"agt","occurred_at":%q,"channel":"embed","credits":"1"}`, time.Now().UnixNano(), nowText())
		return expectStatus(t, http.MethodPost, ingest+"/v1/events", token, strings.NewReader(event), http.StatusAccepted)
	}
	browse := func(browser *http.Client) error {
		answer, err := browser.Get(base + "/v1/workspaces/ws_a")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("a session is answered %d: %w", answer.StatusCode, err)
		}
		return nil
	}
	during(&sent, func() error { return send(old) })
	during(&minted, func() error { return send(mint()) })
	during(&read, func() error { return browse(oldBrowser) })
	during(&signedIn, func() error {
		browser, err := signIn()
		if err != nil {
			return err
		}
		defer browser.CloseIdleConnections()
		return browse(browser)
	})
	for n := range int64(4) {
		if n == 2 {
			mustAgentmeter(t, "rotate-key", "--token-key-file", key, "--prepare")
		}
		said := mustAgentmeter(t, "rotate-key", "--token-key-file", key, "--grace", "1h")
		if !strings.Contains(said, "A new key signs.") {
			t.Errorf("said %q", said)
		}
		query.waitFor("to be used after a rotation", countPatience, func() error {
			for _, counter := range []*atomic.Int64{&sent, &minted, &read, &signedIn} {
				if counter.Load() < 2*(n+1) {
					return notYetError{"traffic"}
				}
			}
			return nil
		})
	}
	rotated.Store(true)
	if err := traffic.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d sent, %d minted, %d read, %d signed in", sent.Load(), minted.Load(), read.Load(), signedIn.Load())

	// Without a grace time what the last key signed ends in running processes, too.
	last := mint()
	mustAgentmeter(t, "rotate-key", "--token-key-file", key, "--grace", "0s")
	query.waitFor("to refuse what has ended", startPatience, func() error {
		return expectStatus(t, http.MethodGet, base+"/v1/workspaces/ws_a", last, nil, http.StatusUnauthorized)
	})
	if err := send(mint()); err != nil {
		t.Error(err)
	}
	if err := send(old); err != nil {
		t.Errorf("a key within its grace time: %v", err)
	}
	oldBrowser.CloseIdleConnections()
}
