package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"agentmeter/internal/httpapi"
)

var trusted = httpapi.Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}

func TestOnlyTrustedProxiesSayWhereARequestComesFrom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"direct", "198.51.100.7:4000", nil, "198.51.100.7"},
		{"direct, forged", "198.51.100.7:4000", []string{"203.0.113.1"}, "198.51.100.7"},
		{"direct, forged as a proxy's", "198.51.100.7:4000", []string{"203.0.113.1, 10.0.0.2"}, "198.51.100.7"},
		{"a proxy itself", "10.0.0.2:4000", nil, "10.0.0.2"},
		{"by a proxy", "10.0.0.2:4000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"by two proxies", "10.0.0.2:4000", []string{"198.51.100.7, 10.0.0.3"}, "198.51.100.7"},
		{"by two proxies, a header each", "10.0.0.2:4000", []string{"198.51.100.7", "10.0.0.3"}, "198.51.100.7"},
		{"by a proxy, forged", "10.0.0.2:4000", []string{"203.0.113.1, 198.51.100.7"}, "198.51.100.7"},
		{"by a proxy, forged as a proxy's", "10.0.0.2:4000", []string{"203.0.113.1, 10.9.9.9, 198.51.100.7, 10.0.0.3"}, "198.51.100.7"},
		{"by proxies alone", "10.0.0.2:4000", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4"},
		{"by a proxy, nonsense", "10.0.0.2:4000", []string{"198.51.100.7, unknown"}, "10.0.0.2"},
		{"by two proxies, nonsense before", "10.0.0.2:4000", []string{"nonsense, 10.0.0.3"}, "10.0.0.3"},
		{"by a proxy, empty", "10.0.0.2:4000", []string{""}, "10.0.0.2"},
		{"by a proxy, with a port", "10.0.0.2:4000", []string{"198.51.100.7:80"}, "198.51.100.7"},
		{"IPv6", "[2001:db8:1::5]:4000", []string{"2001:db8:2::7"}, "2001:db8:2::7"},
		{"IPv6 with a port", "[2001:db8:1::5]:4000", []string{"[2001:db8:2::7]:80"}, "2001:db8:2::7"},
		{"IPv6 in brackets", "[2001:db8:1::5]:4000", []string{"[2001:db8:2::7]"}, "2001:db8:2::7"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.2]:4000", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"no address", "@", []string{"198.51.100.7"}, "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		if tt.forwarded != nil {
			r.Header["X-Forwarded-For"] = tt.forwarded
		}
		if got := trusted.ClientAddr(r).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if got := httpapi.Proxies(nil).ClientAddr(r).String(); !strings.Contains(tt.peer, strings.TrimPrefix(got, "invalid IP")) {
			t.Errorf("%s, without trusted proxies: %s", tt.name, got)
		}
	}
}

func TestAnAddressThatFailsTooOftenIsToldToWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.router.LimitAttempts(2, trusted, b.reg)
		b.router.HandleFunc("GET /fails", func(w http.ResponseWriter, r *http.Request) {
			httpapi.WriteError(w, r, &httpapi.Problem{Status: 401, Code: "token_missing", Headers: map[string]string{"WWW-Authenticate": "Bearer"}})
		})
		b.router.HandleFunc("GET /passes", func(http.ResponseWriter, *http.Request) {})
		from := func(peer string, forwarded ...string) func(*http.Request) {
			return func(r *http.Request) {
				r.RemoteAddr = peer
				if forwarded != nil {
					r.Header["X-Forwarded-For"] = forwarded
				}
			}
		}
		fails := func(peer string, forwarded ...string) int {
			return b.get(t, "/fails", from(peer, forwarded...)).Code
		}
		const burst = 20
		for i := range burst {
			// Another port and forged headers change nothing.
			if got := fails(fmt.Sprintf("198.51.100.7:%d", i+1), fmt.Sprintf("203.0.113.%d", i)); got != 401 {
				t.Fatalf("attempt %d: %d", i, got)
			}
		}
		w := b.get(t, "/fails", from("198.51.100.7:1"))
		if problem := problemIn(t, w); w.Code != 429 || problem.Code != "attempts_limited" || w.Header().Get("Retry-After") != "1" ||
			w.Header().Get("RateLimit-Limit") != "2" || w.Header().Get("RateLimit-Remaining") != "0" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		if got := b.get(t, "/passes", from("198.51.100.7:1")).Code; got != 200 {
			t.Errorf("who has a token is refused for others at that address: %d", got)
		}
		for name, got := range map[string]int{
			"another address": fails("198.51.100.8:1"), "the address that was forged": fails("203.0.113.1:1"),
			"somebody behind a proxy": fails("10.0.0.2:1", "198.51.100.9"),
		} {
			if got != 401 {
				t.Errorf("%s: %d", name, got)
			}
		}
		if got := fails("10.0.0.2:1", "203.0.113.1, 198.51.100.7"); got != 429 {
			t.Errorf("the address behind a proxy, with a forged one before it: %d", got)
		}
		<-time.After(500 * time.Millisecond) // of the bubble's own clock
		if first, second := fails("198.51.100.7:1"), fails("198.51.100.7:1"); first != 401 || second != 429 {
			t.Errorf("after half a second, two a second: %d %d", first, second)
		}
		for i := range burst { // one line's many addresses are one
			fails(fmt.Sprintf("[2001:db8:2::%x]:1", i))
		}
		if got := fails("[2001:db8:2::ffff]:1"); got != 429 {
			t.Errorf("another address of an IPv6 network: %d", got)
		}
		if got := fails("[2001:db8:2:1::1]:1"); got != 401 {
			t.Errorf("another IPv6 network: %d", got)
		}
		const want = "# HELP agentmeter_http_attempts_limited_total Requests without a token that holds, from an address that had sent too many of them.\n# TYPE agentmeter_http_attempts_limited_total counter\nagentmeter_http_attempts_limited_total 4\n"
		if err := testutil.GatherAndCompare(b.reg, strings.NewReader(want), "agentmeter_http_attempts_limited_total"); err != nil {
			t.Error(err)
		}
	})
}
