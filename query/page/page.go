// Package page serves the Usage dashboard: one static HTML file for every workspace and the hashed assets it
// loads, both embedded in the binary from the committed build in dist.
//
// In flow requests for /w/{workspace}/usage and /assets/…; out flow bytes that were fixed when the binary was
// built, or when it was started with options for the page's looks. The page itself holds no data and needs no access: the browser asks the query service for the figures,
// with the cookie that it has. So nothing here can fail at run time, and nothing here can leak.
//
// For browsers without scripts, and for the proof that the page links to, it writes answers of the query service
// as tables (noscript.go); the service decides who may have them.
//
// The sources are in src; `npm run build` makes dist and `npm run verify` proves that dist is what they make.
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"agentmeter/internal/httpapi"
)

//go:embed all:dist
var dist embed.FS

const (
	// Route is the pattern of the page itself.
	Route = "/w/{ws}/usage"
	// AssetsPrefix is where the page's scripts, styles and icon lie. They are the same for everyone and need
	// no access.
	AssetsPrefix = "/assets/"
)

// Options say how the page may be used.
type Options struct {
	// FrameAncestors lists the origins whose pages may show this one in a frame, as sources of a content
	// security policy, for example "https://app.example.com". Empty means that nobody may.
	FrameAncestors []string
	// TimeFormat is 12h or 24h for everybody; auto, or nothing, is as each reader's locale has it.
	TimeFormat string
	// Accent and AccentDark are the colours of links and of what is chosen in light and in dark mode, as #rrggbb;
	// nothing is the page's own.
	Accent, AccentDark string
}

// Validate reports all that is wrong with the options.
func (o Options) Validate() error {
	var faults []error
	for _, source := range o.FrameAncestors {
		faults = append(faults, embedder(source))
	}
	switch o.TimeFormat {
	case "", "auto", "12h", "24h":
	default:
		faults = append(faults, fmt.Errorf("--page-time-format: %q is none of auto, 12h and 24h", o.TimeFormat))
	}
	faults = append(faults, lightMode.check(o.Accent), darkMode.check(o.AccentDark))
	return errors.Join(faults...)
}

// embedder refuses a source that could not be held to be one site: others that frame the page can have its reader
// click on what he does not see. A site is a name, by https, since otherwise whoever is between could be it.
func embedder(source string) error {
	origin, err := url.Parse(source)
	if err != nil || strings.ContainsAny(source, " \t\r\n;,'\"") || origin.Host == "" || source != origin.Scheme+"://"+origin.Host {
		return fmt.Errorf("--page-embed: %q is no origin, such as https://app.example.com", source)
	}
	name := origin.Hostname()
	if origin.Scheme != "https" && (origin.Scheme != "http" || !httpapi.IsLoopbackHost(name)) {
		return fmt.Errorf("--page-embed: %q is not reached by https, so that anyone on the way to it could show the page; give an https origin (http only on this machine)", source)
	}
	parent, wildcard := strings.CutPrefix(name, "*.")
	if strings.Contains(parent, "*") || wildcard && !strings.Contains(parent, ".") {
		return fmt.Errorf("--page-embed: %q is everybody; name sites, such as https://app.example.com or https://*.example.com", source)
	}
	return nil
}

// Page is the dashboard's static part.
type Page struct {
	headers     http.Header
	index       *file
	assets      map[string]*file
	stylesheets []string // their paths, in the order in which they count
	twelveHours bool     // on the pages without scripts
}

// file is one file of the build in the encodings that the build made of it.
type file struct {
	contentType string
	// encodings holds the representations, the smallest first, the plain one last.
	encodings []encoding
}

type encoding struct {
	name string // "" is the plain one
	body []byte
	etag string
}

// New reads the embedded build.
func New(options Options) (*Page, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	return newPage(dist, options)
}

