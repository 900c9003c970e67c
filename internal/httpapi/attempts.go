package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Proxies are those whose word is taken on whom they ask for.
type Proxies []netip.Prefix

func (p Proxies) include(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// ClientAddr is where a request comes from: the connection's peer or, where that is
// a trusted proxy, whom the last proxy that is trusted took it from. What others
// write into X-Forwarded-For counts for nothing. It is the zero Addr where a
// connection has no address.
func (p Proxies) ClientAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap().WithZone("")
	if !p.include(addr) {
		return addr
	}
	// Each proxy appends whom it was asked by, so the list is read from its end.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			return addr
		}
		if addr = next; !p.include(addr) {
			return addr
		}
	}
	return addr
}

// parseHop reads an address with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = with.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// Bounds of what is known of addresses: some megabytes.
const (
	maxAttemptAddresses = 50_000
	attemptBurst        = 10 // times as many at once as a second
	// One customer line has an IPv6 network of at least this length.
	ipv6ClientBits = 64
)

// attempts bounds how many requests of one address may fail for want of a token
// that holds. One that has a valid token is never counted, and never refused for
// what others do at its address.
type attempts struct {
	limits  *Limits
	proxies Proxies
	limited prometheus.Counter
}

// LimitAttempts lets each address fail perSecond times a second to show a token
// that holds, and some more at once; after that it is told to wait (429) instead
// of what was wrong (401). Call it before anything is served.
func (rt *Router) LimitAttempts(perSecond int, proxies Proxies, reg prometheus.Registerer) {
	rt.attempts = &attempts{
		limits: NewLimits(perSecond, attemptBurst*perSecond, maxAttemptAddresses), proxies: proxies,
		limited: registered(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentmeter_http_attempts_limited_total",
			Help: "Requests without a token that holds, from an address that had sent too many of them.",
		})),
	}
}

// AttemptFailed counts a request that showed no token that holds. It returns the
// answer to an address that has sent too many of them, or nil.
func AttemptFailed(r *http.Request) *Problem {
	x := exchangeFrom(r.Context())
	if x == nil || x.attempts == nil {
		return nil
	}
	a := x.attempts
	key := ""
	if addr := a.proxies.ClientAddr(r); addr.Is6() {
		if network, err := addr.Prefix(ipv6ClientBits); err == nil {
			key = network.String()
		}
	} else if addr.IsValid() {
		key = addr.String()
	}
	_, wait := a.limits.Take(key, time.Now())
	if wait <= 0 {
		return nil
	}
	a.limited.Inc()
	problem := TooMany("attempts_limited", "Too many requests without a valid token have come from this address. Wait before the next one.", wait)
	told := http.Header{}
	a.limits.Tell(told, 0, wait)
	problem.Headers = make(map[string]string, len(told))
	for name := range told {
		problem.Headers[name] = told.Get(name)
	}
	return problem
}
