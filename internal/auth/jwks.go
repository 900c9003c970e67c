package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// JWKSConfig lets a platform's own issuer sign access tokens, by public keys
// in a JSON Web Key Set. The claims are those of our own tokens.
type JWKSConfig struct {
	// URL to fetch the key set from, again every hour and for unknown keys; or
	URL string
	// File that holds it.
	File string
	// Issuer and Audience that tokens must have.
	Issuer   string
	Audience string
	// Leeway allows for the issuer's clock.
	Leeway time.Duration
}

// Enabled reports whether a key set is configured.
func (c JWKSConfig) Enabled() bool { return c.URL != "" || c.File != "" }

// Validate reports everything that is wrong.
func (c JWKSConfig) Validate() error {
	if !c.Enabled() {
		return nil
	}
	var faults []error
	if c.URL != "" && c.File != "" {
		faults = append(faults, errors.New("jwks url and jwks file are both set; set one"))
	}
	if c.URL != "" {
		if parsed, err := url.Parse(c.URL); err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
			faults = append(faults, fmt.Errorf("jwks url %q: not an http or https URL", c.URL))
		}
	}
	if c.Issuer == "" {
		faults = append(faults, errors.New("jwks issuer: is required with a key set"))
	}
	if c.Audience == "" {
		faults = append(faults, errors.New("jwks audience: is required with a key set"))
	}
	if c.Leeway < 0 || c.Leeway > 5*time.Minute {
		faults = append(faults, fmt.Errorf("jwks leeway %v: 0 to 5 minutes", c.Leeway))
	}
	return errors.Join(faults...)
}

// Algorithms of key sets: public-key ones only, so that no published key can
// be used as a shared secret.
var jwksAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	jwksFetchTimeout = 10 * time.Second
	jwksRefresh      = time.Hour
	// jwksUnknownKey is how often an unknown key id may cause a fetch. A new
	// key is known within it.
	jwksUnknownKey = 30 * time.Second
)

// NewJWKSVerifier verifies tokens by a key set. Fetching goes on until ctx
// ends. A set that cannot be fetched at first is an error; later, the last one
// stays in use.
func NewJWKSVerifier(ctx context.Context, config JWKSConfig, log *slog.Logger) (Verifier, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	keys, err := loadKeySet(ctx, config, log)
	if err != nil {
		return nil, fmt.Errorf("load key set: %w", err)
	}
	return &tokenVerifier{
		parser: newParser(jwksAlgorithms, config.Issuer, config.Audience, config.Leeway),
		keyfunc: func(ctx context.Context) jwt.Keyfunc {
			find := keys.KeyfuncCtx(ctx)
			return func(token *jwt.Token) (any, error) {
				// Without it every key of the set would be tried.
				if kid, ok := token.Header["kid"].(string); !ok || kid == "" {
					return nil, errors.New("it does not say by kid which key signed it")
				}
				return find(token)
			}
		},
	}, nil
}

func loadKeySet(ctx context.Context, config JWKSConfig, log *slog.Logger) (keyfunc.Keyfunc, error) {
	if config.File != "" {
		raw, err := os.ReadFile(config.File)
		if err != nil {
			return nil, err
		}
		return keyfunc.NewJWKSetJSON(raw)
	}
	failFirst := false
	return keyfunc.NewDefaultOverrideCtx(ctx, []string{config.URL}, keyfunc.Override{
		Client:                    &http.Client{Timeout: jwksFetchTimeout},
		HTTPTimeout:               jwksFetchTimeout,
		NoErrorReturnFirstHTTPReq: &failFirst,
		// A forged key id must not make its request wait for the rate limit.
		RateLimitWaitMax:  time.Millisecond,
		RefreshInterval:   jwksRefresh,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(jwksUnknownKey), 1),
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(ctx context.Context, err error) {
				log.WarnContext(ctx, "key set not refreshed, the last one stays in use", "error", err)
			}
		},
	})
}

// ByAlgorithm verifies a token with the verifier of its algorithm: our own key for
// HS256, the key set for the rest. Each pins its algorithms again.
func ByAlgorithm(own, keySet Verifier) Verifier { return byAlgorithm{own: own, keySet: keySet} }

type byAlgorithm struct{ own, keySet Verifier }

func (v byAlgorithm) Verify(ctx context.Context, token string) (Access, error) {
	if len(token) <= maxTokenBytes {
		parsed, _, err := jwt.NewParser().ParseUnverified(token, &claims{})
		if err == nil && parsed.Method.Alg() != jwt.SigningMethodHS256.Alg() {
			return v.keySet.Verify(ctx, token)
		}
	}
	return v.own.Verify(ctx, token)
}
