package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentmeter/internal/certtest"
	"agentmeter/internal/slowtest"
)

// issued writes a certificate for this machine by an authority, under names that do
// not change, as renewals do.
func issued(t *testing.T, a *certtest.Authority, dir, name string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM, err := a.Issue(name, "127.0.0.1", "usage.example.com")
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, content := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(file+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// askTLS makes a request on a connection of its own and tells whose certificate it
// saw.
func askTLS(t *testing.T, trust *tls.Config, method, url, token string) (answer *http.Response, body, seen string, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trust.Clone(), DisableKeepAlives: true, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if answer, err = transport.RoundTrip(request); err != nil {
		return nil, "", "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if answer.TLS != nil {
		seen = answer.TLS.PeerCertificates[0].Subject.CommonName
	}
	return answer, string(content), seen, err
}

func expectTLS(t *testing.T, trust *tls.Config, url string, want int) error {
	answer, body, _, err := askTLS(t, trust, http.MethodGet, url, "")
	if err != nil {
		return err
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s: status %d, want %d: %.300s", url, answer.StatusCode, want, body)
	}
	return nil
}

func TestAnInstanceEncryptsAllThatItSpeaks(t *testing.T) {
	slowtest.Begin(t)
	authority, err := certtest.New("e2e authority")
	if err != nil {
		t.Fatal(err)
	}
	files, dir, metrics := t.TempDir(), t.TempDir(), freeAddress()
	cert, key := issued(t, authority, files, "first")
	trust := &tls.Config{RootCAs: authority.Pool()}
	i := &instance{dir: dir}
	i.process = start(t, "run", "--data-dir", dir, "--tls-cert", cert, "--tls-key", key, "--metrics-listen", metrics,
		"--http-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--clickhouse-listen", "127.0.0.1:0")
	i.waitFor("to be ready", startPatience, func() error {
		content, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(content, &i.endpoints); err != nil {
			return err
		}
		return expectTLS(t, trust, i.endpoints.HTTP+"/readyz", http.StatusOK)
	})
	base := i.endpoints.HTTP
	if !strings.HasPrefix(base, "https://") {
		t.Fatalf("endpoints.json says %s", base)
	}
	for _, url := range []string{base + "/healthz", "https://" + metrics + "/metrics", "https://" + metrics + "/readyz"} {
		if err := expectTLS(t, trust, url, http.StatusOK); err != nil {
			t.Error(err)
		}
		// Whoever does not speak TLS is told so, and nothing else.
		if status, body := call(t, http.MethodGet, strings.Replace(url, "https:", "http:", 1), "", nil); status != http.StatusBadRequest || !strings.Contains(string(body), "HTTPS") {
			t.Errorf("%s without TLS: %d %s", url, status, body)
		}
		if _, _, _, err := askTLS(t, &tls.Config{}, http.MethodGet, url, ""); err == nil {
			t.Errorf("%s: a certificate of nobody's is believed", url)
		}
	}

	// The commands beside it find and trust it by its data directory.
	mustAgentmeter(t, "import", "--data-dir", dir, traceFile)
	link := strings.TrimSpace(mustAgentmeter(t, "link", "--data-dir", dir, "--workspace", "ws_trace"))
	if !strings.HasPrefix(link, base+"/session/") {
		t.Errorf("link %s", link)
	}
	answer, _, _, err := askTLS(t, trust, http.MethodGet, link, "")
	if err != nil {
		t.Fatal(err)
	}
	if answer.ProtoMajor != 2 {
		t.Errorf("spoken: %s", answer.Proto)
	}
	if cookies := answer.Cookies(); len(cookies) != 1 || cookies[0].Name != "__Host-agentmeter_session" || !cookies[0].Secure || !cookies[0].HttpOnly {
		t.Errorf("%d, cookies %v", answer.StatusCode, cookies)
	}
	if out := mustAgentmeter(t, "health", "--url", base+"/readyz", "--tls-cert", cert); !strings.Contains(out, `"status":"ready"`) {
		t.Errorf("health: %s", out)
	}
	if code, _, stderr := agentmeter(t, "health", "--url", base+"/readyz"); code != 1 || !strings.Contains(stderr, "certificate") {
		t.Errorf("health with a certificate of nobody's: exit status %d: %s", code, stderr)
	}
	mustAgentmeter(t, "audit", "--data-dir", dir)

	// A renewed certificate is served soon, with no request failing meanwhile.
	issued(t, authority, files, "second")
	for _, url := range []string{base + "/healthz", "https://" + metrics + "/healthz"} {
		i.waitFor("to serve the renewed certificate", startPatience, func() error {
			answer, _, seen, err := askTLS(t, trust, http.MethodGet, url, "")
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Errorf("%s while it is renewed: %v %v", url, answer, err)
			}
			if seen != "second" {
				return notYetError{seen}
			}
			return nil
		})
	}
	i.stop()
}

func TestEachRoleEncryptsAndKnowsWhoAsksForMetrics(t *testing.T) {
	slowtest.Begin(t)
	authority, err := certtest.New("e2e authority")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := issued(t, authority, dir, "role")
	clients := filepath.Join(dir, "clients.pem")
	if err := os.WriteFile(clients, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	clientCert, clientKey, err := authority.Issue("prometheus")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger := &tls.Config{RootCAs: authority.Pool()}
	prometheus := &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{pair}}
	// Without Kafka and ClickHouse: who listens is who is asked here.
	nobody := freeAddress()
	for role, to := range map[string][]string{
		"ingest": {"--kafka", nobody}, "query": {"--clickhouse", "http://" + nobody}, "rollup": {"--kafka", nobody, "--clickhouse", "http://" + nobody},
	} {
		address, metrics := freeAddress(), freeAddress()
		p := start(t, append([]string{
			role, "--data-dir", dir, "--http-listen", address, "--metrics-listen", metrics,
			"--tls-cert", cert, "--tls-key", key, "--metrics-client-ca", clients,
		}, to...)...)
		p.waitFor("to listen", startPatience, func() error { return expectTLS(t, stranger, "https://"+address+"/healthz", http.StatusOK) })
		p.waitFor("to export metrics", startPatience, func() error { return expectTLS(t, prometheus, "https://"+metrics+"/metrics", http.StatusOK) })
		if err := expectTLS(t, stranger, "https://"+metrics+"/metrics", http.StatusOK); err == nil {
			t.Errorf("%s tells its metrics to whoever has no certificate", role)
		}
		p.stop()
	}
	for _, flags := range [][]string{{"--tls-cert", cert}, {"--tls-key", key}, {"--metrics-client-ca", clients}, {"--tls-cert", key, "--tls-key", cert}} {
		if code, _, stderr := agentmeter(t, append([]string{"query", "--data-dir", dir, "--http-listen", "127.0.0.1:0"}, flags...)...); code != 2 || !strings.Contains(stderr, "--tls-cert") {
			t.Errorf("%v: exit status %d: %s", flags, code, stderr)
		}
	}
}
