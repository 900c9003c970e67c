package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"agentmeter/schemas"
)

// Scope is one thing that a token allows.
type Scope string

// The scopes.
const (
	EventsWrite      Scope = "events:write"      // send events
	EventsImport     Scope = "events:import"     // send events of any age
	AdjustmentsWrite Scope = "adjustments:write" // correct figures
	DirectoryWrite   Scope = "directory:write"   // state workspaces, agents and members
	UsageRead        Scope = "usage:read"        // read usage
	OpsRead          Scope = "ops:read"          // read metrics, and how answers are made
)

// Scopes lists them all.
var Scopes = []Scope{EventsWrite, EventsImport, AdjustmentsWrite, DirectoryWrite, UsageRead, OpsRead}

// ParseScopes reads scopes separated by commas or spaces, as a person writes
// them. An unknown one is an error.
func ParseScopes(text string) ([]Scope, error) {
	var scopes []Scope
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		scope := Scope(name)
		if !slices.Contains(Scopes, scope) {
			return nil, fmt.Errorf("unknown scope %q; there are %v", name, Scopes)
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	if len(scopes) == 0 {
		return nil, fmt.Errorf("no scope; there are %v", Scopes)
	}
	return scopes, nil
}

// Access is what a verified token or session allows.
type Access struct {
	Subject   string
	Workspace schemas.WorkspaceID // or AllWorkspaces
	Scopes    []Scope
	Expires   time.Time
}

// Has reports whether the scope was granted.
func (a Access) Has(scope Scope) bool { return slices.Contains(a.Scopes, scope) }

// Covers reports whether the workspace is within reach.
func (a Access) Covers(workspace schemas.WorkspaceID) bool {
	return a.Workspace == schemas.AllWorkspaces || a.Workspace == workspace
}

type accessKey struct{}

// WithAccess returns ctx carrying the access.
func WithAccess(ctx context.Context, access Access) context.Context {
	return context.WithValue(ctx, accessKey{}, access)
}

// AccessFrom is the access of the request that ctx belongs to. On public
// routes it is the zero Access, which allows nothing.
func AccessFrom(ctx context.Context) Access {
	access, _ := ctx.Value(accessKey{}).(Access)
	return access
}
