package httpapi

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"agentmeter/schemas"
)

// MountOperations adds /healthz, /readyz, /metrics and /openapi.yaml. The
// guard around mux decides who may read the metrics.
func MountOperations(mux Mux, health *Health, gatherer prometheus.Gatherer) {
	mux.HandleFunc("GET /healthz", health.ServeHealth)
	mux.HandleFunc("GET /readyz", health.ServeReadiness)
	mux.HandleFunc("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}).ServeHTTP)
	mux.HandleFunc("GET /openapi.yaml", serveOpenAPI)
	mux.Signpost("The API is described by /openapi.yaml.")
	mux.Signpost("/readyz says whether it can do its work.")
}

func serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(schemas.OpenAPI))
}

// FromLoopback reports whether a request was made on this very machine: its
// connection comes from a loopback address, it was not forwarded for someone
// else, and it names a loopback host, so that no web page can have a browser
// make it under a name of the page's.
func FromLoopback(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, forwarded := range [...]string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(forwarded) != "" {
			return false
		}
	}
	return IsLoopbackHost(hostOnly(r.Host))
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

// IsLoopbackHost reports whether a host, without a port, is this machine.
func IsLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
