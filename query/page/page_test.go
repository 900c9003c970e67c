package page

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func get(t *testing.T, h http.Handler, target string, headers ...string) *http.Response {
	t.Helper()
	return do(t, h, http.MethodGet, target, headers...)
}

func do(t *testing.T, h http.Handler, method, target string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func handler(t *testing.T, options Options) http.Handler {
	t.Helper()
	p, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+Route, p.Index())
	mux.Handle("GET "+AssetsPrefix, p.Assets())
	return mux
}

// assets lists the paths that the page's HTML loads.
func assets(t *testing.T, h http.Handler) []string {
	t.Helper()
	html := body(t, get(t, h, "/w/ws_acme/usage"))
	var found []string
	for _, match := range regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(html, -1) {
		found = append(found, match[1])
	}
	if len(found) == 0 {
		t.Fatal("the page loads no assets")
	}
	return found
}

func TestPageIsTheSameForEveryWorkspaceAndRevalidated(t *testing.T) {
	h := handler(t, Options{})
	first := get(t, h, "/w/ws_acme/usage")
	if first.StatusCode != http.StatusOK {
		t.Fatalf("status %d", first.StatusCode)
	}
	if got := first.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	if got := first.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control %q, want no-cache", got)
	}
	other := get(t, h, "/w/%3Cscript%3E/usage")
	if a, b := body(t, first), body(t, other); a != b {
		t.Error("the HTML depends on the workspace")
	}
	etag := first.Header.Get("ETag")
	again := get(t, h, "/w/ws_acme/usage", "If-None-Match", `"old", W/`+etag)
	if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
		t.Errorf("revalidation: status %d, want 304 without a body", again.StatusCode)
	}
	if again.Header.Get("Content-Security-Policy") == "" {
		t.Error("a 304 must carry the policy, since it replaces the stored one")
	}
}

func TestWithoutScriptsTheQuestionIsTakenAlong(t *testing.T) {
	h := handler(t, Options{})
	bare := get(t, h, "/w/ws/usage")
	asked := get(t, h, "/w/ws/usage?to=2026-11-24&from=2026-11-01&agent=%22%3E%3Cimg+src%3D%2F%2Fx%3E%3B&bad=%zz")
	link := "usage/figures?agent=%22%3E%3Cimg+src%3D%2F%2Fx%3E%3B&amp;from=2026-11-01&amp;to=2026-11-24"
	want := body(t, bare)
	for _, place := range []string{`content="0; url=usage/figures"`, `href="usage/figures"`} {
		if !strings.Contains(want, place) {
			t.Errorf("the page has no %s", place)
		}
		want = strings.Replace(want, place, strings.Replace(place, "usage/figures", link, 1), 1)
	}
	if got := body(t, asked); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if a, b := asked.Header.Get("ETag"), bare.Header.Get("ETag"); a == b {
		t.Errorf("both have the tag %s", a)
	}
}

func TestAssetsNeverExpireAndHaveTheRightType(t *testing.T) {
	h := handler(t, Options{})
	types := map[string]string{
		".js":  "text/javascript; charset=utf-8",
		".css": "text/css; charset=utf-8",
		".svg": "image/svg+xml",
	}
	for _, asset := range assets(t, h) {
		r := get(t, h, asset)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", asset, r.StatusCode)
			continue
		}
		if got, want := r.Header.Get("Content-Type"), types[path.Ext(asset)]; got != want {
			t.Errorf("%s: Content-Type %q, want %q", asset, got, want)
		}
		if got := r.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", asset, got)
		}
		if !regexp.MustCompile(`^/assets/[\w.-]+-[\w-]{8}\.\w+$`).MatchString(asset) {
			t.Errorf("%s: no hash in the name, so it must not be immutable", asset)
		}
	}
}

func TestDeniedPageIsReadableAndNotRemembered(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := get(t, p.Denied(http.StatusUnauthorized), "/w/ws_acme/usage?agent=x")
	if r.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", r.StatusCode)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("headers %v", r.Header)
	}
	if !strings.Contains(body(t, r), "<h1>Usage</h1>") {
		t.Error("not the page")
	}
}

