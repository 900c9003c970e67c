package eventclient

import (
	"context"

	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// PutWorkspace states a workspace's settings. Like the other directory calls
// it is tried again as Post is: stating the same twice changes nothing.
func (c *Client) PutWorkspace(ctx context.Context, ws schemas.WorkspaceID, settings api.WorkspaceSettings) error {
	_, err := c.Client.PutWorkspace(ctx, string(ws), settings)
	return err
}

// PutAgent registers or renames an agent.
func (c *Client) PutAgent(ctx context.Context, ws schemas.WorkspaceID, id schemas.AgentID, name string) error {
	_, err := c.Client.PutAgent(ctx, string(ws), string(id), name)
	return err
}

// DeleteAgent removes an agent; its history stays.
func (c *Client) DeleteAgent(ctx context.Context, ws schemas.WorkspaceID, id schemas.AgentID) error {
	_, err := c.Client.DeleteAgent(ctx, string(ws), string(id))
	return err
}

// PutMember registers or renames a team member.
func (c *Client) PutMember(ctx context.Context, ws schemas.WorkspaceID, id, name string) error {
	_, err := c.Client.PutMember(ctx, string(ws), id, name)
	return err
}