func newPage(build fs.FS, options Options) (*Page, error) {
	files := map[string]*file{}
	err := fs.WalkDir(build, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".br") {
			return err
		}
		f, err := readFile(build, name)
		if err != nil {
			return err
		}
		files[strings.TrimPrefix(name, "dist")] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read page build: %w", err)
	}
	index, ok := files["/index.html"]
	if !ok {
		return nil, errors.New("read page build: dist/index.html is missing")
	}
	delete(files, "/index.html")
	p := &Page{headers: securityHeaders(options), index: index, assets: files, twelveHours: options.TimeFormat == "12h"}
	for name := range files {
		if path.Ext(name) == ".css" {
			p.stylesheets = append(p.stylesheets, name)
		}
	}
	if err := p.dress(options); err != nil {
		return nil, err
	}
	return p, nil
}

// dress puts the options for the page's looks into its HTML. The policy allows no style in it, so the accent
// stands at the end of a copy of the build's last style sheet, whose name changes with it like every asset's.
func (p *Page) dress(options Options) error {
	html := p.index.encodings[len(p.index.encodings)-1].body
	var faults []error
	put := func(before, after string) {
		dressed := bytes.Replace(html, []byte(before), []byte(after), 1)
		if bytes.Equal(dressed, html) {
			faults = append(faults, fmt.Errorf("read page build: dist/index.html has no %s", before))
		}
		html = dressed
	}
	if options.TimeFormat == "12h" || options.TimeFormat == "24h" {
		put("<html ", `<html data-time-format="`+options.TimeFormat+`" `)
	}
	if options.Accent != "" || options.AccentDark != "" {
		name, err := p.recolour(accentRule(options.Accent, options.AccentDark))
		if err != nil {
			return err
		}
		built := &p.stylesheets[len(p.stylesheets)-1]
		put(`href="`+*built+`"`, `href="`+name+`"`)
		*built = name
	}
	if len(faults) > 0 || bytes.Equal(html, p.index.encodings[len(p.index.encodings)-1].body) {
		return errors.Join(faults...)
	}
	dressed, err := newFile(p.index.contentType, html)
	if err != nil {
		return err
	}
	p.index = dressed
	return nil
}

// recolour adds a copy of the last style sheet that ends in one more rule, and returns its name.
func (p *Page) recolour(rule string) (string, error) {
	if len(p.stylesheets) == 0 {
		return "", errors.New("read page build: dist has no style sheet")
	}
	encodings := p.assets[p.stylesheets[len(p.stylesheets)-1]].encodings
	sheet := append(bytes.Clone(encodings[len(encodings)-1].body), rule...)
	f, err := newFile(stylesheetType, sheet)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(sheet)
	name := AssetsPrefix + "accent-" + base64.RawURLEncoding.EncodeToString(sum[:6]) + ".css"
	p.assets[name] = f
	return name, nil
}

// newFile is one that the build did not make, and has no compressed forms of.
func newFile(contentType string, body []byte) (*file, error) {
	var zipped bytes.Buffer
	zipper, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress page: %w", err)
	}
	_, err = zipper.Write(body)
	if err := errors.Join(err, zipper.Close()); err != nil {
		return nil, fmt.Errorf("compress page: %w", err)
	}
	return &file{contentType: contentType, encodings: []encoding{newEncoding("gzip", zipped.Bytes()), newEncoding("", body)}}, nil
}

const stylesheetType = "text/css; charset=utf-8"

func newEncoding(name string, body []byte) encoding {
	sum := sha256.Sum256(body)
	return encoding{name: name, body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

func readFile(build fs.FS, name string) (*file, error) {
	contentType := mime.TypeByExtension(path.Ext(name))
	// The operating system's table may lack or alter these, and browsers refuse a module of another type.
	switch path.Ext(name) {
	case ".html":
		contentType = "text/html; charset=utf-8"
	case ".js":
		contentType = "text/javascript; charset=utf-8"
	case ".css":
		contentType = stylesheetType
	case ".svg":
		contentType = "image/svg+xml"
	}
	f := &file{contentType: contentType}
	for _, e := range []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}, {"", ""}} {
		body, err := fs.ReadFile(build, name+e.suffix)
		if errors.Is(err, fs.ErrNotExist) && e.name != "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		f.encodings = append(f.encodings, newEncoding(e.name, body))
	}
	return f, nil
}

