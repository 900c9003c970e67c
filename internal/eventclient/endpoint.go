package eventclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Endpoint says where the write side is just now, as in
// "http://127.0.0.1:8080", and with which token to speak to it. It is asked
// before the first request and again before each retry.
type Endpoint func(ctx context.Context) (baseURL, token string, err error)

// Static is an endpoint that never moves.
func Static(baseURL, token string) Endpoint {
	return func(context.Context) (string, string, error) { return baseURL, token, nil }
}

// address is a checked answer of an Endpoint.
type address struct {
	baseURL  string
	token    string
	loopback bool
}

func (c *Client) ask(ctx context.Context) (address, error) {
	baseURL, token, err := c.cfg.Endpoint(ctx)
	if err != nil {
		return address{}, err
	}
	a, err := newAddress(baseURL, token)
	if err != nil {
		return address{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = a
	return a, nil
}

// known is the endpoint's last answer, or a first one.
func (c *Client) known(ctx context.Context) (address, error) {
	c.mu.Lock()
	a := c.current
	c.mu.Unlock()
	if a.baseURL != "" {
		return a, nil
	}
	return c.ask(ctx)
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
	if strings.ContainsAny(token, "\r\n") {
		return address{}, errors.New("token: contains a line break")
	}
	host := parsed.Hostname()
	ip := net.ParseIP(host)
	return address{
		baseURL:  strings.TrimRight(baseURL, "/"),
		token:    token,
		loopback: host == "localhost" || (ip != nil && ip.IsLoopback()),
	}, nil
}
