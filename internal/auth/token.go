package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"agentmeter/schemas"
)

// What tokens of our own key say. The audiences keep an access token, a page
// session and a one-time link from passing for one another.
const (
	issuer         = "agentmeter"
	accessAudience = "agentmeter"
	pageAudience   = "agentmeter/page"
	linkAudience   = "agentmeter/link"
)

// issuedAhead is how far a token's iat may lie in the future: the clocks of two
// machines differ, but not by more.
const issuedAhead = time.Minute

// Errors of a Verifier. Both mean 401.
var (
	ErrTokenExpired = errors.New("token has expired")
	ErrTokenInvalid = errors.New("token is not valid")
)

// Verifier turns a token into what it allows. Errors wrap ErrTokenExpired or
// ErrTokenInvalid.
type Verifier interface {
	Verify(ctx context.Context, token string) (Access, error)
}

type claims struct {
	jwt.RegisteredClaims

	Scope     string `json:"scope"`
	Workspace string `json:"workspace"`
}

// Grant says what a new token allows.
type Grant struct {
	Subject   string // for whom; optional
	Workspace schemas.WorkspaceID
	Scopes    []Scope
	TTL       time.Duration
}

// Validate reports everything that is wrong with the grant.
func (g Grant) Validate() error {
	var faults []error
	if g.Workspace != schemas.AllWorkspaces {
		if fault := schemas.ValidateID("workspace", string(g.Workspace)); fault != nil {
			faults = append(faults, *fault)
		}
	}
	if len(g.Scopes) == 0 {
		faults = append(faults, errors.New("scope: is required"))
	}
	if g.TTL <= 0 {
		faults = append(faults, fmt.Errorf("ttl: %v is not positive", g.TTL))
	}
	return errors.Join(faults...)
}

// Mint makes an access token.
func (k Key) Mint(grant Grant) (string, error) { return k.mint(grant, accessAudience) }

func (k Key) mint(grant Grant, audience string) (string, error) {
	if err := grant.Validate(); err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	names := make([]string, len(grant.Scopes))
	for i, scope := range grant.Scopes {
		names[i] = string(scope)
	}
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:   issuer,
			Subject:  grant.Subject,
			Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now),
			// Whole seconds, rounded up, so that a token lives at least as long as asked.
			ExpiresAt: jwt.NewNumericDate(now.Add(grant.TTL + time.Second - 1).Truncate(time.Second)),
			ID:        rand.Text(),
		},
		Scope:     strings.Join(names, " "),
		Workspace: string(grant.Workspace),
	})
	current, _ := k.ring.now(true)
	signed, err := token.SignedString(current.signs)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// Verifier verifies access tokens that Mint made.
func (k Key) Verifier() Verifier { return k.verifier(accessAudience) }

func (k Key) verifier(audience string) *tokenVerifier {
	return &tokenVerifier{
		parser: newParser([]string{jwt.SigningMethodHS256.Alg()}, issuer, audience, 0),
		keyfunc: func(context.Context) jwt.Keyfunc {
			return func(*jwt.Token) (any, error) {
				current, _ := k.ring.now(false)
				var set jwt.VerificationKeySet
				for _, secret := range current.verify(time.Now()) {
					set.Keys = append(set.Keys, secret)
				}
				return set, nil
			}
		},
		reads: func(known bool) int {
			_, reads := k.ring.now(known)
			return reads
		},
	}
}

func newParser(algorithms []string, issuer, audience string, leeway time.Duration) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods(algorithms), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), jwt.WithLeeway(leeway),
	)
}

// tokenVerifier verifies JWTs with pinned algorithms, issuer and audience.
type tokenVerifier struct {
	parser  *jwt.Parser
	keyfunc func(context.Context) jwt.Keyfunc
	// reads tells how often the keys were read, up to a moment ago or, where it has to
	// be known, up to now; nil: they are kept elsewhere.
	reads func(known bool) int
}

// maxTokenBytes bounds the work that a forged token can cause.
const maxTokenBytes = 8 << 10

func (v *tokenVerifier) Verify(ctx context.Context, token string) (Access, error) {
	access, _, err := v.verify(ctx, token)
	return access, err
}

func (v *tokenVerifier) verify(ctx context.Context, token string) (Access, *claims, error) {
	if len(token) > maxTokenBytes {
		return Access{}, nil, fmt.Errorf("%w: longer than %d bytes", ErrTokenInvalid, maxTokenBytes)
	}
	var said claims
	before := 0
	if v.reads != nil {
		before = v.reads(false)
	}
	parsed, err := v.parser.ParseWithClaims(token, &said, v.keyfunc(ctx))
	// Another process may sign by a key that is a moment old. Whether it was read since
	// then by this request or by another makes no difference.
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) && v.reads != nil && v.reads(true) != before {
		said = claims{}
		parsed, err = v.parser.ParseWithClaims(token, &said, v.keyfunc(ctx))
	}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Access{}, nil, fmt.Errorf("%w: %w", ErrTokenExpired, err)
	case err != nil:
		return Access{}, nil, fmt.Errorf("%w: %w", ErrTokenInvalid, err)
	}
	if _, critical := parsed.Header["crit"]; critical {
		return Access{}, nil, fmt.Errorf("%w: it has critical headers, and none is understood", ErrTokenInvalid)
	}
	if said.IssuedAt != nil && time.Until(said.IssuedAt.Time) > issuedAhead {
		return Access{}, nil, fmt.Errorf("%w: it was issued in the future", ErrTokenInvalid)
	}
	if said.Workspace == "" {
		return Access{}, nil, fmt.Errorf("%w: it names no workspace", ErrTokenInvalid)
	}
	access := Access{
		Subject: said.Subject, Workspace: schemas.WorkspaceID(said.Workspace),
		Expires: said.ExpiresAt.Time,
	}
	for name := range strings.FieldsSeq(said.Scope) {
		access.Scopes = append(access.Scopes, Scope(name))
	}
	return access, &said, nil
}
