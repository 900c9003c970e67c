package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type healthCommand struct {
	URL     string        `help:"Process to ask: its /readyz says whether it can do its work, which is asked where there is no path, and /healthz whether it lives." default:"http://127.0.0.1:8080/readyz" placeholder:"URL"`
	TLSCert string        `name:"tls-cert" help:"Certificate that the process serves, trusted as it is. Empty: one that the system trusts, for the name in --url." type:"path" placeholder:"FILE"`
	Timeout time.Duration `help:"How long the answer may take." default:"5s"`
}

func (*healthCommand) Help() string {
	return example("agentmeter health --url http://127.0.0.1:9464/readyz").
		help("Asks a running process for its health and prints the answer, for container engines that probe by a command. Exit status: 0 healthy, 1 not, 2 misuse.")
}

func (c *healthCommand) check() error {
	faults := []error{readable("--tls-cert", c.TLSCert), isAddress("--url", c.URL, "http://127.0.0.1:8080/readyz")}
	if c.Timeout <= 0 {
		faults = append(faults, fmt.Errorf("--timeout: %v is not positive", c.Timeout))
	}
	return errors.Join(faults...)
}

func (c *healthCommand) Run(ctx context.Context, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	where, err := url.Parse(c.URL)
	if err != nil {
		return misuse("--url: %w", err)
	}
	if where.Path == "" || where.Path == "/" {
		// AGENTMETER_URL is where import and simulate send to, too, who append theirs.
		where.Path = "/readyz"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), http.NoBody)
	if err != nil {
		return misuse("--url: %w", err)
	}
	transport := transportTo(c.TLSCert)
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer response.Body.Close()
	const maxAnswer = 16 << 10
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s: %s", response.Status, strings.TrimSpace(string(answer)))
	}
	_, err = fmt.Fprintln(s.out, strings.TrimSpace(string(answer)))
	return err
}
