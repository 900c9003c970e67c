package eventclient

import (
	"context"
	"net/http"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// PutWorkspace states a workspace's settings. Like the other directory calls
// it is tried again as Post is: stating the same twice changes nothing.
func (c *Client) PutWorkspace(ctx context.Context, ws schemas.WorkspaceID, settings api.WorkspaceSettings) error {
	return c.change(ctx, func(ctx context.Context, client *api.Client) (*http.Response, error) {
		return client.PutWorkspace(ctx, string(ws), settings)
	})
}

// PutAgent registers or renames an agent.
func (c *Client) PutAgent(ctx context.Context, ws schemas.WorkspaceID, id schemas.AgentID, name string) error {
	return c.change(ctx, func(ctx context.Context, client *api.Client) (*http.Response, error) {
		return client.PutAgent(ctx, string(ws), string(id), api.EntityName{Name: name})
	})
}

// DeleteAgent removes an agent; its history stays.
func (c *Client) DeleteAgent(ctx context.Context, ws schemas.WorkspaceID, id schemas.AgentID) error {
	return c.change(ctx, func(ctx context.Context, client *api.Client) (*http.Response, error) {
		return client.DeleteAgent(ctx, string(ws), string(id))
	})
}

// PutMember registers or renames a team member.
func (c *Client) PutMember(ctx context.Context, ws schemas.WorkspaceID, id, name string) error {
	return c.change(ctx, func(ctx context.Context, client *api.Client) (*http.Response, error) {
		return client.PutMember(ctx, string(ws), id, api.EntityName{Name: name})
	})
}

func (c *Client) change(ctx context.Context, send func(context.Context, *api.Client) (*http.Response, error)) error {
	return c.retry(ctx, func(ctx context.Context, at address) error {
		client, err := c.api(at)
		if err != nil {
			return err
		}
		response, err := send(ctx, client)
		if err != nil {
			return err
		}
		content, err := readAnswer(response)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusAccepted {
			return refusal(response, content)
		}
		return nil
	})
}
