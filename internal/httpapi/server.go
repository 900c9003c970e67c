package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Config of a Server.
type Config struct {
	// Listen is the host:port to listen on. Port 0 takes a free one.
	Listen string
	// MaxConnections bounds the open connections. While more than half of them are
	// open, none is kept after its answer; while more than all are, requests get 503.
	MaxConnections int
	// ReadHeaderTimeout, ReadTimeout and WriteTimeout bound how long a request's
	// headers, its body, and the whole exchange may take; streams extend the last
	// by http.ResponseController.
	ReadHeaderTimeout time.Duration
	ReadTimeout       time.Duration
	WriteTimeout      time.Duration
	// IdleTimeout is for how long a connection is kept between requests.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds a request's headers.
	MaxHeaderBytes int
	// TLS, where set, encrypts all that goes over the connections; see ServerTLS.
	TLS *tls.Config
	// DrainDelay lies between the failing of readiness and the closing of the
	// listener. Give a load balancer time to look away.
	DrainDelay time.Duration
	// DrainTimeout is how long requests in flight may take to finish.
	DrainTimeout time.Duration
}

// DefaultConfig listens on loopback only.
func DefaultConfig() Config {
	return Config{
		Listen:            "127.0.0.1:8080",
		MaxConnections:    4096,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		DrainTimeout:      20 * time.Second,
	}
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	var faults []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		faults = append(faults, fmt.Errorf("--http-listen: %w; write it as HOST:PORT", err))
	}
	if c.MaxConnections < 1 {
		faults = append(faults, fmt.Errorf("--http-max-conns: %d is not positive", c.MaxConnections))
	}
	if c.MaxHeaderBytes < 4<<10 {
		faults = append(faults, fmt.Errorf("http max header bytes %d: at least 4096", c.MaxHeaderBytes))
	}
	for _, timeout := range [...]struct {
		name  string
		value time.Duration
	}{
		{"read header", c.ReadHeaderTimeout},
		{"read", c.ReadTimeout},
		{"write", c.WriteTimeout},
		{"idle", c.IdleTimeout},
		{"drain", c.DrainTimeout},
	} {
		if timeout.value <= 0 {
			faults = append(faults, fmt.Errorf("http %s timeout %v: must be positive", timeout.name, timeout.value))
		}
	}
	if c.DrainDelay < 0 {
		faults = append(faults, fmt.Errorf("--drain-delay: %v is negative", c.DrainDelay))
	}
	return errors.Join(faults...)
}

// maxStreams bounds the requests under way on one HTTP/2 connection.
const maxStreams = 100

// Server is one listener with its handler.
type Server struct {
	config   Config
	log      *slog.Logger
	health   *Health
	listener net.Listener
	http     *http.Server
	limit    int // of connections that are accepted
}

// Listen binds the address, so that it is known before anything is served.
// Call Run next, or Close.
func Listen(ctx context.Context, config Config, router *Router, health *Health, log *slog.Logger) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	var binder net.ListenConfig
	listener, err := binder.Listen(ctx, "tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for http: %w", err)
	}
	conns := newConnections(config.MaxConnections)
	s := &Server{
		config: config, log: log, health: health, listener: listener, limit: config.MaxConnections + conns.beyond(),
		http: &http.Server{
			Handler:           conns.mark(router),
			ConnState:         conns.follow,
			ReadHeaderTimeout: config.ReadHeaderTimeout,
			ReadTimeout:       config.ReadTimeout,
			WriteTimeout:      config.WriteTimeout,
			IdleTimeout:       config.IdleTimeout,
			MaxHeaderBytes:    config.MaxHeaderBytes,
			TLSConfig:         config.TLS,
			// Of a connection that carries many requests at once, which count only
			// once among the connections.
			HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
			// Clients that speak no HTTP or hang up are no news.
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	return s, nil
}

// Addr is what the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is the server's address as a client on this machine writes it.
func (s *Server) URL() string {
	scheme := "http://"
	if s.config.TLS != nil {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		return scheme + s.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port)
}

// Close gives the address back without serving it. After Run it does nothing.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close http listener: %w", err)
	}
	return nil
}

// Run serves until ctx ends, then drains: readiness fails, DrainDelay passes,
// the listener closes, streams are told to end, and requests in flight have
// DrainTimeout to finish before their connections are cut. It returns nil after
// a drain in time. Call it once.
func (s *Server) Run(ctx context.Context) error {
	s.announce(ctx)
	served := make(chan error, 1)
	go func() { served <- s.serve(netutil.LimitListener(s.listener, s.limit)) }()

	select {
	case err := <-served:
		s.health.Drain()
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	s.health.Drain()
	drain := context.WithoutCancel(ctx)
	if s.config.DrainDelay > 0 {
		delay := time.NewTimer(s.config.DrainDelay)
		defer delay.Stop()
		select {
		case <-delay.C:
		case err := <-served:
			return fmt.Errorf("serve http: %w", err)
		}
	}
	drain, cancel := context.WithTimeout(drain, s.config.DrainTimeout)
	defer cancel()
	err := s.http.Shutdown(drain)
	if err != nil {
		s.log.WarnContext(drain, "requests did not finish in time, cutting them off", "drain_timeout", s.config.DrainTimeout)
		err = fmt.Errorf("drain http: %w", errors.Join(err, s.http.Close()))
	}
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve http: %w", serveErr))
	}
	return err
}

func (s *Server) serve(listener net.Listener) error {
	if s.config.TLS != nil {
		return s.http.ServeTLS(listener, "", "") // the configuration has the certificate
	}
	return s.http.Serve(listener)
}

// announce says who can reach the listener, and who can read along.
func (s *Server) announce(ctx context.Context) {
	addr := s.Addr()
	encrypted := s.config.TLS != nil
	if loopback(addr) {
		s.log.InfoContext(ctx, "listening", "address", addr.String(), "tls", encrypted)
		return
	}
	s.log.InfoContext(ctx, "listening beyond loopback, other machines can reach this address", "address", addr.String(), "tls", encrypted)
	if !encrypted {
		s.log.WarnContext(ctx, "beyond loopback without TLS: whoever is on the way can read tokens and figures; give --tls-cert and --tls-key, or end TLS on this machine or in a closed network", "address", addr.String())
	}
}

func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
