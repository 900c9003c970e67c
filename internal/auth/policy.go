package auth

import "net/http"

// Policy is what a route asks of its callers.
type Policy struct {
	// Scope that a token needs. A route without one is public.
	Scope Scope
	// Also tells which scope a request needs beside Scope, by what it asks for;
	// "" is none. Nil: never any.
	Also func(*http.Request) Scope
	// Workspace tells where the request names the workspace that the token must
	// cover; nil: it does not, or in its body.
	Workspace func(*http.Request) []string
	// Cookie: the page's session is accepted too. Only for reading: GET requests
	// change nothing, so no other site gains from having a browser send one.
	Cookie bool
	// LoopbackOpen: a caller on this machine needs no token.
	LoopbackOpen bool
}

func workspaceInPath(r *http.Request) []string { return []string{r.PathValue("ws")} }

func workspaceInQuery(r *http.Request) []string { return r.URL.Query()["workspace"] }

// opsToExplain: how an answer was made tells of tables and load, and is for
// operators. A value that is none is no way round.
func opsToExplain(r *http.Request) Scope {
	for _, value := range r.URL.Query()["explain"] {
		if value != "0" {
			return OpsRead
		}
	}
	return ""
}

var (
	public        = Policy{}
	directory     = Policy{Scope: DirectoryWrite, Workspace: workspaceInPath}
	usage         = Policy{Scope: UsageRead, Workspace: workspaceInQuery, Cookie: true}
	explained     = Policy{Scope: UsageRead, Also: opsToExplain, Workspace: workspaceInQuery, Cookie: true}
	workspacePage = Policy{Scope: UsageRead, Workspace: workspaceInPath, Cookie: true}
)

// policies has a line for every route of the contract. A route without one
// stops the program at start.
var policies = map[string]Policy{
	"POST /v1/events":                         {Scope: EventsWrite},
	"POST /v1/adjustments":                    {Scope: AdjustmentsWrite},
	"PUT /v1/workspaces/{ws}":                 directory,
	"PUT /v1/workspaces/{ws}/agents/{id}":     directory,
	"DELETE /v1/workspaces/{ws}/agents/{id}":  directory,
	"PUT /v1/workspaces/{ws}/members/{id}":    directory,
	"DELETE /v1/workspaces/{ws}/members/{id}": directory,
	"POST /v1/sessions":                       {Scope: UsageRead},
	"GET /session/{code}":                     public,
	"GET /v1/workspaces/{ws}":                 workspacePage,
	"GET /v1/agents":                          usage,
	"GET /v1/usage/dashboard":                 explained,
	"GET /v1/usage/agents":                    explained,
	"GET /v1/usage/export.csv":                usage,
	"GET /v1/usage/breakdown":                 explained,
	"GET /v1/usage/live":                      usage,
	"GET /v1/usage/reconcile":                 usage,
	pagePattern:                               workspacePage,
	"GET /w/{ws}/usage/figures":               workspacePage,
	"GET /w/{ws}/usage/proof":                 workspacePage,
	"GET /healthz":                            public,
	"GET /readyz":                             public,
	"GET /metrics":                            {Scope: OpsRead, LoopbackOpen: true},
	"GET /openapi.yaml":                       public,
}
