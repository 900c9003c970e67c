package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"agentmeter/internal/httpapi"
	"agentmeter/schemas"
	"agentmeter/schemas/api"
)

// The page's cookie. Where it is Secure it carries the prefix that keeps any
// other host from setting it.
const (
	cookieName       = "agentmeter_session"
	secureCookieName = "__Host-" + cookieName
)

// maxSessionBody bounds the body of POST /v1/sessions.
const maxSessionBody = 4 << 10

// SessionConfig of the page's sessions.
type SessionConfig struct {
	// PageURL is where people's browsers reach the page, such as
	// https://usage.example.com. Empty: where the request for the link arrived.
	PageURL string
	// Embedded: the page is shown in frames of other sites, so its cookie must
	// be sent there; this needs https.
	Embedded bool
	// LinkTTL is how long a one-time link works.
	LinkTTL time.Duration
	// TTL is how long a session lasts.
	TTL time.Duration
	// MaxLinks bounds how many used links are remembered, which is how many can
	// be redeemed within LinkTTL.
	MaxLinks int
}

// DefaultSessionConfig is for a page that stands on its own.
func DefaultSessionConfig() SessionConfig {
	return SessionConfig{LinkTTL: time.Minute, TTL: time.Hour, MaxLinks: 100_000}
}

// Validate reports everything that is wrong.
func (c SessionConfig) Validate() error {
	var faults []error
	if c.PageURL != "" {
		parsed, err := url.Parse(c.PageURL)
		switch {
		case err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http"):
			faults = append(faults, fmt.Errorf("--page-url: %q is not an http or https URL, such as https://usage.example.com", c.PageURL))
		case parsed.RawQuery != "" || parsed.Fragment != "":
			faults = append(faults, fmt.Errorf("--page-url: %q has a query or a fragment; leave it out", c.PageURL))
		case c.Embedded && parsed.Scheme != "https":
			faults = append(faults, fmt.Errorf("--page-url: %q is embedded by the sites of --page-embed, which needs https", c.PageURL))
		}
	}
	if c.LinkTTL <= 0 || c.LinkTTL > time.Hour {
		faults = append(faults, fmt.Errorf("link ttl %v: must be positive and at most an hour", c.LinkTTL))
	}
	if c.TTL <= 0 || c.TTL > 30*24*time.Hour {
		faults = append(faults, fmt.Errorf("--session-ttl: %v is not between 1s and 720h (30 days)", c.TTL))
	}
	if c.MaxLinks < 1 {
		faults = append(faults, fmt.Errorf("max links %d: at least 1", c.MaxLinks))
	}
	return errors.Join(faults...)
}

// Sessions signs browsers in by one-time links. Links and cookies are signed,
// not stored; only the links used within their short life are remembered, by
// the process that redeemed them: a second process, or the same one restarted
// within that minute, would take a link once more.
type Sessions struct {
	config SessionConfig
	key    Key
	page   *url.URL // nil: ask the request
	links  *tokenVerifier
	pages  *tokenVerifier

	mu   sync.Mutex           // guards used
	used map[string]time.Time // link id → when it expires
}

// NewSessions makes the sessions of one key.
func NewSessions(config SessionConfig, key Key) (*Sessions, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Sessions{
		config: config, key: key, links: key.verifier(linkAudience), pages: key.verifier(pageAudience),
		used: make(map[string]time.Time),
	}
	if config.PageURL != "" {
		page, err := url.Parse(strings.TrimRight(config.PageURL, "/"))
		if err != nil {
			return nil, fmt.Errorf("page url: %w", err)
		}
		s.page = page
	}
	return s, nil
}

// MountLinks adds POST /v1/sessions, which both sides serve.
func (s *Sessions) MountLinks(mux httpapi.Mux) { mux.HandleFunc("POST /v1/sessions", s.serveLink) }

// MountPages adds GET /session/{code}, which the side that serves the page has.
func (s *Sessions) MountPages(mux httpapi.Mux) { mux.HandleFunc("GET /session/{code}", s.serveRedeem) }

// Link makes a one-time link to a workspace's page, below base where no page
// URL is configured.
func (s *Sessions) Link(base string, workspace schemas.WorkspaceID) (api.SessionLink, error) {
	if s.page != nil {
		base = s.page.String()
	}
	code, err := s.key.mint(Grant{Workspace: workspace, Scopes: []Scope{UsageRead}, TTL: s.config.LinkTTL}, linkAudience)
	if err != nil {
		return api.SessionLink{}, err
	}
	return api.SessionLink{
		URL:       strings.TrimRight(base, "/") + "/session/" + code,
		ExpiresAt: time.Now().Add(s.config.LinkTTL).UTC().Truncate(time.Second),
	}, nil
}

