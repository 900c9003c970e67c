package auth

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// rememberFor is how long a token is not verified again. A key that is taken
	// away is good for as long at most.
	rememberFor = 2 * time.Second
	// rememberTokens bounds the memory; beyond it all are verified anew.
	rememberTokens = 4096
)

// remembering is a Verifier that takes a token at its word for a moment after it
// was verified: senders come with the same one again and again, and to parse it
// costs more than to decode a small event. Only what was found good is
// remembered, by its hash and never beyond its expiry.
type remembering struct {
	Verifier

	mu       sync.RWMutex
	verified map[[sha256.Size]byte]remembered
}

type remembered struct {
	access Access
	until  time.Time
}

// Remember returns a Verifier that asks v again only after a moment.
func Remember(v Verifier) Verifier {
	return &remembering{Verifier: v, verified: make(map[[sha256.Size]byte]remembered)}
}

func (v *remembering) Verify(ctx context.Context, token string) (Access, error) {
	if len(token) > maxTokenBytes {
		return v.Verifier.Verify(ctx, token)
	}
	hash := sha256.Sum256([]byte(token))
	now := time.Now()
	v.mu.RLock()
	known, ok := v.verified[hash]
	v.mu.RUnlock()
	if ok && now.Before(known.until) {
		return known.access, nil
	}
	access, err := v.Verifier.Verify(ctx, token)
	if err != nil {
		return Access{}, err
	}
	until := now.Add(rememberFor)
	if access.Expires.Before(until) {
		until = access.Expires
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.verified) >= rememberTokens {
		clear(v.verified)
	}
	v.verified[hash] = remembered{access: access, until: until}
	return access, nil
}
