package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"agentmeter/schemas/api"
)

// DefaultTimeout is how long one attempt may take.
const DefaultTimeout = time.Minute

// DefaultUserAgent is what requests name as their sender.
const DefaultUserAgent = "agentmeter-client"

// Client speaks to one Agentmeter.
type Client struct {
	source    source
	http      *http.Client
	own       bool // whether the transport is the client's own
	timeout   time.Duration
	retries   Retries
	compress  Compress
	userAgent string
	gzip      sync.Pool // of *gzip.Writer
}

// Option changes what New makes.
type Option func(*settings)

type settings struct {
	token     TokenSource
	endpoint  Endpoint
	http      *http.Client
	timeout   time.Duration
	retries   Retries
	compress  Compress
	userAgent string
}

// WithToken sends one token with every request, without the word Bearer.
func WithToken(token string) Option {
	return WithTokenSource(func(context.Context) (string, error) { return token, nil })
}

// WithTokenSource asks for a token before every attempt, and once more where the
// server answers 401: if the source then has another one, the request is sent
// again at once. The source should keep its token while it is good.
func WithTokenSource(source TokenSource) Option {
	return func(s *settings) { s.token = source }
}

// WithEndpoint asks where the server is and with which token to speak to it, for
// servers that may come back at another address; New's base URL must then be
// empty. It is asked before the first request, before each retry and after a 401,
// and its answer is used in between.
func WithEndpoint(endpoint Endpoint) Option {
	return func(s *settings) { s.endpoint = endpoint }
}

// WithHTTPClient sends through this client instead of one of the Client's own.
// Redirects are not followed whatever it says, because the token is for one
// server only and a redirected POST may arrive without its body; its Timeout, if
// it has one, is that of WithTimeout, which does not cut a stream.
func WithHTTPClient(c *http.Client) Option {
	return func(s *settings) { s.http = c }
}

// WithTimeout bounds one attempt, from sending to the answer's last byte; of a
// stream (ExportCSV, Live) it bounds the wait for the first byte and each wait
// for more, which of Live is 45 seconds at least, since its server may have
// nothing to say. The default is DefaultTimeout. How long a whole call may take is
// the context's matter.
func WithTimeout(d time.Duration) Option {
	return func(s *settings) { s.timeout = d }
}

// WithUserAgent names the sender, as in "billing-export/1.4".
func WithUserAgent(name string) Option {
	return func(s *settings) { s.userAgent = name }
}

// WithRetries says how often and for how long requests are tried again.
func WithRetries(r Retries) Option {
	return func(s *settings) { s.retries = r }
}

// WithCompression says when events are sent as gzip.
func WithCompression(c Compress) Option {
	return func(s *settings) { s.compress = c }
}

// Compress says when the bodies of events are sent as gzip.
type Compress uint8

// The choices. On loopback compressing only costs both sides time.
const (
	CompressUnlessLoopback Compress = iota
	CompressAlways
	CompressNever
)

// New returns a client of the server at baseURL, such as
// "https://meter.example.com" or "https://example.com/meter". Nothing is sent
// yet. The error names everything that is wrong with what was given.
func New(baseURL string, options ...Option) (*Client, error) {
	s := settings{userAgent: DefaultUserAgent}
	for _, option := range options {
		option(&s)
	}
	c := &Client{http: s.http, timeout: s.timeout, retries: s.retries.withDefaults(), compress: s.compress, userAgent: s.userAgent}
	if c.timeout == 0 && s.http != nil {
		c.timeout = s.http.Timeout
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	var faults []error
	switch {
	case s.endpoint == nil:
		at, err := newAddress(baseURL, "")
		if err != nil {
			faults = append(faults, err)
		}
		c.source = fixedSource{at: at, token: s.token}
	case baseURL != "" || s.token != nil:
		faults = append(faults, errors.New("endpoint: says where the server is and with which token to speak to it; leave the base URL and the token out"))
	default:
		c.source = &movingSource{ask: s.endpoint}
	}
	if c.timeout < 0 {
		faults = append(faults, errors.New("request timeout: is negative"))
	}
	if err := s.retries.validate(); err != nil {
		faults = append(faults, err)
	}
	if c.compress > CompressNever {
		faults = append(faults, errors.New("compression: not one of the choices"))
	}
	if strings.ContainsAny(c.userAgent, "\r\n") {
		faults = append(faults, errors.New("user agent: contains a line break"))
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("agentmeter client: %w", errors.Join(faults...))
	}

	if c.http == nil {
		c.own = true
		c.http = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   10 * time.Second,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       time.Minute,
			ExpectContinueTimeout: time.Second,
		}}
	} else {
		given := *c.http
		c.http = &given
	}
	c.http.Timeout = 0
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.gzip.New = func() any {
		w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
		if err != nil {
			panic("client: gzip level: " + err.Error()) // a constant
		}
		return w
	}
	return c, nil
}