func (s *Sessions) serveLink(w http.ResponseWriter, r *http.Request) {
	var asked api.SessionRequest
	if err := httpapi.ReadJSON(w, r, maxSessionBody, &asked); err != nil && !errors.Is(err, httpapi.ErrNoBody) {
		httpapi.WriteError(w, r, err)
		return
	}
	access := AccessFrom(r.Context())
	workspace := access.Workspace
	if asked.WorkspaceID != nil {
		workspace = schemas.WorkspaceID(*asked.WorkspaceID)
	}
	if !access.Covers(workspace) {
		httpapi.WriteError(w, r, httpapi.ErrNotFound)
		return
	}
	if workspace == schemas.AllWorkspaces {
		httpapi.WriteError(w, r, httpapi.Invalid(schemas.FieldError{
			Field: "workspace_id", Code: "workspace_id_missing",
			Detail: "is required, because the token covers every workspace and a session covers one",
		}))
		return
	}
	if fault := schemas.ValidateID("workspace_id", string(workspace)); fault != nil {
		httpapi.WriteError(w, r, httpapi.Invalid(*fault))
		return
	}
	scheme := "http"
	if overHTTPS(r) {
		scheme = "https"
	}
	link, err := s.Link(scheme+"://"+r.Host, workspace)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	httpapi.WriteJSON(w, r, http.StatusCreated, link)
}

func (s *Sessions) serveRedeem(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		// Programs that look a link over before a person opens it must not use it up.
		httpapi.WriteError(w, r, &httpapi.Problem{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "This resource takes GET.", Headers: map[string]string{"Allow": "GET"},
		})
		return
	}
	workspace, err := s.redeem(r.Context(), r.PathValue("code"))
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	session, err := s.key.mint(Grant{Workspace: workspace, Scopes: []Scope{UsageRead}, TTL: s.config.TTL}, pageAudience)
	if err != nil {
		httpapi.WriteError(w, r, err)
		return
	}
	cookie := &http.Cookie{
		Name: cookieName, Value: session, Path: "/", HttpOnly: true,
		MaxAge: int(s.config.TTL / time.Second), SameSite: http.SameSiteLaxMode,
	}
	if s.secure(r) {
		cookie.Name, cookie.Secure = secureCookieName, true
	}
	if s.config.Embedded {
		cookie.SameSite, cookie.Partitioned = http.SameSiteNoneMode, true
	}
	http.SetCookie(w, cookie)
	prefix := ""
	if s.page != nil {
		prefix = s.page.EscapedPath()
	}
	w.Header().Set("Location", prefix+"/w/"+url.PathEscape(string(workspace))+"/usage")
	w.WriteHeader(http.StatusSeeOther)
}

// redeem uses a link's code up.
func (s *Sessions) redeem(ctx context.Context, code string) (schemas.WorkspaceID, error) {
	access, said, err := s.links.verify(ctx, code)
	if err == nil && said.ID == "" {
		err = fmt.Errorf("%w: it has no id", ErrTokenInvalid)
	}
	if err != nil {
		return "", unauthorized(err, "link")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.used) >= s.config.MaxLinks {
		for id, expires := range s.used {
			if expires.Before(now) {
				delete(s.used, id)
			}
		}
		if len(s.used) >= s.config.MaxLinks {
			return "", httpapi.Unavailable("sessions_busy", "Too many people are signing in at this moment.", s.config.LinkTTL, nil)
		}
	}
	if _, again := s.used[said.ID]; again {
		return "", unauthorized(fmt.Errorf("%w: it was used before", ErrTokenInvalid), "link")
	}
	s.used[said.ID] = access.Expires
	return access.Workspace, nil
}

// access reads the session's cookie. found is false where there is none.
func (s *Sessions) access(r *http.Request) (access Access, found bool, err error) {
	cookie, err := r.Cookie(secureCookieName)
	if errors.Is(err, http.ErrNoCookie) && !s.secure(r) {
		cookie, err = r.Cookie(cookieName)
	}
	if err != nil {
		return Access{}, false, nil //nolint:nilerr // no cookie is no error
	}
	access, err = s.pages.Verify(r.Context(), cookie.Value)
	if err != nil {
		return Access{}, true, err
	}
	return access, true, nil
}

func (s *Sessions) mustBeSecure() bool {
	return s.config.Embedded || (s.page != nil && s.page.Scheme == "https")
}

func (s *Sessions) secure(r *http.Request) bool { return s.mustBeSecure() || overHTTPS(r) }

// overHTTPS reports whether the browser's side of the connection is https. A
// forged header can only make the cookie stricter.
func overHTTPS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}
