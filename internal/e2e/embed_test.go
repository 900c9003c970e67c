package e2e

import (
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"agentmeter/internal/slowtest"
)

// site is what ends TLS in front of something, by a certificate of the test's
// own, under a name that is a site to browsers.
type site struct {
	server *httptest.Server
	origin string
}

// newSite has its address before there is anything behind it.
func newSite(t *testing.T, host string) *site {
	t.Helper()
	s := &site{server: httptest.NewUnstartedServer(nil)}
	s.origin = fmt.Sprintf("https://%s:%s", host, portOf(s.server.Listener.Addr().String()))
	t.Cleanup(s.server.Close)
	return s
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// serve puts a server behind the site.
func (s *site) serve(t *testing.T, behind string) {
	t.Helper()
	target, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	s.handle(&httputil.ReverseProxy{ErrorLog: silence, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
}

// silence is for what browsers do to servers all the time: they break
// connections off, and look at a certificate twice before they take it.
var silence = log.New(io.Discard, "", 0)

func (s *site) handle(handler http.Handler) {
	s.server.Config.Handler, s.server.Config.ErrorLog = handler, silence
	s.server.StartTLS()
}

// The browser tests of query/page/e2e/embed: the example of a platform's app shows the
// page in a frame, each site over https.
func TestPageWorksInAPlatformsFrame(t *testing.T) {
	slowtest.Begin(t)
	requireBrowser(t)
	usage, app, other := newSite(t, "usage.meter.test"), newSite(t, "app.platform.test"), newSite(t, "other.test")
	i := runOn(t, t.TempDir(), "--page-url", usage.origin, "--page-embed", app.origin,
		"--page-time-format", "12h", "--page-accent", "#a0006d", "--page-accent-dark", "#ffb3e1")
	usage.serve(t, i.endpoints.HTTP)
	known := sendKnownEvents(t, i)
	known.await(t, i)

	dir := t.TempDir()
	example := filepath.Join(dir, "embed")
	if content, err := exec.CommandContext(t.Context(), "go", "build", "-o", example, "agentmeter/client/examples/embed").CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, content)
	}
	token := filepath.Join(dir, "platform.token")
	if err := os.WriteFile(token, []byte(i.token("*", "usage:read")), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress()
	platform := startCommand(t, exec.Command(example, "-listen", address, "-agentmeter", i.endpoints.HTTP, "-page", usage.origin,
		"-token-file", token, "-users", "ada=ws_browser", "-renew", "3s"))
	platform.waitFor("to listen", startPatience, func() error {
		return expectStatus(t, http.MethodGet, "http://"+address+"/", "", nil, http.StatusOK)
	})
	app.serve(t, "http://"+address)
	other.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><title>Other</title><iframe src="%s"></iframe>`, html.EscapeString(r.URL.RawQuery))
	}))

	runBrowserTests(t, "e2e:embed",
		"E2E_BASE="+usage.origin, "E2E_APP="+app.origin, "E2E_OTHER="+other.origin, "E2E_CREDITS="+known.credits.String(),
		"E2E_API="+i.endpoints.HTTP, "E2E_TOKEN="+i.token("ws_browser", "usage:read"))
}