// securityHeaders are the same for every answer: scripts, styles, images and requests of the page's own origin
// and nothing else, no inline script or style, no frame around it unless it is named.
func securityHeaders(options Options) http.Header {
	ancestors := "'none'"
	if len(options.FrameAncestors) > 0 {
		ancestors = strings.Join(options.FrameAncestors, " ")
	}
	policy := strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"img-src 'self'",
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors " + ancestors,
	}, "; ")
	h := http.Header{}
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if len(options.FrameAncestors) == 0 {
		h.Set("X-Frame-Options", "DENY")
	}
	return h
}

// Index answers with the page's HTML, whatever the path: which workspace it is about the script reads from the
// address. It is revalidated at each visit, so that a new release is seen at once.
func (p *Page) Index() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, p.indexFor(r.URL.Query()), "no-cache")
	})
}

// figuresLink is where the page's HTML leads browsers without scripts, which cannot take the question along.
var figuresLink = []byte("usage/figures")

// indexFor is the page's HTML for an address that asks something: what it asks is asked of the figures, too, by
// whoever runs no scripts. To everybody else it is the same, and small enough as it is.
func (p *Page) indexFor(asked url.Values) *file {
	if len(asked) == 0 {
		return p.index
	}
	html := p.index.encodings[len(p.index.encodings)-1].body
	link := template.HTMLEscapeString(string(figuresLink) + "?" + asked.Encode())
	return &file{contentType: p.index.contentType, encodings: []encoding{newEncoding("", bytes.ReplaceAll(html, figuresLink, []byte(link)))}}
}

// Denied answers with the same HTML under a status that says why there are no figures, for whoever opens the
// page without access: a person reads the page's own words instead of a problem document, and keeps the address.
func (p *Page) Denied(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.setHeaders(w)
		p.write(w, r, p.index, status, "no-store")
	})
}

// Assets answers for paths under AssetsPrefix. Their names change with their content, so they never expire.
func (p *Page) Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asset, ok := p.assets[r.URL.Path]
		if !ok {
			p.setHeaders(w)
			// An old page may ask for an asset of its release; nobody should remember that it is gone.
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		p.serve(w, r, asset, "public, max-age=31536000, immutable")
	})
}

func (p *Page) setHeaders(w http.ResponseWriter) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
}

func (p *Page) serve(w http.ResponseWriter, r *http.Request, f *file, cacheControl string) {
	p.setHeaders(w)
	e := f.choose(r.Header.Get("Accept-Encoding"))
	w.Header().Set("ETag", e.etag)
	if matches(r.Header.Get("If-None-Match"), e.etag) {
		w.Header().Set("Cache-Control", cacheControl)
		w.Header().Set("Vary", "Accept-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	p.write(w, r, f, http.StatusOK, cacheControl)
}

func (p *Page) write(w http.ResponseWriter, r *http.Request, f *file, status int, cacheControl string) {
	h := w.Header()
	e := f.choose(r.Header.Get("Accept-Encoding"))
	h.Set("Cache-Control", cacheControl)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Type", f.contentType)
	if e.name != "" {
		h.Set("Content-Encoding", e.name)
	}
	h.Set("Content-Length", strconv.Itoa(len(e.body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		// A reader that went away is no concern of ours.
		_, _ = bytes.NewReader(e.body).WriteTo(w)
	}
}

// choose takes the smallest encoding that the client accepts.
func (f *file) choose(accept string) encoding {
	for _, e := range f.encodings {
		if e.name == "" || accepts(accept, e.name) {
			return e
		}
	}
	return f.encodings[len(f.encodings)-1]
}

// accepts reads an Accept-Encoding header as far as it matters here: a name counts unless its weight is zero.
func accepts(header, name string) bool {
	for item := range strings.SplitSeq(header, ",") {
		coding, parameters, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), name) {
			continue
		}
		weight, isWeight := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
		if !isWeight {
			return true
		}
		q, err := strconv.ParseFloat(weight, 64)
		return err == nil && q > 0
	}
	return false
}

// matches reads an If-None-Match header.
func matches(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
			return true
		}
	}
	return false
}
