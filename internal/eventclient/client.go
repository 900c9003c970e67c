package eventclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"agentmeter/client"
	"agentmeter/schemas/api"
)

// Config says how to send.
type Config struct {
	// Endpoint is required.
	Endpoint Endpoint
	// RetryFor is for how long one request is tried again before giving up,
	// counted from its first failure; zero means DefaultRetryFor, negative not
	// at all.
	RetryFor time.Duration
	// RequestTimeout bounds one attempt; zero means client.DefaultTimeout.
	RequestTimeout time.Duration
	// MinBackoff and MaxBackoff bound the waits between attempts, which double
	// from one to the next; zero means the defaults. A longer Retry-After of
	// the server's is honoured.
	MinBackoff, MaxBackoff time.Duration
	// OnRetry, where set, is told before each wait, from several goroutines at
	// once if several use the client.
	OnRetry func(Retry)
	// Compress says whether bodies are compressed.
	Compress Compress
	// UserAgent is sent with each request.
	UserAgent string
	// Transport, where set, carries the requests instead of one of the
	// client's own.
	Transport http.RoundTripper
}

// What the commands share with everybody who sends events.
type (
	// Endpoint says where the write side is just now, and with which token to
	// speak to it. It is asked before the first request and again before each
	// retry.
	Endpoint = client.Endpoint
	// Compress says when bodies are sent as gzip.
	Compress = client.Compress
	// Retry tells of a failed attempt after which the client waits.
	Retry = client.Retry
	// Answer says what became of a batch.
	Answer = api.Acceptance
	// RefusedError is an answer that sending the same again would not change.
	RefusedError = client.Problem
	// GaveUpError is returned when a request could not be completed within
	// Config.RetryFor.
	GaveUpError = client.GaveUpError
)

// The choices of Compress.
const (
	CompressUnlessLoopback = client.CompressUnlessLoopback
	CompressAlways         = client.CompressAlways
	CompressNever          = client.CompressNever
)

// The defaults.
const (
	DefaultRetryFor   = client.DefaultRetryFor
	DefaultMinBackoff = client.DefaultMinBackoff
	DefaultMaxBackoff = client.DefaultMaxBackoff
)

// ErrAnswer is the root of errors about an answer that is not what the contract
// says.
var ErrAnswer = client.ErrAnswer

// Static is an endpoint that never moves.
func Static(baseURL, token string) Endpoint {
	return func(context.Context) (string, string, error) { return baseURL, token, nil }
}

// Client sends batches. It is safe for concurrent use.
type Client struct{ *client.Client }

// New returns a client; nothing is sent yet. The error names everything that is
// wrong with the configuration.
func New(cfg Config) (*Client, error) {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "agentmeter"
	}
	retries := client.Retries{
		Attempts: -1, // a file is sent for as long as there is hope
		For:      cfg.RetryFor, MinBackoff: cfg.MinBackoff, MaxBackoff: cfg.MaxBackoff, OnRetry: cfg.OnRetry,
	}
	if cfg.RetryFor < 0 {
		retries.Attempts, retries.For = 1, 0
	}
	endpoint := cfg.Endpoint
	var missing error
	if endpoint == nil {
		endpoint, missing = Static("", ""), errors.New("endpoint: is required")
	}
	options := []client.Option{
		client.WithEndpoint(endpoint), client.WithRetries(retries), client.WithTimeout(cfg.RequestTimeout),
		client.WithCompression(cfg.Compress), client.WithUserAgent(cfg.UserAgent),
	}
	if cfg.Transport != nil {
		options = append(options, client.WithHTTPClient(&http.Client{Transport: cfg.Transport}))
	}
	c, err := client.New("", options...)
	if err := errors.Join(missing, err); err != nil {
		return nil, fmt.Errorf("event client: %w", err)
	}
	return &Client{c}, nil
}

// Post sends the batch and returns an answer that accounts for each of its
// items. Where the server finds the batch too large it is sent in halves. The
// errors are *RefusedError, *GaveUpError, ErrAnswer, ctx's, and the endpoint's
// own before the first request.
func (c *Client) Post(ctx context.Context, b *Batch) (Answer, error) {
	return c.Send(ctx, &b.Batch)
}
