package eventclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/sethvargo/go-retry"

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
	// RequestTimeout bounds one attempt; zero means DefaultRequestTimeout.
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

// Compress says when bodies are sent as gzip.
type Compress uint8

// The choices. On loopback compressing only costs both sides time.
const (
	CompressUnlessLoopback Compress = iota
	CompressAlways
	CompressNever
)

// The defaults.
const (
	DefaultRetryFor       = 2 * time.Minute
	DefaultRequestTimeout = time.Minute
	DefaultMinBackoff     = 100 * time.Millisecond
	DefaultMaxBackoff     = 10 * time.Second
)

// Retry tells of a failed attempt after which the client waits and tries again.
type Retry struct {
	Err     error
	Attempt int // the failed attempt's number, from 1
	Wait    time.Duration
	GiveUp  time.Time // when it stops trying
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Endpoint == nil {
		faults = append(faults, errors.New("endpoint: is required"))
	}
	if c.RequestTimeout < 0 {
		faults = append(faults, errors.New("request timeout: is negative"))
	}
	if c.MinBackoff < 0 || c.MaxBackoff < 0 || (c.MaxBackoff > 0 && c.MinBackoff > c.MaxBackoff) {
		faults = append(faults, errors.New("backoff: the least wait is negative or longer than the longest"))
	}
	if c.Compress > CompressNever {
		faults = append(faults, errors.New("compress: not one of the choices"))
	}
	return errors.Join(faults...)
}

// Client sends batches. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
	gzip sync.Pool // of *gzip.Writer

	mu      sync.Mutex // guards current
	current address
}

// New returns a client; nothing is sent yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("event client: %w", err)
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = DefaultRetryFor
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.MinBackoff == 0 {
		cfg.MinBackoff = DefaultMinBackoff
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = max(cfg.MinBackoff, DefaultMaxBackoff)
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "agentmeter"
	}
	transport := cfg.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   10 * time.Second,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       time.Minute,
			ExpectContinueTimeout: time.Second,
		}
	}
	return &Client{
		cfg: cfg,
		http: &http.Client{
			Transport: transport,
			// A redirected POST may arrive as a GET, without its body.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		gzip: sync.Pool{New: func() any {
			w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
			if err != nil {
				panic("eventclient: gzip level: " + err.Error()) // a constant
			}
			return w
		}},
	}, nil
}

// Close gives back the connections that are kept for later.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Connect asks for the endpoint once, so that a wrong one is found before
// anything is prepared.
func (c *Client) Connect(ctx context.Context) error {
	_, err := c.known(ctx)
	return err
}

// BaseURL is where the client sends to just now, "" before the first request.
func (c *Client) BaseURL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current.baseURL
}

// Answer says what became of a batch: Accepted items, and the others, each
// once, in the order of their Index.
type Answer struct {
	Accepted int
	Rejected []api.RejectedItem
}

// maxAnswerBytes bounds an answer: 10,000 rejected items with long details.
const maxAnswerBytes = 64 << 20

// codeTooLarge is the contract's code for an event that is over a limit.
const codeTooLarge = "event_too_large"

// Post sends the batch and returns an answer that accounts for each of its
// items. Where the server finds the batch too large it is sent in halves. The
// errors are *RefusedError, *GaveUpError, ErrAnswer, ctx's, and the endpoint's
// own before the first request.
func (c *Client) Post(ctx context.Context, b *Batch) (Answer, error) {
	return c.post(ctx, b, 0, b.Len())
}

func (c *Client) post(ctx context.Context, b *Batch, from, to int) (Answer, error) {
	n := to - from
	if n == 0 {
		return Answer{}, nil
	}
	var answer Answer
	err := c.retry(ctx, func(ctx context.Context, at address) error {
		var err error
		answer, err = c.postOnce(ctx, at, b.lines(from, to), n)
		return err
	})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusRequestEntityTooLarge {
		return answer, err
	}
	if n == 1 {
		detail := refused.Detail
		if detail == "" {
			detail = "is larger than the server takes"
		}
		return Answer{Rejected: []api.RejectedItem{{Code: codeTooLarge, Detail: detail}}}, nil
	}
	middle := from + n/2
	answer, err = c.post(ctx, b, from, middle)
	if err != nil {
		return Answer{}, err
	}
	rest, err := c.post(ctx, b, middle, to)
	if err != nil {
		// What the first half was answered is not lost: it is sent again with
		// the whole batch, and its ids count once.
		return Answer{}, err
	}
	answer.Accepted += rest.Accepted
	for _, item := range rest.Rejected {
		item.Index += middle - from
		answer.Rejected = append(answer.Rejected, item)
	}
	return answer, nil
}

