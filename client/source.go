package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
)

// TokenSource gives the token to speak to the server with, without the word
// Bearer; "" sends none. It is called from several goroutines at once if several
// use the client.
type TokenSource func(ctx context.Context) (token string, err error)

// Endpoint says where the server is just now, as in "http://127.0.0.1:8080", and
// with which token to speak to it.
type Endpoint func(ctx context.Context) (baseURL, token string, err error)

// source gives the address of the next attempt.
type source interface {
	// address asks for it; again says that the last one did not do.
	address(ctx context.Context, again bool) (address, error)
	baseURL() string
}

// fixedSource is one server, with a token that may change.
type fixedSource struct {
	at    address
	token TokenSource
}

func (s fixedSource) address(ctx context.Context, _ bool) (address, error) {
	if s.token == nil {
		return s.at, nil
	}
	token, err := s.token(ctx)
	if err != nil {
		return address{}, fmt.Errorf("token: %w", err)
	}
	at := s.at
	at.token = token
	return at, checkToken(token)
}

func (s fixedSource) baseURL() string { return s.at.baseURL }

// movingSource asks an Endpoint, and keeps its answer while it does.
type movingSource struct {
	ask Endpoint

	mu      sync.Mutex // guards current
	current address
}

func (s *movingSource) address(ctx context.Context, again bool) (address, error) {
	s.mu.Lock()
	at := s.current
	s.mu.Unlock()
	if at.baseURL != "" && !again {
		return at, nil
	}
	baseURL, token, err := s.ask(ctx)
	if err != nil {
		return address{}, fmt.Errorf("find the server: %w", err)
	}
	at, err = newAddress(baseURL, token)
	if err != nil {
		return address{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = at
	return at, nil
}

func (s *movingSource) baseURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.baseURL
}

// address is where a request goes, checked.
type address struct {
	baseURL  string // without a slash at its end
	token    string
	loopback bool
}

func newAddress(baseURL, token string) (address, error) {
	parsed, err := url.Parse(baseURL)
	if err != nil {
		return address{}, fmt.Errorf("server address: %w", err)
	}
	if (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return address{}, fmt.Errorf("server address %q: write it like http://127.0.0.1:8080", baseURL)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return address{}, errors.New("server address: must not carry a user, a query or a fragment")
	}
	host := parsed.Hostname()
	ip := net.ParseIP(host)
	return address{
		baseURL:  strings.TrimRight(baseURL, "/"),
		token:    token,
		loopback: host == "localhost" || (ip != nil && ip.IsLoopback()),
	}, checkToken(token)
}

// checkToken does not repeat the token in its error.
func checkToken(token string) error {
	if strings.ContainsAny(token, "\r\n") {
		return errors.New("token: contains a line break")
	}
	return nil
}
