package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/internal/certtest"
	"agentmeter/internal/httpapi"
)

// authority makes one, and the configuration of a server of its.
func authority(t *testing.T) (*certtest.Authority, *tls.Config) {
	t.Helper()
	a, err := certtest.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := issue(t, a, t.TempDir(), "first")
	config, err := httpapi.ServerTLS(cert, key, "", newBench(t).logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return a, config
}

// issue writes a certificate for this machine, and its key, into a directory.
func issue(t *testing.T, a *certtest.Authority, dir, name string) (certFile, keyFile string) {
	t.Helper()
	cert, key, err := a.Issue(name, "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, content := range map[string][]byte{certFile: cert, keyFile: key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestAListenerEncryptsAndTakesNothingElse(t *testing.T) {
	t.Parallel()
	a, config := authority(t)
	b := newBench(t)
	b.router.HandleFunc("GET /x", func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || r.TLS.Version < tls.VersionTLS12 {
			t.Errorf("by %+v", r.TLS)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	c := httpapi.DefaultConfig()
	c.Listen, c.TLS = "127.0.0.1:0", config
	server := b.runs(t, c)
	get := func(url string, trust *tls.Config) (*http.Response, error) {
		transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true, DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(r)
		if err == nil {
			_ = answer.Body.Close()
		}
		return answer, err
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		answer, err := get(server.URL(), &tls.Config{RootCAs: a.Pool(), MinVersion: version, MaxVersion: version})
		if err != nil || answer.StatusCode != http.StatusNoContent || answer.ProtoMajor != 2 {
			t.Errorf("TLS %x: %v %v", version, answer, err)
		}
	}
	if _, err := get(server.URL(), &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if _, err := get(server.URL(), &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
		t.Error("a certificate of nobody's is believed")
	}
	if answer, err := get(strings.Replace(server.URL(), "https:", "http:", 1), nil); err == nil && answer.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %d", answer.StatusCode)
	}
}

func TestARenewedCertificateIsServedWithoutARestart(t *testing.T) {
	t.Parallel()
	a, err := certtest.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := newBench(t)
		// The bubble's clock is years behind that of the files; only that they change
		// counts.
		certFile, keyFile := issue(t, a, dir, "first")
		config, err := httpapi.ServerTLS(certFile, keyFile, "", b.logger(t))
		if err != nil {
			t.Fatal(err)
		}
		served := func() string {
			t.Helper()
			<-time.After(2 * time.Second) // of the bubble's own clock
			pair, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			return pair.Leaf.Subject.CommonName
		}
		if got := served(); got != "first" {
			t.Fatalf("served %q", got)
		}
		// As renewals do it: other files under the same names.
		swap := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		other := t.TempDir()
		newCert, newKey := issue(t, a, other, "second")
		swap(newCert, certFile)
		for range 3 {
			if got := served(); got != "first" {
				t.Errorf("half renewed, %q is served", got)
			}
		}
		if said := strings.Count(b.log.String(), "certificate not read again"); said != 1 {
			t.Errorf("said %d times that the new one cannot be used", said)
		}
		swap(newKey, keyFile)
		if got := served(); got != "second" {
			t.Errorf("renewed, %q is served", got)
		}
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		if got := served(); got != "second" {
			t.Errorf("without its file %q is served", got)
		}
		newCert, newKey = issue(t, a, other, "third")
		swap(newKey, keyFile)
		swap(newCert, certFile)
		if got := served(); got != "third" {
			t.Errorf("renewed again, %q is served", got)
		}
	})
}

func TestAClientWithoutACertificateIsTurnedAwayWhereOneIsAskedFor(t *testing.T) {
	t.Parallel()
	a, err := certtest.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := certtest.New("stranger")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := issue(t, a, dir, "server")
	clientCA := filepath.Join(dir, "clients.pem")
	if err := os.WriteFile(clientCA, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	config, err := httpapi.ServerTLS(certFile, keyFile, clientCA, b.logger(t))
	if err != nil {
		t.Fatal(err)
	}
	b.router.HandleFunc("GET /x", func(http.ResponseWriter, *http.Request) {})
	c := httpapi.DefaultConfig()
	c.Listen, c.TLS = "127.0.0.1:0", config
	server := b.runs(t, c)
	for name, tt := range map[string]struct {
		by     *certtest.Authority
		passes bool
	}{"none": {nil, false}, "a stranger's": {stranger, false}, "a good one": {a, true}} {
		trust := &tls.Config{RootCAs: a.Pool()}
		if tt.by != nil {
			cert, key, err := tt.by.Issue("client")
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			trust.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+"/x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(r)
		if err == nil {
			_ = answer.Body.Close()
		}
		if (err == nil) != tt.passes {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateThatCannotBeUsedStopsTheStart(t *testing.T) {
	t.Parallel()
	a, err := certtest.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := issue(t, a, dir, "server")
	_, otherKey := issue(t, a, t.TempDir(), "other")
	for name, files := range map[string][3]string{
		"no certificate":     {filepath.Join(dir, "none"), keyFile, ""},
		"no key":             {certFile, filepath.Join(dir, "none"), ""},
		"another's key":      {certFile, otherKey, ""},
		"no authority":       {certFile, keyFile, filepath.Join(dir, "none")},
		"authority of a key": {certFile, keyFile, keyFile},
	} {
		if _, err := httpapi.ServerTLS(files[0], files[1], files[2], newBench(t).logger(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
