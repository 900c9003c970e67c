// Package authtest gives tests tokens that must not pass: those of our own key
// and those of a platform's issuer, each with one thing wrong.
package authtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// allScopes are those of a token that may do everything, were it genuine.
const allScopes = "events:write events:import adjustments:write directory:write usage:read ops:read"

// Edit makes something of a token's claims and header wrong.
type Edit func(said jwt.MapClaims, header map[string]any)

func sign(t testing.TB, method jwt.SigningMethod, key any, said jwt.MapClaims, header map[string]any, edit Edit) string {
	t.Helper()
	token := jwt.NewWithClaims(method, said)
	for name, value := range header {
		token.Header[name] = value
	}
	if edit != nil {
		edit(said, token.Header)
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claim(name string, value any) Edit {
	return func(said jwt.MapClaims, _ map[string]any) {
		if value == nil {
			delete(said, name)
		} else {
			said[name] = value
		}
	}
}

// Forgeries are tokens that someone makes who has seen genuine ones of the key
// whose bytes are secret, or who has the key and makes them wrong. Each has one
// thing wrong, and would allow everything without it.
func Forgeries(t testing.TB, secret []byte) map[string]string {
	t.Helper()
	now := time.Now()
	by := func(method jwt.SigningMethod, key any, edit Edit) string {
		return sign(t, method, key, jwt.MapClaims{
			"iss": "agentmeter", "aud": "agentmeter", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			"workspace": "*", "scope": allScopes,
		}, nil, edit)
	}
	hs256 := func(edit Edit) string { return by(jwt.SigningMethodHS256, secret, edit) }
	genuine := hs256(nil)
	parts := strings.Split(genuine, ".")
	return map[string]string{
		"expired":            hs256(claim("exp", now.Add(-time.Second).Unix())),
		"no expiry":          hs256(claim("exp", nil)),
		"not yet valid":      hs256(claim("nbf", now.Add(time.Hour).Unix())),
		"issued in future":   hs256(claim("iat", now.Add(time.Hour).Unix())),
		"other audience":     hs256(claim("aud", "agentmeter/page")),
		"no audience":        hs256(claim("aud", nil)),
		"other issuer":       hs256(claim("iss", "someone")),
		"no issuer":          hs256(claim("iss", nil)),
		"no workspace":       hs256(claim("workspace", nil)),
		"scope of odd type":  hs256(claim("scope", []string{"events:write"})),
		"critical header":    hs256(func(_ jwt.MapClaims, header map[string]any) { header["crit"] = []string{"b64"} }),
		"alg none":           by(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"other algorithm":    by(jwt.SigningMethodHS512, secret, nil),
		"other key":          by(jwt.SigningMethodHS256, bytes.Repeat([]byte{7}, 32), nil),
		"no signature":       parts[0] + "." + parts[1] + ".",
		"signature cut":      genuine[:len(genuine)-4],
		"signature padded":   genuine + "=",
		"other payload":      parts[0] + "." + strings.Split(hs256(claim("workspace", "ws_b")), ".")[1] + "." + parts[2],
		"not a token":        "nonsense",
		"endless":            genuine + strings.Repeat("A", 10_000),
		"three empty parts":  "..",
		"white space inside": parts[0] + " ." + parts[1] + "." + parts[2],
	}
}

// Issuer is a platform's own, with a key of each of the usual kinds.
type Issuer struct {
	Name, Audience string
	// Kid is what the ids of its keys begin with.
	Kid string

	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

// NewIssuer makes one.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{Name: "platform", Audience: "usage", Kid: "platform"}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *Issuer) kidRSA() string { return i.Kid + "-rsa" }
func (i *Issuer) kidEC() string  { return i.Kid + "-ec" }

// KeySet is what the issuer publishes, a JSON Web Key Set.
func (i *Issuer) KeySet(t testing.TB) []byte {
	t.Helper()
	return KeySets(t, i)
}

// KeySets is one set with the keys of several.
func KeySets(t testing.TB, issuers ...*Issuer) []byte {
	t.Helper()
	all := make([]string, len(issuers))
	for n, i := range issuers {
		all[n] = i.published(t)
	}
	return []byte(`{"keys":[` + strings.Join(all, ",") + `]}`)
}

func (i *Issuer) published(t testing.TB) string {
	t.Helper()
	point, err := i.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"alg":"ES256","use":"sig","x":%q,"y":%q},
{"kty":"RSA","kid":%q,"alg":"RS256","use":"sig","n":%q,"e":%q}`,
		i.kidEC(), encode(point[1:33]), encode(point[33:65]),
		i.kidRSA(), encode(i.rsa.N.Bytes()), encode(big.NewInt(int64(i.rsa.E)).Bytes()))
}

func (i *Issuer) token(t testing.TB, method jwt.SigningMethod, key any, kid, workspace, scope string, edit Edit) string {
	t.Helper()
	return sign(t, method, key, jwt.MapClaims{
		"iss": i.Name, "aud": i.Audience, "exp": time.Now().Add(time.Hour).Unix(), "workspace": workspace, "scope": scope,
	}, map[string]any{"kid": kid}, edit)
}

// Tokens are genuine ones, by algorithm.
func (i *Issuer) Tokens(t testing.TB, workspace, scope string) map[string]string {
	t.Helper()
	return map[string]string{
		"ES256": i.token(t, jwt.SigningMethodES256, i.ec, i.kidEC(), workspace, scope, nil),
		"RS256": i.token(t, jwt.SigningMethodRS256, i.rsa, i.kidRSA(), workspace, scope, nil),
	}
}

// Forgeries are tokens that claim to be the issuer's, each with one thing wrong.
func (i *Issuer) Forgeries(t testing.TB) map[string]string {
	t.Helper()
	now := time.Now()
	stranger := NewIssuer(t)
	by := func(method jwt.SigningMethod, key crypto.PrivateKey, kid string, edit Edit) string {
		return i.token(t, method, key, kid, "*", allScopes, edit)
	}
	rs256 := func(edit Edit) string { return by(jwt.SigningMethodRS256, i.rsa, i.kidRSA(), edit) }
	kid := func(value any) Edit {
		return func(_ jwt.MapClaims, header map[string]any) {
			if value == nil {
				delete(header, "kid")
			} else {
				header["kid"] = value
			}
		}
	}
	public := i.rsa.N.Bytes()
	return map[string]string{
		"platform's, expired":                     rs256(claim("exp", now.Add(-time.Second).Unix())),
		"platform's, no expiry":                   rs256(claim("exp", nil)),
		"platform's, not yet valid":               rs256(claim("nbf", now.Add(time.Hour).Unix())),
		"platform's, issued in future":            rs256(claim("iat", now.Add(time.Hour).Unix())),
		"platform's, other audience":              rs256(claim("aud", "agentmeter")),
		"platform's, other issuer":                rs256(claim("iss", "agentmeter")),
		"platform's, no workspace":                rs256(claim("workspace", nil)),
		"platform's, no kid":                      rs256(kid(nil)),
		"platform's, unknown kid":                 rs256(kid("another")),
		"platform's, kid of odd type":             rs256(kid(7)),
		"platform's, kid of another key":          rs256(kid(i.kidEC())),
		"platform's, key in the header":           by(jwt.SigningMethodRS256, stranger.rsa, i.kidRSA(), func(_ jwt.MapClaims, h map[string]any) { h["jwk"] = map[string]string{"kty": "RSA"} }),
		"platform's, other algorithm":             by(jwt.SigningMethodPS256, i.rsa, i.kidEC(), nil),
		"platform's, alg none":                    by(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, i.kidRSA(), nil),
		"platform's, stranger's RSA key":          by(jwt.SigningMethodRS256, stranger.rsa, i.kidRSA(), nil),
		"platform's, stranger's EC key":           by(jwt.SigningMethodES256, stranger.ec, i.kidEC(), nil),
		"platform's, public key as shared secret": by(jwt.SigningMethodHS256, public, i.kidRSA(), nil),
		"platform's, key set as shared secret":    by(jwt.SigningMethodHS256, i.KeySet(t), i.kidRSA(), nil),
		"platform's, public key as longer secret": by(jwt.SigningMethodHS512, public, i.kidRSA(), nil),
		"platform's, our name and the platform's key": by(jwt.SigningMethodRS256, i.rsa, i.kidRSA(), func(said jwt.MapClaims, _ map[string]any) {
			said["iss"], said["aud"] = "agentmeter", "agentmeter"
		}),
	}
}
