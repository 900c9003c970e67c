package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
)

// Guard stands in front of routes and lets through who may pass.
type Guard struct {
	tokens   Verifier
	sessions *Sessions
	denied   func(status int) http.Handler // nil: problem documents everywhere
}

// NewGuard checks Bearer tokens with tokens and the page's cookies with
// sessions, which may be nil where no route takes them.
func NewGuard(tokens Verifier, sessions *Sessions) *Guard {
	return &Guard{tokens: Remember(tokens), sessions: sessions}
}

// DenyPage has people who open the page without access see denied(status)
// instead of a problem document. Call it before Mux.
func (g *Guard) DenyPage(denied func(status int) http.Handler) { g.denied = denied }

// Mux returns mux with the guard in front of every route that is added
// through it. A pattern that the contract does not know panics: it is a mistake
// of the program's, and an unguarded route would be worse.
func (g *Guard) Mux(mux httpapi.Mux) httpapi.Mux { return guardedMux{Mux: mux, guard: g} }

type guardedMux struct {
	httpapi.Mux

	guard *Guard
}

func (m guardedMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	policy, known := policies[pattern]
	if !known {
		panic(fmt.Sprintf("auth: no policy for the route %q", pattern))
	}
	m.Mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		admitted, err := m.guard.admit(r, policy)
		var problem *httpapi.Problem
		switch {
		case err == nil:
			handler(w, admitted)
		case pattern == pagePattern && m.guard.denied != nil && wantsHTML(r) && errors.As(err, &problem):
			if problem.Status == http.StatusUnauthorized {
				if limited := httpapi.AttemptFailed(r); limited != nil {
					httpapi.WriteError(w, r, limited)
					return
				}
			}
			m.guard.denied(problem.Status).ServeHTTP(w, r)
		default:
			httpapi.WriteError(w, r, err)
		}
	})
}

// pagePattern is the page itself, which says in its own words why it shows nothing.
const pagePattern = "GET /w/{ws}/usage"

// wantsHTML: a person's browser asks, not a program.
func wantsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// admit checks a request in the order of the contract.
func (g *Guard) admit(r *http.Request, policy Policy) (*http.Request, error) {
	if policy.Scope == "" {
		return r, nil
	}
	if policy.LoopbackOpen && r.Header.Get("Authorization") == "" && httpapi.FromLoopback(r) {
		return r, nil
	}
	access, err := g.authenticate(r, policy.Cookie)
	if err != nil {
		return nil, err
	}
	if !access.Has(policy.Scope) {
		return nil, scopeMissing(policy.Scope)
	}
	if policy.Also != nil {
		if also := policy.Also(r); also != "" && !access.Has(also) {
			return nil, scopeMissing(also)
		}
	}
	if policy.Workspace != nil {
		names := policy.Workspace(r)
		for _, name := range names {
			if !access.Covers(schemas.WorkspaceID(name)) {
				return nil, httpapi.ErrNotFound
			}
		}
		// Which of two a handler would read is nothing to guess about.
		if len(names) > 1 {
			return nil, httpapi.InvalidParameter("workspace", "parameter_repeated", "is given more than once")
		}
	}
	return r.WithContext(WithAccess(r.Context(), access)), nil
}

func scopeMissing(scope Scope) *httpapi.Problem {
	return &httpapi.Problem{
		Status: http.StatusForbidden, Code: "scope_missing",
		Detail:  fmt.Sprintf("The token lacks the scope %q.", scope),
		Headers: map[string]string{"WWW-Authenticate": fmt.Sprintf(`Bearer realm="agentmeter", error="insufficient_scope", scope=%q`, scope)},
	}
}

// authenticate takes the Bearer token or, where it is allowed and no token was
// sent, the session.
func (g *Guard) authenticate(r *http.Request, cookie bool) (Access, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		if cookie && g.sessions != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			access, found, err := g.sessions.access(r)
			if err != nil {
				return Access{}, unauthorized(err, "session")
			}
			if found {
				return access, nil
			}
		}
		return Access{}, &httpapi.Problem{
			Status: http.StatusUnauthorized, Code: "token_missing",
			Detail:  "Send an access token as Authorization: Bearer.",
			Headers: map[string]string{"WWW-Authenticate": `Bearer realm="agentmeter"`},
		}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Access{}, unauthorized(fmt.Errorf("%w: not one Authorization: Bearer header", ErrTokenInvalid), "token")
	}
	access, err := g.tokens.Verify(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return Access{}, unauthorized(err, "token")
	}
	return access, nil
}

// unauthorized is 401 for a token or session that does not hold. Why exactly
// is for the log: a forger learns nothing from it.
func unauthorized(err error, what string) *httpapi.Problem {
	problem := &httpapi.Problem{
		Status: http.StatusUnauthorized, Code: what + "_invalid",
		Detail:  fmt.Sprintf("The %s is not valid.", what),
		Headers: map[string]string{"WWW-Authenticate": `Bearer realm="agentmeter", error="invalid_token"`},
		Cause:   err,
	}
	if what == "link" { // whoever follows one is a person
		problem.Detail = "This link is not valid any more: it can be used once, within a minute. Go back to where you got it, and ask for another."
	}
	if errors.Is(err, ErrTokenExpired) {
		problem.Code, problem.Detail = what+"_expired", fmt.Sprintf("The %s has expired.", what)
		problem.Headers["WWW-Authenticate"] = `Bearer realm="agentmeter", error="invalid_token", error_description="expired"`
	}
	return problem
}
