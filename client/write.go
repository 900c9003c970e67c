package client

import (
	"context"
	"fmt"
	"net/http"

	"agentmeter/schemas/api"
)

// What one request of SendEvents holds at most: the contract's number of events,
// and half of its size, since limits are the server's to set.
const (
	maxRequestEvents = 10_000
	maxRequestBytes  = 8 << 20
)

// SendEvents sends any number of events, in as many requests as it takes, and
// returns an answer that accounts for each of them: how many Kafka has
// acknowledged, those that were sent before among them, and the others, each
// once, in the order of their Index in events. An event that is rejected does not
// keep the others from counting, and is no error.
//
// After an error nothing is known of any event: send all of them again, now or
// weeks later. An id counts once.
func (c *Client) SendEvents(ctx context.Context, events []api.Event) (api.Acceptance, error) {
	var found api.Acceptance
	var b Batch
	begin := 0
	for i := range events {
		if err := b.Add(events[i]); err != nil {
			return api.Acceptance{}, err
		}
		if i+1 < len(events) && b.Len() < maxRequestEvents && b.Bytes() < maxRequestBytes {
			continue
		}
		part, err := c.Send(ctx, &b)
		if err != nil {
			return api.Acceptance{}, err
		}
		found = joined(found, part, begin)
		begin = i + 1
		b.Reset()
	}
	return found, nil
}

// Adjust corrects the figures by a signed amount. It returns once Kafka has
// acknowledged the adjustment, which is counted once by its id.
func (c *Client) Adjust(ctx context.Context, adjustment api.Adjustment) error {
	var found api.Acceptance
	err := c.do(ctx, operation{
		safety: writes,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			return requests.PostAdjustment(ctx, adjustment)
		},
		take: answers(http.StatusAccepted, &found),
	})
	if err == nil && found.Accepted != 1 {
		err = fmt.Errorf("%w: one adjustment was sent, but %d are reported as accepted", ErrAnswer, found.Accepted)
	}
	return err
}

// PutWorkspace states all settings of a workspace: what is nil goes back to its
// default. Past ranges keep the settings of their time. The receipt says from when
// on the change holds.
func (c *Client) PutWorkspace(ctx context.Context, workspace string, settings api.WorkspaceSettings) (api.DirectoryReceipt, error) {
	return c.change(ctx, []string{workspace}, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.PutWorkspace(ctx, workspace, settings)
	})
}

// PutAgent registers or renames an agent, which occupies a slot from now on.
func (c *Client) PutAgent(ctx context.Context, workspace, agent, name string) (api.DirectoryReceipt, error) {
	return c.change(ctx, []string{workspace, agent}, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.PutAgent(ctx, workspace, agent, api.EntityName{Name: name})
	})
}

// DeleteAgent removes an agent: its slot is freed, its history stays. Removing
// what is not there changes nothing.
func (c *Client) DeleteAgent(ctx context.Context, workspace, agent string) (api.DirectoryReceipt, error) {
	return c.change(ctx, []string{workspace, agent}, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.DeleteAgent(ctx, workspace, agent)
	})
}

// PutMember registers or renames a team member.
func (c *Client) PutMember(ctx context.Context, workspace, member, name string) (api.DirectoryReceipt, error) {
	return c.change(ctx, []string{workspace, member}, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.PutMember(ctx, workspace, member, api.EntityName{Name: name})
	})
}

// DeleteMember removes a team member. Removing who is not there changes nothing.
func (c *Client) DeleteMember(ctx context.Context, workspace, member string) (api.DirectoryReceipt, error) {
	return c.change(ctx, []string{workspace, member}, func(ctx context.Context, requests *api.Client) (*http.Response, error) {
		return requests.DeleteMember(ctx, workspace, member)
	})
}

func (c *Client) change(ctx context.Context, ids []string, send func(context.Context, *api.Client) (*http.Response, error)) (api.DirectoryReceipt, error) {
	if err := checkIDs(ids...); err != nil {
		return api.DirectoryReceipt{}, err
	}
	var receipt api.DirectoryReceipt
	err := c.do(ctx, operation{
		safety: writes,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			return send(ctx, requests)
		},
		take: answers(http.StatusAccepted, &receipt),
	})
	return receipt, err
}

// CreateSession makes a link that opens the page signed in, once, within 60
// seconds. The workspace may be empty for a token that covers only one. It is not
// tried again, because each call makes another link.
func (c *Client) CreateSession(ctx context.Context, workspace string) (api.SessionLink, error) {
	var request api.SessionRequest
	if workspace != "" {
		request.WorkspaceID = &workspace
	}
	var link api.SessionLink
	err := c.do(ctx, operation{
		safety: onceOnly,
		send: func(ctx context.Context, requests *api.Client, _ address) (*http.Response, error) {
			return requests.PostSession(ctx, request)
		},
		take: answers(http.StatusCreated, &link),
	})
	return link, err
}