func TestUnknownAssetIsNotFoundAndNotRemembered(t *testing.T) {
	h := handler(t, Options{})
	for _, target := range []string{"/assets/gone-12345678.js", "/assets/", "/assets/../index.html", "/assets/index.html"} {
		r := get(t, h, target)
		if r.StatusCode == http.StatusOK {
			t.Errorf("%s: status %d", target, r.StatusCode)
		}
	}
	if got := get(t, h, "/assets/gone-12345678.js").Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
}

func TestCompressedFilesAreServedToWhoTakesThem(t *testing.T) {
	h := handler(t, Options{})
	for _, target := range append(assets(t, h), "/w/ws_acme/usage") {
		plain := body(t, get(t, h, target))
		for accept, want := range map[string]string{
			"gzip, deflate, br":         "br",
			"gzip":                      "gzip",
			"br;q=0, gzip;q=0.5":        "gzip",
			"identity":                  "",
			"":                          "",
			"gzip;q=0, br;q=0.0":        "",
			"x-gzip-not, brrr, deflate": "",
		} {
			r := get(t, h, target, "Accept-Encoding", accept)
			got := r.Header.Get("Content-Encoding")
			if len(plain) < 512 {
				want = ""
			}
			if r.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s: Vary %q", target, r.Header.Get("Vary"))
			}
			if got != want {
				t.Errorf("%s with %q: Content-Encoding %q, want %q", target, accept, got, want)
			}
			if got == "gzip" {
				unzipped, err := gzip.NewReader(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				content, err := io.ReadAll(unzipped)
				if err != nil || string(content) != plain {
					t.Errorf("%s: the gzip file is not of this build (%v)", target, err)
				}
			}
		}
	}
}

func TestEachEncodingHasItsOwnTag(t *testing.T) {
	h := handler(t, Options{})
	a := get(t, h, "/w/ws_acme/usage").Header.Get("ETag")
	b := get(t, h, "/w/ws_acme/usage", "Accept-Encoding", "br").Header.Get("ETag")
	if a == "" || a == b {
		t.Errorf("tags %s and %s", a, b)
	}
}

func TestHeadAnswersLikeGetWithoutABody(t *testing.T) {
	h := handler(t, Options{})
	r := do(t, h, http.MethodHead, "/w/ws_acme/usage")
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Length") == "" || body(t, r) != "" {
		t.Errorf("status %d, length %q", r.StatusCode, r.Header.Get("Content-Length"))
	}
	if r := do(t, h, http.MethodPost, "/w/ws_acme/usage"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", r.StatusCode)
	}
}

func TestPolicyAllowsNothingInlineAndNothingForeign(t *testing.T) {
	h := handler(t, Options{})
	for _, target := range append(assets(t, h), "/w/ws_acme/usage", "/assets/none") {
		header := get(t, h, target).Header
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'",
		} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %q", target, policy, want)
			}
		}
		for _, unwanted := range []string{"unsafe-", "data:", "http", "*"} {
			if strings.Contains(policy, unwanted) {
				t.Errorf("%s: policy %q has %q", target, policy, unwanted)
			}
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") == "" {
			t.Errorf("%s: headers %v", target, header)
		}
		if header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: X-Frame-Options %q", target, header.Get("X-Frame-Options"))
		}
	}
}

func TestFrameAncestorsAreConfigurable(t *testing.T) {
	h := handler(t, Options{FrameAncestors: []string{"https://app.example.com", "https://*.example.org"}})
	header := get(t, h, "/w/ws_acme/usage").Header
	if want := "frame-ancestors https://app.example.com https://*.example.org"; !strings.HasSuffix(header.Get("Content-Security-Policy"), want) {
		t.Errorf("policy %q", header.Get("Content-Security-Policy"))
	}
	if got := header.Get("X-Frame-Options"); got != "" {
		t.Errorf("X-Frame-Options %q would forbid what the policy allows", got)
	}
}

func TestFrameAncestorsThatWouldChangeThePolicyAreRefused(t *testing.T) {
	err := Options{FrameAncestors: []string{"https://a.example; script-src *", "", "https://ok.example", "a b"}}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	if got := strings.Count(err.Error(), "--page-embed: "); got != 3 {
		t.Errorf("%d faults reported, want all 3: %v", got, err)
	}
	if _, err := New(Options{FrameAncestors: []string{""}}); err == nil {
		t.Error("New takes what Validate refuses")
	}
}

