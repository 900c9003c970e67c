package auth_test

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

func TestAKeySetThatIsMissingIsSaid(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, config := range []auth.JWKSConfig{
		{File: filepath.Join(t.TempDir(), "none"), Issuer: "i", Audience: "a"},
		{URL: server.URL, Issuer: "i", Audience: "a"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := auth.NewJWKSVerifier(ctx, config, log); err == nil {
			t.Errorf("%+v: no error", config)
		}
		cancel()
	}
	err := auth.JWKSConfig{URL: "ftp://x", File: "y", Leeway: time.Hour}.Validate()
	for _, want := range []string{"both set", "jwks url", "issuer", "audience", "leeway"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if err := (auth.JWKSConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}
