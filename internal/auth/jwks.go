package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"agentmeter/internal/httpapi"
)

// JWKSConfig lets a platform's own issuer sign access tokens, by public keys
// in a JSON Web Key Set. The claims are those of our own tokens.
type JWKSConfig struct {
	// URL to fetch the key set from, again and again, and for unknown keys; or
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
		if c.Issuer != "" || c.Audience != "" {
			return errors.New("--jwks-issuer and --jwks-audience are of a key set; give --jwks-url or --jwks-file, too")
		}
		return nil
	}
	var faults []error
	if c.URL != "" && c.File != "" {
		faults = append(faults, errors.New("--jwks-url and --jwks-file are both set; set one"))
	}
	if c.URL != "" {
		// Whoever can change the answer on its way makes the keys.
		if parsed, err := url.Parse(c.URL); err != nil || parsed.Host == "" || (parsed.Scheme != "https" && (parsed.Scheme != "http" || !httpapi.IsLoopbackHost(parsed.Hostname()))) {
			faults = append(faults, fmt.Errorf("--jwks-url: %q is not an https URL, nor an http one on this machine", c.URL))
		}
	}
	if c.Issuer == "" {
		faults = append(faults, errors.New("--jwks-issuer: is required with a key set"))
	}
	if c.Audience == "" {
		faults = append(faults, errors.New("--jwks-audience: is required with a key set"))
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
	// jwksRefresh is how often the set is fetched: an issuer that publishes a key
	// that long before it signs by it is never ahead of us, and a key that it takes
	// back is used that much longer.
	jwksRefresh = 5 * time.Minute
	// jwksUnknownKey is how often, at most, a key id that is not in the set makes us
	// look for it, and how soon a fetch that failed is tried again.
	jwksUnknownKey = 5 * time.Second
	// jwksWait is how long a request waits for that. A forged key id waits as long.
	jwksWait = 2 * time.Second
	// maxKeySetBytes bounds what an issuer's address may answer.
	maxKeySetBytes = 1 << 20
)

// NewJWKSVerifier verifies tokens by a key set. Fetching goes on until ctx ends. A
// set that cannot be fetched is logged and tried again, while the last one stays in
// use: that the issuer is away locks nobody out who has a token, and a process that
// starts meanwhile still takes the others.
func NewJWKSVerifier(ctx context.Context, config JWKSConfig, log *slog.Logger) (Verifier, error) {
	return newJWKSVerifier(ctx, config, http.DefaultTransport.(*http.Transport).Clone(), log) //nolint:forcetypeassert // net/http's own
}

func newJWKSVerifier(ctx context.Context, config JWKSConfig, transport http.RoundTripper, log *slog.Logger) (Verifier, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	keys := &keySet{url: config.URL, log: log, client: &http.Client{
		Timeout: jwksFetchTimeout, Transport: transport,
		// The keys are those at the address that was configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, asked: make(chan chan struct{})}
	if config.File != "" {
		raw, err := os.ReadFile(config.File)
		if err == nil {
			err = keys.parse(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("load key set: %w", err)
		}
	} else {
		keys.refresh(ctx)
		go keys.keepFresh(ctx)
	}
	return &tokenVerifier{
		parser:  newParser(jwksAlgorithms, config.Issuer, config.Audience, config.Leeway),
		keyfunc: keys.keyfunc,
	}, nil
}

// keySet is an issuer's, as it was fetched last.
type keySet struct {
	url    string // "": it is from a file
	log    *slog.Logger
	client *http.Client
	now    atomic.Pointer[publishedKeys] // nil: none was fetched yet
	// asked takes wishes for a fetch; what is sent is closed after one.
	asked chan chan struct{}
}

// publishedKeys are a set's.
type publishedKeys struct {
	find keyfunc.Keyfunc
	ids  map[string]bool
}

// keyfunc finds the key that a token says it is signed by.
func (s *keySet) keyfunc(ctx context.Context) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		// Without it every key of the set would be tried.
		kid, ok := token.Header["kid"].(string)
		if !ok || kid == "" {
			return nil, errors.New("it does not say by kid which key signed it")
		}
		keys := s.now.Load()
		if s.url != "" && (keys == nil || !keys.ids[kid]) {
			s.ask(ctx)
			keys = s.now.Load()
		}
		if keys == nil {
			return nil, errors.New("the issuer's keys could not be fetched yet")
		}
		return keys.find.KeyfuncCtx(ctx)(token)
	}
}

// ask has the set fetched and waits for it, unless that was done only just now.
func (s *keySet) ask(ctx context.Context) {
	patience := time.NewTimer(jwksWait)
	defer patience.Stop()
	done := make(chan struct{})
	select {
	case s.asked <- done:
	case <-patience.C:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// keepFresh fetches the set every now and then, and when it is asked for, one fetch
// at a time.
func (s *keySet) keepFresh(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	fetched := time.Now()
	timer := time.NewTimer(s.pause())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.refresh(ctx)
			fetched = time.Now()
		case done := <-s.asked:
			if time.Since(fetched) >= jwksUnknownKey {
				s.refresh(ctx)
				fetched = time.Now()
			}
			close(done)
		}
		timer.Reset(s.pause())
	}
}

// pause is until the next fetch that nobody asks for.
func (s *keySet) pause() time.Duration {
	if s.now.Load() == nil {
		return jwksUnknownKey
	}
	return jwksRefresh
}

func (s *keySet) refresh(ctx context.Context) {
	err := s.fetch(ctx)
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "key set not fetched, the last one stays in use", "error", err, "is_there_one", s.now.Load() != nil)
	}
}

func (s *keySet) fetch(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // only read
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the issuer answered %s", answer.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySetBytes+1))
	if err != nil {
		return err
	}
	if len(raw) > maxKeySetBytes {
		return fmt.Errorf("the answer has more than %d bytes", maxKeySetBytes)
	}
	return s.parse(raw)
}

// parse takes a set over. One without a key is no set: what is answered in place of
// one, such as an error, must not end all tokens.
func (s *keySet) parse(raw []byte) error {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(raw, &set); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	keys := &publishedKeys{ids: make(map[string]bool, len(set.Keys))}
	storage := jwkset.NewMemoryStorage()
	for _, published := range set.Keys {
		key, err := jwkset.NewJWKFromMarshal(published, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if errors.Is(err, jwkset.ErrUnsupportedKey) {
			continue // it is for something else
		}
		if err == nil {
			err = storage.KeyWrite(context.Background(), key)
		}
		if err != nil {
			return fmt.Errorf("key set: %w", err)
		}
		keys.ids[published.KID] = true
	}
	if len(keys.ids) == 0 {
		return errors.New("key set: it holds no key")
	}
	var err error
	if keys.find, err = keyfunc.New(keyfunc.Options{Storage: storage}); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	s.now.Store(keys)
	return nil
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
