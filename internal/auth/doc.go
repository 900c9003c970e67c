// Package auth decides who may do what: access tokens, their scopes and
// workspace, the page's sessions, and the guard in front of every route.
//
// In flow requests with a Bearer token or a session cookie; handlers receive
// only those that may pass, with the Access in their context. The order is
// always the same: 401 for no valid token, 403 for a missing scope, 404 for a
// workspace that the token does not cover. That 404 involves no look-up, so it
// is the same answer after the same work whether the workspace exists or not.
//
// When things break: no key, no service; an unknown route has no policy and
// stops the program at start; a key set that cannot be fetched leaves the last
// one in use.
package auth
