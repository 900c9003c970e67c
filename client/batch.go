package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/klauspost/compress/gzip"

	"agentmeter/schemas/api"
)

// Batch is a run of events as JSON lines, for callers that have them as such. The
// zero value is an empty batch; Reset makes it one again and keeps its memory.
type Batch struct {
	body []byte
	ends []int // ends[i] is where item i's line ends in body, line feed included
}

// AddLine appends one item, a line of JSON without its line feed. It must not be
// blank or contain a line feed: the server would count the items differently.
func (b *Batch) AddLine(line []byte) {
	b.body = append(b.body, line...)
	b.body = append(b.body, '\n')
	b.ends = append(b.ends, len(b.body))
}

// AddFunc appends one item by what write appends to its argument, like AddLine.
func (b *Batch) AddFunc(write func(dst []byte) []byte) {
	b.body = append(write(b.body), '\n')
	b.ends = append(b.ends, len(b.body))
}

// Add appends one event.
func (b *Batch) Add(e api.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %q: %w", e.ID, err)
	}
	b.AddLine(line)
	return nil
}

// Len is the number of items.
func (b *Batch) Len() int { return len(b.ends) }

// Bytes is the size of all items, line feeds included.
func (b *Batch) Bytes() int { return len(b.body) }

// Item returns the line of item i without its line feed. It is valid until
// Reset.
func (b *Batch) Item(i int) []byte {
	return b.body[b.start(i) : b.ends[i]-1 : b.ends[i]-1]
}

// Reset empties the batch.
func (b *Batch) Reset() { b.body, b.ends = b.body[:0], b.ends[:0] }

func (b *Batch) start(i int) int {
	if i == 0 {
		return 0
	}
	return b.ends[i-1]
}

// lines is the body of the items [from, to).
func (b *Batch) lines(from, to int) []byte {
	return b.body[b.start(from):b.ends[to-1]]
}

// codeTooLarge is the contract's code for an event that is over a limit.
const codeTooLarge = "event_too_large"

// Send sends the batch and returns an answer that accounts for each of its items:
// how many Kafka has acknowledged, those that were sent before among them, and
// the others, each once, in the order of their Index. That nothing was acceptable
// is an answer, too. Where the server finds the batch too large it is sent in
// halves.
//
// After an error nothing is known of any item: send the whole batch again, now or
// weeks later. An id counts once.
func (c *Client) Send(ctx context.Context, b *Batch) (api.Acceptance, error) {
	return c.sendItems(ctx, b, 0, b.Len())
}

func (c *Client) sendItems(ctx context.Context, b *Batch, from, to int) (api.Acceptance, error) {
	n := to - from
	if n == 0 {
		return api.Acceptance{}, nil
	}
	var found api.Acceptance
	var lines []byte // of the answer's attempt
	encoding := ""
	err := c.do(ctx, operation{
		safety: writes,
		send: func(ctx context.Context, requests *api.Client, at address) (*http.Response, error) {
			if c.compress == CompressAlways || (c.compress == CompressUnlessLoopback && !at.loopback) {
				if encoding == "" {
					lines, encoding = c.compressed(b.lines(from, to)), "gzip"
				}
			} else {
				lines, encoding = b.lines(from, to), ""
			}
			return requests.PostEventsWithBody(ctx, "application/x-ndjson", bytes.NewReader(lines), func(_ context.Context, request *http.Request) error {
				if encoding != "" {
					request.Header.Set("Content-Encoding", encoding)
				}
				return nil
			})
		},
		take: func(a *answer) error {
			switch a.status {
			case http.StatusAccepted:
				if err := decode(a.content, &found); err != nil {
					return err
				}
				return accountFor(&found, n)
			case http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
				// Both list every item where it is the items that are at fault.
				var problem api.Problem
				if json.Unmarshal(a.content, &problem) == nil && problem.Rejected != nil && len(*problem.Rejected) > 0 {
					found = api.Acceptance{Rejected: *problem.Rejected}
					return accountFor(&found, n)
				}
			}
			return refused(a)
		},
	})
	if err == nil {
		return found, nil
	}
	var problem *Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusRequestEntityTooLarge {
		return api.Acceptance{}, err
	}
	if n == 1 {
		detail := problem.Detail
		if detail == "" {
			detail = "is larger than the server takes"
		}
		return api.Acceptance{Rejected: []api.RejectedItem{{Code: codeTooLarge, Detail: detail}}}, nil
	}
	middle := from + n/2
	found, err = c.sendItems(ctx, b, from, middle)
	if err != nil {
		return api.Acceptance{}, err
	}
	rest, err := c.sendItems(ctx, b, middle, to)
	if err != nil {
		// What the first half was answered is not lost: it is sent again with
		// the whole batch, and its ids count once.
		return api.Acceptance{}, err
	}
	return joined(found, rest, middle-from), nil
}

// joined is the answer to two runs of items, the second of which begins at index.
func joined(found, rest api.Acceptance, index int) api.Acceptance {
	found.Accepted += rest.Accepted
	for _, item := range rest.Rejected {
		item.Index += index
		found.Rejected = append(found.Rejected, item)
	}
	return found
}

// accountFor refuses an answer that does not mention each of n items exactly
// once.
func accountFor(found *api.Acceptance, n int) error {
	if found.Accepted < 0 || found.Accepted+len(found.Rejected) != n {
		return fmt.Errorf("%w: %d events were sent, but %d are reported as accepted and %d as rejected",
			ErrAnswer, n, found.Accepted, len(found.Rejected))
	}
	seen := make(map[int]bool, len(found.Rejected))
	ordered := true
	for i, item := range found.Rejected {
		if item.Index < 0 || item.Index >= n || seen[item.Index] {
			return fmt.Errorf("%w: event %d of %d is reported as rejected, or reported twice", ErrAnswer, item.Index, n)
		}
		seen[item.Index] = true
		ordered = ordered && (i == 0 || found.Rejected[i-1].Index < item.Index)
	}
	if !ordered {
		slices.SortFunc(found.Rejected, func(a, b api.RejectedItem) int { return cmp.Compare(a.Index, b.Index) })
	}
	return nil
}

func (c *Client) compressed(lines []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(lines)/6 + 512)
	w := c.gzip.Get().(*gzip.Writer)
	defer c.gzip.Put(w)
	w.Reset(&out)
	if _, err := w.Write(lines); err != nil {
		panic("client: gzip: " + err.Error()) // a bytes.Buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic("client: gzip: " + err.Error())
	}
	return out.Bytes()
}
