package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateAge is for how long a certificate is used without a look at whether
// its files have changed.
const certificateAge = time.Second

// certificates serves a certificate from files and reads it again once they change,
// so that a renewed one needs no restart. Where the new one cannot be used, as
// while one of the two files has been replaced and the other not yet, the last
// good one stays in use.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex // guards what follows
	pair   *tls.Certificate
	seen   [2]os.FileInfo // the files that pair was read from, or that could not be used
	looked time.Time
	said   string // what was wrong the last time, which is said once
}

// ServerTLS is how a listener proves who it is, by a certificate and its key in PEM
// files. With clientCA it lets in only whose certificate is by an authority in that
// file.
func ServerTLS(certFile, keyFile, clientCA string, log *slog.Logger) (*tls.Config, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(); err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(hello.Context()), nil },
	}
	if clientCA == "" {
		return config, nil
	}
	content, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, fmt.Errorf("authority of clients: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("authority of clients: %s holds no certificate; it wants PEM", clientCA)
	}
	return config, nil
}

// read reads both files. The mutex is held, or nobody else knows c yet.
func (c *certificates) read() error {
	seen, err := c.stat()
	if err != nil {
		return err
	}
	c.seen = seen
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", c.certFile, err)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("certificate %s: it ran out on %s", c.certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	c.pair = &pair
	return nil
}

func (c *certificates) stat() (seen [2]os.FileInfo, err error) {
	for i, name := range [...]string{c.certFile, c.keyFile} {
		var fault error
		if seen[i], fault = os.Stat(name); fault != nil {
			err = errors.Join(err, fmt.Errorf("certificate: %w", fault))
		}
	}
	return seen, err
}

// unchanged reports whether a file is the one that was seen.
func unchanged(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func (c *certificates) current(ctx context.Context) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateAge {
		c.looked = now
		seen, err := c.stat()
		if err == nil && unchanged(seen[0], c.seen[0]) && unchanged(seen[1], c.seen[1]) {
			return c.pair
		}
		if err == nil {
			err = c.read()
		}
		switch {
		case err == nil:
			c.said = ""
			c.log.InfoContext(ctx, "certificate read again", "valid_until", c.pair.Leaf.NotAfter)
		case err.Error() != c.said:
			c.said = err.Error()
			c.log.WarnContext(ctx, "certificate not read again, the last one stays in use", "error", err, "valid_until", c.pair.Leaf.NotAfter)
		}
	}
	return c.pair
}
