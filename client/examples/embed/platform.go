package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"html/template"
	"log"
	"net/http"
	"sync"
	"time"

	"agentmeter/client"
)

//go:embed web/*.gohtml
var templates embed.FS

//go:embed web/*.css web/*.js
var assets embed.FS

var pages = template.Must(template.ParseFS(templates, "web/*.gohtml"))

// platform is the app. Its sign-in is a toy; what matters is that the workspace
// comes from who is signed in, and never from the browser.
type platform struct {
	*http.ServeMux
	agentmeter *client.Client
	page       string // origin of the Usage page
	renew      time.Duration
	workspaces map[string]string // by user

	mu       sync.Mutex        // guards signedIn
	signedIn map[string]string // session → user
}

func newPlatform(c *client.Client, page string, renew time.Duration, workspaces map[string]string) *platform {
	p := &platform{
		ServeMux: http.NewServeMux(), agentmeter: c, page: page, renew: renew, workspaces: workspaces,
		signedIn: map[string]string{},
	}
	p.HandleFunc("GET /{$}", p.showSignIn)
	p.HandleFunc("POST /sign-in", p.signIn)
	p.HandleFunc("GET /usage", p.showUsage)
	p.HandleFunc("GET /usage/frame", p.openFrame)
	p.Handle("GET /web/", http.FileServerFS(assets))
	return p
}

// patience is how long somebody waits for a link.
const patience = 10 * time.Second

const cookieName = "__Host-platform"

func (p *platform) userOf(r *http.Request) string {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signedIn[cookie.Value]
}

func (p *platform) showSignIn(w http.ResponseWriter, _ *http.Request) {
	p.write(w, "sign-in.gohtml", p.workspaces)
}

func (p *platform) signIn(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	if p.workspaces[user] == "" {
		http.Error(w, "Nobody of that name may sign in.", http.StatusForbidden)
		return
	}
	session := rand.Text()
	p.mu.Lock()
	p.signedIn[session] = user
	p.mu.Unlock()
	// Lax: a page of another site that frames /usage/frame gets no session.
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: session, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/usage", http.StatusSeeOther)
}

// showUsage is the app's own page around the frame. The frame's address is the
// app's, so the page holds nothing that could be passed on, and can be reloaded.
func (p *platform) showUsage(w http.ResponseWriter, r *http.Request) {
	user := p.userOf(r)
	if user == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	p.write(w, "usage.gohtml", struct {
		User  string
		Renew int64
	}{user, p.renew.Milliseconds()})
}

// openFrame makes a link that signs the frame in, once and within a minute, for
// the workspace of whoever is signed in here, and leads the frame to it.
func (p *platform) openFrame(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	user := p.userOf(r)
	if user == "" {
		http.Error(w, "Sign in first.", http.StatusUnauthorized)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	link, err := p.agentmeter.CreateSession(ctx, p.workspaces[user])
	if err != nil {
		log.Printf("no link to the Usage page of %s: %v", p.workspaces[user], err)
		http.Error(w, "Usage can’t be shown at the moment. Reload the page to try again.", http.StatusBadGateway)
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, link.URL, http.StatusSeeOther)
}

func (p *platform) write(w http.ResponseWriter, name string, data any) {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// The frame begins at this app and is led to the page, so both may be in it.
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; frame-src 'self' "+p.page+"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = body.WriteTo(w)
}
