// Package client speaks to Agentmeter over HTTP: it sends usage events, states
// workspaces, agents and members, and reads the figures.
//
//	c, err := client.New("http://127.0.0.1:8080", client.WithToken(token))
//	if err != nil {
//		return err
//	}
//	answer, err := c.Dashboard(ctx, api.GetDashboardParams{
//		Workspace: "ws_acme", Range: new(api.Preset30Days),
//	})
//
// Parameters and answers are the types of [agentmeter/schemas/api], which are
// generated from schemas/openapi.yaml, so what the contract gains is here too.
// Credits and counts of answers are decimal strings, exact at any size; what one
// event cost is a [schemas.Credits]. Nothing here turns either into a float.
// An answer says itself whether it is complete: look at Completeness, at the
// State of a bar, and take nil for unknown, never for zero.
//
// # Errors
//
// What the server refuses is a [*Problem], the problem document with its stable
// Code. A request that was tried until the client had no patience left is a
// [*GaveUpError] around the last failure. An answer that is not what the contract
// says is an [ErrAnswer]. All of them are found by errors.As and errors.Is, and
// none carries the token. A context's end is its own cause.
//
// # What is tried again
//
// Reading, sending events, adjustments and directory changes are tried again
// after a broken connection, after a time-out, and after 429, 502, 503 and 504,
// never after another 4xx. All of them are safe to send twice: an id counts once,
// and stating the same twice changes nothing. Writes are tried again after every
// other 5xx, too, because the write may have been lost with it, while a read that
// failed by a fault of the server's will fail again. CreateSession is sent once.
//
// Waits grow exponentially with jitter, a longer Retry-After is honoured, and
// [Retries] bounds the attempts and the time. A wait that would outlive the
// context's deadline is not begun.
//
// A Client is safe for concurrent use.
package client