// Close gives back the connections that are kept for later, unless they are
// those of WithHTTPClient. The client can still be used.
func (c *Client) Close() {
	if c.own {
		c.http.CloseIdleConnections()
	}
}

// Connect asks the token source or the endpoint once, so that a wrong one is
// found before anything is prepared. It sends nothing to the server.
func (c *Client) Connect(ctx context.Context) error {
	_, err := c.source.address(ctx, false)
	return err
}

// BaseURL is where the client sends to just now; of WithEndpoint, "" before it
// was first asked.
func (c *Client) BaseURL() string { return c.source.baseURL() }

// operation is one request of the contract.
type operation struct {
	safety safety
	// send sends it.
	send func(context.Context, *api.Client, address) (*http.Response, error)
	// take deals with an answer of any status.
	take func(*answer) error

	// stream, where set, takes the body of an answer 200 instead, to be read on;
	// accept is its media type, patience how long to wait for each piece of it.
	stream   *io.ReadCloser
	accept   string
	patience time.Duration
	// untiring is set where the number of attempts is not bounded, only the time.
	untiring bool
}

// answer is an answer that has been read whole.
type answer struct {
	status  int
	header  http.Header
	content []byte
	url     *url.URL // that was asked
	at      address  // that it was asked of
}

// attempt sends the operation once.
func (c *Client) attempt(ctx context.Context, at address, op operation) error {
	attemptCtx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.timeout, func() { cancel(errTimeout) })
	end := func() {
		timer.Stop()
		cancel(nil)
	}
	late := func(err error) error {
		if err != nil && errors.Is(context.Cause(attemptCtx), errTimeout) {
			return &connectionError{fmt.Errorf("%w: %s", errTimeout, at.baseURL)}
		}
		return err
	}
	accept := "application/json"
	if op.stream != nil {
		accept = op.accept
	}
	requests := &api.Client{Server: at.baseURL + "/", Client: connection{c.http}, RequestEditors: []api.RequestEditorFn{
		func(_ context.Context, request *http.Request) error {
			if at.token != "" {
				request.Header.Set("Authorization", "Bearer "+at.token)
			}
			request.Header.Set("Accept", accept+", application/problem+json")
			request.Header.Set("User-Agent", c.userAgent)
			return nil
		},
	}}
	response, err := op.send(attemptCtx, requests, at) //nolint:bodyclose // it is closed below, or handed on as a stream
	if err != nil {
		err = late(err)
		end()
		return err
	}
	body := &body{ReadCloser: response.Body, timer: timer, late: late, end: end}
	if op.stream != nil && response.StatusCode == http.StatusOK {
		timer.Stop()
		body.patience = op.patience
		*op.stream = body
		return nil
	}
	defer body.Close()
	content, err := readAnswer(body)
	if err != nil {
		return err
	}
	return op.take(&answer{status: response.StatusCode, header: response.Header, content: content, url: response.Request.URL, at: at})
}

// connection tells failures of the network from those of making a request.
type connection struct{ http *http.Client }

func (c connection) Do(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request) //nolint:gosec // it goes where the program said
	if err != nil {
		return nil, &connectionError{err}
	}
	return response, nil
}

// body is an answer's body, which ends its attempt when it is closed.
type body struct {
	io.ReadCloser
	timer    *time.Timer
	patience time.Duration // of each read, where it is a stream's
	late     func(error) error
	end      func()
}

func (b *body) Read(p []byte) (int, error) {
	if b.patience > 0 {
		b.timer.Reset(b.patience)
		defer b.timer.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.late(&connectionError{fmt.Errorf("read answer: %w", err)})
	}
	return n, err
}

func (b *body) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
