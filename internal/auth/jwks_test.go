package auth_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"agentmeter/internal/auth"
	"agentmeter/internal/auth/authtest"
)

func TestAPlatformsIssuerSignsTokens(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	set := issuer.KeySet(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	defer server.Close()
	for name, config := range map[string]auth.JWKSConfig{
		"file": {File: file, Issuer: "platform", Audience: "usage"},
		"url":  {URL: server.URL, Issuer: "platform", Audience: "usage"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			theirs, err := auth.NewJWKSVerifier(ctx, config, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			key, secret := newKey(t)
			verifier := auth.ByAlgorithm(key.Verifier(), theirs)
			for algorithm, token := range issuer.Tokens(t, "ws_a", "usage:read") {
				access, err := verifier.Verify(ctx, token)
				if err != nil || access.Workspace != "ws_a" || !access.Has(auth.UsageRead) {
					t.Errorf("%s: %+v %v", algorithm, access, err)
				}
			}
			if _, err := verifier.Verify(ctx, mint(t, key, "ws_a", auth.UsageRead)); err != nil {
				t.Errorf("our own tokens are refused beside a key set: %v", err)
			}
			forged := authtest.Forgeries(t, secret)
			maps.Copy(forged, issuer.Forgeries(t))
			for name, token := range forged {
				if access, err := verifier.Verify(ctx, token); err == nil {
					t.Errorf("%s: it allows %+v", name, access)
				}
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

// platform is an issuer's address, as the test has it.
type platform struct {
	mu      sync.Mutex // guards what follows
	answer  func(*http.Request) (*http.Response, error)
	fetches int
}

func (p *platform) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.fetches++
	answer := p.answer
	p.mu.Unlock()
	return answer(r)
}

func (p *platform) answers(status int, body []byte) {
	p.does(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(bytes.NewReader(body))}, nil
	})
}

func (p *platform) does(answer func(*http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *platform) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// withPlatform runs a test with an issuer on a clock of its own.
func withPlatform(t *testing.T, test func(t *testing.T, p *platform, issuer *authtest.Issuer, verifier auth.Verifier, log *bytes.Buffer)) {
	t.Helper()
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := &platform{}
		p.answers(http.StatusOK, issuer.KeySet(t))
		var log bytes.Buffer
		verifier, err := auth.NewJWKSVerifierBy(ctx, auth.JWKSConfig{URL: "https://issuer.example.com/keys", Issuer: issuer.Name, Audience: issuer.Audience},
			p, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		test(t, p, issuer, verifier, &log)
	})
}

func accepted(t *testing.T, verifier auth.Verifier, issuer *authtest.Issuer) bool {
	t.Helper()
	_, err := verifier.Verify(t.Context(), issuer.Tokens(t, "ws_a", "usage:read")["RS256"])
	return err == nil
}

func TestAnIssuersNewKeyIsKnownWithItsFirstToken(t *testing.T) {
	withPlatform(t, func(t *testing.T, p *platform, issuer *authtest.Issuer, verifier auth.Verifier, _ *bytes.Buffer) {
		next := authtest.NewIssuer(t)
		next.Kid = "next"
		<-time.After(10 * time.Second) // of the bubble's own clock
		p.does(func(*http.Request) (*http.Response, error) {
			<-time.After(300 * time.Millisecond) // an issuer that is far away
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(next.KeySet(t)))}, nil
		})
		var running sync.WaitGroup
		for range 20 { // at once: all wait for the one fetch
			running.Go(func() {
				if !accepted(t, verifier, next) {
					t.Error("the new key's token is refused")
				}
			})
		}
		running.Wait()
		if accepted(t, verifier, issuer) {
			t.Error("a key that the issuer took back is in use")
		}
		if got := p.count(); got != 2 {
			t.Errorf("%d fetches, want the first and one for the new key", got)
		}
	})
}

func TestAKeyThatIsPublishedAheadIsNeverUnknown(t *testing.T) {
	withPlatform(t, func(t *testing.T, p *platform, issuer *authtest.Issuer, verifier auth.Verifier, _ *bytes.Buffer) {
		next := authtest.NewIssuer(t)
		next.Kid = "next"
		p.answers(http.StatusOK, authtest.KeySets(t, issuer, next))
		<-time.After(6 * time.Minute)
		fetched := p.count()
		if !accepted(t, verifier, issuer) || !accepted(t, verifier, next) {
			t.Error("one of the two is refused")
		}
		if p.count() != fetched {
			t.Error("a key was looked for that had been published long before")
		}
	})
}

func TestForgedKeyIdsAreBoundedLoadOnTheIssuer(t *testing.T) {
	withPlatform(t, func(t *testing.T, p *platform, issuer *authtest.Issuer, verifier auth.Verifier, _ *bytes.Buffer) {
		before := p.count()
		began := time.Now()
		forged := issuer.Forgeries(t)["platform's, unknown kid"]
		for time.Since(began) < time.Minute {
			if _, err := verifier.Verify(t.Context(), forged); err == nil {
				t.Fatal("it passes")
			}
			<-time.After(10 * time.Millisecond)
		}
		if got := p.count() - before; got < 10 || got > 13 {
			t.Errorf("%d fetches in a minute of forged key ids, want one in five seconds", got)
		}
	})
}

func TestAnIssuerThatIsAwayLocksNobodyOut(t *testing.T) {
	withPlatform(t, func(t *testing.T, p *platform, issuer *authtest.Issuer, verifier auth.Verifier, log *bytes.Buffer) {
		for name, outage := range map[string]func(){
			"refused": func() {
				p.does(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
			},
			"an error":  func() { p.answers(http.StatusBadGateway, []byte("<html>")) },
			"no set":    func() { p.answers(http.StatusOK, []byte(`{"error":"down for maintenance"}`)) },
			"empty set": func() { p.answers(http.StatusOK, []byte(`{"keys":[]}`)) },
			"garbage":   func() { p.answers(http.StatusOK, []byte(`nonsense`)) },
			"endless":   func() { p.answers(http.StatusOK, bytes.Repeat([]byte(" "), 2<<20)) },
			"silence": func() {
				p.does(func(r *http.Request) (*http.Response, error) {
					<-r.Context().Done()
					return nil, r.Context().Err()
				})
			},
		} {
			outage()
			<-time.After(20 * time.Minute)
			began := time.Now()
			if !accepted(t, verifier, issuer) || time.Since(began) != 0 {
				t.Errorf("%s: a token that held before: refused, or after %v", name, time.Since(began))
			}
			// Who forges a key id does not wait for long, nor hold up anybody.
			forged := issuer.Forgeries(t)["platform's, unknown kid"]
			if _, err := verifier.Verify(t.Context(), forged); err == nil || time.Since(began) > 3*time.Second {
				t.Errorf("%s: a forged key id: %v after %v", name, err, time.Since(began))
			}
		}
		if !strings.Contains(log.String(), "key set not fetched") {
			t.Error("nothing is in the log")
		}
	})
}

func TestAProcessThatStartsWithoutItsIssuerTakesItsTokensLater(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := &platform{}
		p.answers(http.StatusBadGateway, nil)
		theirs, err := auth.NewJWKSVerifierBy(ctx, auth.JWKSConfig{URL: "https://issuer.example.com/keys", Issuer: issuer.Name, Audience: issuer.Audience},
			p, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := newKey(t)
		verifier := auth.ByAlgorithm(key.Verifier(), theirs)
		if _, err := verifier.Verify(ctx, mint(t, key, "ws_a", auth.UsageRead)); err != nil {
			t.Errorf("our own tokens are refused without the issuer: %v", err)
		}
		if accepted(t, verifier, issuer) {
			t.Error("a token passes without a key")
		}
		p.answers(http.StatusOK, issuer.KeySet(t))
		<-time.After(10 * time.Second)
		if !accepted(t, verifier, issuer) {
			t.Error("the issuer is back, and its tokens are refused")
		}
	})
}

func TestAKeySetIsTakenForTheKeysThatAreOfUse(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	set := bytes.Replace(issuer.KeySet(t), []byte(`{"keys":[`), []byte(`{"keys":[{"kty":"EC","crv":"secp256k1","kid":"odd","x":"AA","y":"AA"},`), 1)
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.NewJWKSVerifier(t.Context(), auth.JWKSConfig{File: file, Issuer: issuer.Name, Audience: issuer.Audience}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !accepted(t, verifier, issuer) {
		t.Error("a key of another kind beside them spoils the rest")
	}
}

func TestAKeySetThatIsMissingIsSaid(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + "none"} {
		if _, err := auth.NewJWKSVerifier(t.Context(), auth.JWKSConfig{File: file, Issuer: "i", Audience: "a"}, log); err == nil {
			t.Errorf("%s: no error", file)
		}
	}
	err := auth.JWKSConfig{URL: "ftp://x", File: "y", Leeway: time.Hour}.Validate()
	for _, want := range []string{"both set", "--jwks-url:", "--jwks-issuer", "--jwks-audience", "leeway"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if err := (auth.JWKSConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestAKeySetComesFromWhereItIsSaidTo(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"https://id.example.com/keys": true, "http://127.0.0.1:8080/keys": true, "http://localhost/keys": true,
		"http://id.example.com/keys": false, "http://127.0.0.1.example.com/": false, "ftp://127.0.0.1/": false, "/keys": false,
	} {
		err := auth.JWKSConfig{URL: address, Issuer: "platform", Audience: "usage"}.Validate()
		if (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	issuer := authtest.NewIssuer(t)
	set := issuer.KeySet(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	defer elsewhere.Close()
	redirecting := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer redirecting.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	verifier, err := auth.NewJWKSVerifier(ctx, auth.JWKSConfig{URL: redirecting.URL, Issuer: "platform", Audience: "usage"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, token := range issuer.Tokens(t, "ws_a", "usage:read") {
		if access, err := verifier.Verify(ctx, token); err == nil {
			t.Errorf("%s: keys from elsewhere allow %+v", algorithm, access)
		}
	}
}

// FuzzKeySet reads whatever it is as an issuer's answer.
func FuzzKeySet(f *testing.F) {
	f.Add(authtest.NewIssuer(f).KeySet(f))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"a"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		_ = auth.ParseKeySet(raw) // it says what is wrong, and does not fall over it
	})
}

// FuzzKeys reads whatever it is as the content of a key file.
func FuzzKeys(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, content []byte) {
		if again, ok := auth.DecodeKeys(content); ok && !bytes.Equal(again, content) {
			t.Errorf("%x becomes %x", content, again)
		}
	})
}
