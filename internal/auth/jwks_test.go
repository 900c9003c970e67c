package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"agentmeter/internal/auth"
)

func keySet(t *testing.T, private *ecdsa.PrivateKey) string {
	t.Helper()
	public, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","use":"sig","x":%q,"y":%q}]}`,
		encode(public[1:33]), encode(public[33:65]))
}

func issue(t *testing.T, method jwt.SigningMethod, key crypto.PrivateKey, issuer string) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims{
		"iss": issuer, "aud": "usage", "exp": time.Now().Add(time.Hour).Unix(), "scope": "usage:read", "workspace": "ws_a",
	})
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestAPlatformsIssuerSignsTokens(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := keySet(t, private)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(set)) }))
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
			access, err := verifier.Verify(ctx, issue(t, jwt.SigningMethodES256, private, "platform"))
			if err != nil || access.Workspace != "ws_a" || !access.Has(auth.UsageRead) {
				t.Errorf("%+v %v", access, err)
			}
			if _, err := verifier.Verify(ctx, mint(t, key, "ws_a", auth.UsageRead)); err != nil {
				t.Errorf("our own tokens are refused beside a key set: %v", err)
			}
			stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			forged := forgeries(t, secret)
			forged["other issuer's key"] = issue(t, jwt.SigningMethodES256, stranger, "platform")
			forged["other issuer"] = issue(t, jwt.SigningMethodES256, private, "agentmeter")
			forged["public key as a shared secret"] = issue(t, jwt.SigningMethodHS256, []byte(set), "platform")
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