func (c *Client) postOnce(ctx context.Context, at address, lines []byte, n int) (Answer, error) {
	client, err := c.api(at)
	if err != nil {
		return Answer{}, err
	}
	body, encoding := lines, ""
	if c.cfg.Compress == CompressAlways || (c.cfg.Compress == CompressUnlessLoopback && !at.loopback) {
		body, encoding = c.compressed(lines), "gzip"
	}
	response, err := client.PostEventsWithBody(ctx, "application/x-ndjson", bytes.NewReader(body), func(_ context.Context, request *http.Request) error {
		if encoding != "" {
			request.Header.Set("Content-Encoding", encoding)
		}
		return nil
	})
	if err != nil {
		return Answer{}, err
	}
	content, err := readAnswer(response)
	if err != nil {
		return Answer{}, err
	}
	switch response.StatusCode {
	case http.StatusAccepted:
		var acceptance api.Acceptance
		if err := json.Unmarshal(content, &acceptance); err != nil {
			return Answer{}, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return accountFor(Answer{Accepted: acceptance.Accepted, Rejected: acceptance.Rejected}, n)
	case http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		// Both list every item where it is the items that are at fault.
		var problem api.Problem
		if json.Unmarshal(content, &problem) == nil && problem.Rejected != nil && len(*problem.Rejected) > 0 {
			return accountFor(Answer{Rejected: *problem.Rejected}, n)
		}
	}
	return Answer{}, refusal(response, content)
}

// accountFor refuses an answer that does not mention each of n items exactly
// once.
func accountFor(answer Answer, n int) (Answer, error) {
	if answer.Accepted < 0 || answer.Accepted+len(answer.Rejected) != n {
		return Answer{}, fmt.Errorf("%w: %d events were sent, but %d are reported as accepted and %d as rejected",
			ErrAnswer, n, answer.Accepted, len(answer.Rejected))
	}
	seen := make(map[int]bool, len(answer.Rejected))
	ordered := true
	for i, item := range answer.Rejected {
		if item.Index < 0 || item.Index >= n || seen[item.Index] {
			return Answer{}, fmt.Errorf("%w: event %d of %d is reported as rejected, or reported twice", ErrAnswer, item.Index, n)
		}
		seen[item.Index] = true
		ordered = ordered && (i == 0 || answer.Rejected[i-1].Index < item.Index)
	}
	if !ordered {
		slices.SortFunc(answer.Rejected, func(a, b api.RejectedItem) int { return cmp.Compare(a.Index, b.Index) })
	}
	return answer, nil
}

func (c *Client) compressed(lines []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(lines)/6 + 512)
	w := c.gzip.Get().(*gzip.Writer)
	defer c.gzip.Put(w)
	w.Reset(&out)
	if _, err := w.Write(lines); err != nil {
		panic("eventclient: gzip: " + err.Error()) // a bytes.Buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic("eventclient: gzip: " + err.Error())
	}
	return out.Bytes()
}

// api is the generated client for one endpoint.
func (c *Client) api(at address) (*api.Client, error) {
	return api.NewClient(at.baseURL, api.WithHTTPClient(c.http), api.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		if at.token != "" {
			request.Header.Set("Authorization", "Bearer "+at.token)
		}
		request.Header.Set("Accept", "application/json, application/problem+json")
		request.Header.Set("User-Agent", c.cfg.UserAgent)
		return nil
	}))
}

// readAnswer reads an answer whole. A broken connection is an error here, so
// that half an answer is never taken for one.
func readAnswer(response *http.Response) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	_ = response.Body.Close() // everything that was wanted has been read
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(content) > maxAnswerBytes {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrAnswer, maxAnswerBytes)
	}
	return content, nil
}

func refusal(response *http.Response, content []byte) *RefusedError {
	url := *response.Request.URL
	url.RawQuery = ""
	refused := &RefusedError{
		URL: url.String(), Status: response.StatusCode,
		retryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now()),
	}
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	var problem api.Problem
	if mediaType == "application/problem+json" && json.Unmarshal(content, &problem) == nil {
		refused.Code, refused.Detail, refused.TraceID = problem.Code, problem.Detail, problem.TraceID
	} else if to := response.Header.Get("Location"); to != "" {
		refused.Detail = "it redirects to " + to + "; give that address"
	} else if response.StatusCode < 400 {
		refused.Detail = "that is not what Agentmeter's write side answers; check the address"
	}
	return refused
}

// retry makes attempts until one succeeds, one fails for good, or the time is
// up.
func (c *Client) retry(ctx context.Context, attempt func(context.Context, address) error) error {
	at, err := c.known(ctx)
	if err != nil {
		return err
	}
	backoff := retry.WithCappedDuration(c.cfg.MaxBackoff, retry.WithJitterPercent(25, retry.NewExponential(c.cfg.MinBackoff)))
	var firstFailure time.Time
	renewed := false
	for n := 1; ; n++ {
		if at.baseURL != "" {
			err = c.attemptOnce(ctx, at, attempt)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !renewed && unauthorized(err) {
			// The token may have run out; a new one gets one try at once.
			renewed = true
			if next, askErr := c.ask(ctx); askErr == nil && next != at {
				at = next
				continue
			}
		}
		if !retryable(err) {
			return err
		}
		now := time.Now()
		if firstFailure.IsZero() {
			firstFailure = now
		}
		wait, _ := backoff.Next()
		var refused *RefusedError
		if errors.As(err, &refused) {
			wait = max(wait, refused.retryAfter)
		}
		giveUp := firstFailure.Add(max(0, c.cfg.RetryFor))
		if c.cfg.RetryFor < 0 || now.Add(wait).After(giveUp) {
			return &GaveUpError{Tried: now.Sub(firstFailure), Last: err}
		}
		if c.cfg.OnRetry != nil {
			c.cfg.OnRetry(Retry{Err: err, Attempt: n, Wait: wait, GiveUp: giveUp})
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		if at, err = c.ask(ctx); err != nil {
			err = fmt.Errorf("find the server: %w", err) // it may be about to start again
		}
	}
}

func (c *Client) attemptOnce(ctx context.Context, at address, attempt func(context.Context, address) error) error {
	attemptCtx, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, errAttemptTimeout)
	defer cancel()
	err := attempt(attemptCtx, at)
	if err != nil && errors.Is(context.Cause(attemptCtx), errAttemptTimeout) {
		return fmt.Errorf("%w (%s): %s", errAttemptTimeout, c.cfg.RequestTimeout, at.baseURL)
	}
	return err
}

func unauthorized(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Status == http.StatusUnauthorized
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