// Whoever frames the page can have its readers click on what they do not see.
func TestOnlySitesThatCanBeToldFromOthersMayFrameThePage(t *testing.T) {
	for source, allowed := range map[string]bool{
		"https://app.example.com": true, "https://app.example.com:8443": true, "https://*.example.com": true,
		"http://127.0.0.1:3000": true, "http://localhost:3000": true, "http://localhost": true,
		"*": false, "https://*": false, "https://*:443": false, "https://*.com": false, "https://a.*.example.com": false, "https:": false, "'self'": false,
		"http://app.example.com": false, "http://localhost.example.com": false, "ftp://127.0.0.1": false, "app.example.com": false,
		"https://app.example.com/": false, "https://app.example.com/page": false, "https://user@app.example.com": false, "HTTPS://": false,
	} {
		if err := (Options{FrameAncestors: []string{source}}).Validate(); (err == nil) != allowed {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestBuildWithoutAPageIsReported(t *testing.T) {
	if _, err := newPage(fstest.MapFS{"dist/assets/a.js": {Data: []byte("1")}}, Options{}); err == nil {
		t.Error("no error")
	}
}

func TestBuildHasNoSourceMapsInlineCodeOrForeignAddresses(t *testing.T) {
	// Names of XML vocabularies are not fetched.
	vocabulary := regexp.MustCompile(`http://www\.w3\.org/(1999/xlink|1999/xhtml|2000/svg|1998/Math/MathML|XML/1998/namespace|2000/xmlns/)`)
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.HasSuffix(name, ".map") {
			t.Errorf("%s: a source map", name)
		}
		if strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".br") {
			return nil
		}
		content, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		content = vocabulary.ReplaceAll(content, nil)
		if i := bytes.Index(content, []byte("://")); i >= 0 {
			t.Errorf("%s: an address: …%s…", name, content[max(0, i-20):min(len(content), i+40)])
		}
		if bytes.Contains(content, []byte("sourceMappingURL")) {
			t.Errorf("%s: refers to a source map", name)
		}
		if strings.HasSuffix(name, ".html") {
			for _, inline := range []string{"<style", " style=", " onload=", "<script>"} {
				if bytes.Contains(content, []byte(inline)) {
					t.Errorf("%s: has %q, which the policy blocks", name, inline)
				}
			}
			if !bytes.Contains(content, []byte("<noscript>")) {
				t.Errorf("%s: says nothing without JavaScript", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestScriptAndStyleKeepTheirBudgets(t *testing.T) {
	for _, o := range []Options{{}, dressed} {
		h := handler(t, o)
		var script, style int
		for _, asset := range assets(t, h) {
			size := len(body(t, get(t, h, asset, "Accept-Encoding", "gzip")))
			switch path.Ext(asset) {
			case ".js":
				script += size
			case ".css":
				style += size
			}
		}
		if script == 0 || script > 40<<10 {
			t.Errorf("%+v: %d bytes of gzipped script before the figures, at most %d", o, script, 40<<10)
		}
		if style == 0 || style > 8<<10 {
			t.Errorf("%+v: %d bytes of gzipped style, at most %d", o, style, 8<<10)
		}
		if requests := assets(t, h); len(requests) > 3 {
			t.Errorf("%+v: requests after the page itself: %q", o, requests)
		}
	}
}

// dressed is a page with options for its looks.
var dressed = Options{TimeFormat: "12h", Accent: "#a0006d", AccentDark: "#ffb3e1"}

func TestLooksComeWithThePageAndKeepThePolicy(t *testing.T) {
	h := handler(t, dressed)
	plain := get(t, handler(t, Options{}), "/w/ws/usage")
	r := get(t, h, "/w/ws/usage")
	html := body(t, r)
	if !strings.Contains(html, `<html data-time-format="12h" lang="en">`) {
		t.Errorf("no time format: %.100s", html)
	}
	if r.Header.Get("ETag") == plain.Header.Get("ETag") {
		t.Error("another page has the same tag")
	}
	if a, b := r.Header.Get("Content-Security-Policy"), plain.Header.Get("Content-Security-Policy"); a != b {
		t.Errorf("policy %q, want %q", a, b)
	}
	for _, inline := range []string{"<style", " style="} {
		if strings.Contains(html, inline) {
			t.Errorf("%s is what the policy blocks", inline)
		}
	}
	plainAssets, dressedAssets := assets(t, handler(t, Options{})), assets(t, h)
	if len(plainAssets) != len(dressedAssets) {
		t.Errorf("%q instead of %q: the looks cost requests", dressedAssets, plainAssets)
	}
	name := sheetOf(t, h)
	if !regexp.MustCompile(`^/assets/accent-[\w-]{8}\.css$`).MatchString(name) {
		t.Errorf("style sheet %s has no hash in its name, so it must not be immutable", name)
	}
	sheet := get(t, h, name)
	if sheet.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" || sheet.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("headers %v", sheet.Header)
	}
	built := handler(t, Options{})
	rule, after := strings.CutPrefix(body(t, sheet), body(t, get(t, built, sheetOf(t, built))))
	if !after || !strings.HasPrefix(rule, ":root{--accent:light-dark(#a0006d,#ffb3e1);") || !strings.Contains(rule, "--on-accent:light-dark(#ffffff,#000000)") {
		t.Errorf("the build's sheet is followed by %.200q (%t)", rule, after)
	}
	other := dressed
	other.Accent = "#7a0053"
	if sheetOf(t, handler(t, other)) == name {
		t.Error("another accent has the same name")
	}

	for target, plain := range map[string]string{"/w/ws/usage": html, name: body(t, get(t, h, name))} {
		for accept, want := range map[string]string{"gzip, deflate, br": "gzip", "gzip": "gzip", "identity": "", "br": ""} {
			r := get(t, h, target, "Accept-Encoding", accept)
			if got := r.Header.Get("Content-Encoding"); got != want {
				t.Errorf("%s with %q: Content-Encoding %q, want %q", target, accept, got, want)
			}
			var content io.Reader = r.Body
			if want == "gzip" {
				unzipped, err := gzip.NewReader(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				content = unzipped
			}
			got, err := io.ReadAll(content)
			if err != nil || string(got) != plain {
				t.Errorf("%s with %q: something else (%v)", target, accept, err)
			}
		}
	}
}

// sheetOf is the page's one style sheet.
func sheetOf(t *testing.T, h http.Handler) string {
	t.Helper()
	var sheets []string
	for _, asset := range assets(t, h) {
		if path.Ext(asset) == ".css" {
			sheets = append(sheets, asset)
		}
	}
	if len(sheets) != 1 {
		t.Fatalf("style sheets %q, want one", sheets)
	}
	return sheets[0]
}

func TestOneAccentLeavesTheOtherModeAsItIs(t *testing.T) {
	for _, o := range []Options{{Accent: "#a0006d"}, {AccentDark: "#ffb3e1"}} {
		h := handler(t, o)
		sheet := body(t, get(t, h, sheetOf(t, h)))
		want := [3]string{"light-dark(#3352d8,#ffb3e1)", "light-dark(#eef1fe,", "light-dark(#ffffff,#000000)"}
		if o.Accent != "" {
			want = [3]string{"light-dark(#a0006d,#93a8ff)", ",#1d2545)", "light-dark(#ffffff,#0d1230)"}
		}
		for _, w := range want {
			if !strings.Contains(sheet, w) {
				t.Errorf("%+v: %q is missing in %q", o, w, sheet[strings.LastIndex(sheet, ":root"):])
			}
		}
	}
}

func TestAPageWithoutLooksIsTheBuild(t *testing.T) {
	for _, o := range []Options{{}, {TimeFormat: "auto"}} {
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		built, err := dist.ReadFile("dist/index.html")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.index.encodings[len(p.index.encodings)-1].body; !bytes.Equal(got, built) || len(p.stylesheets) != 1 {
			t.Errorf("%+v changes the page", o)
		}
	}
}

func TestLooksThatTheBuildHasNoPlaceForAreReported(t *testing.T) {
	index, sheet := &fstest.MapFile{Data: []byte("<html><body></body></html>")}, &fstest.MapFile{Data: []byte("a{}")}
	if _, err := newPage(fstest.MapFS{"dist/index.html": index, "dist/assets/a.css": sheet}, dressed); err == nil || strings.Count(err.Error(), "has no") != 2 {
		t.Errorf("error %v", err)
	}
	if _, err := newPage(fstest.MapFS{"dist/index.html": index}, dressed); err == nil || !strings.Contains(err.Error(), "has no style sheet") {
		t.Errorf("error %v", err)
	}
}
