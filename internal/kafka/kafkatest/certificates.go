package kafkatest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"agentmeter/internal/certtest"
)

// brokerPEM holds the nodes' key and certificate, caPEM the authority's
// certificate.
const (
	brokerPEM = "broker.pem"
	caPEM     = "ca.pem"
)

// writeCertificates makes an authority and a certificate of its for the
// nodes, and returns the file of the authority.
func writeCertificates(dir string) (string, error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("kafkatest: certificates: %w", err) }
	authority, err := certtest.New("kafkatest authority")
	if err != nil {
		return fail(err)
	}
	certificate, key, err := authority.Issue("kafkatest node", "127.0.0.1")
	if err != nil {
		return fail(err)
	}
	identity := slices.Concat(key, certificate, authority.PEM())
	if err := os.WriteFile(filepath.Join(dir, brokerPEM), identity, 0o600); err != nil {
		return fail(err)
	}
	file := filepath.Join(dir, caPEM)
	if err := os.WriteFile(file, authority.PEM(), 0o600); err != nil {
		return fail(err)
	}
	return file, nil
}
