package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
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
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true,
		}
	}
	authority := template(1, "kafkatest authority")
	authority.IsCA, authority.KeyUsage = true, x509.KeyUsageCertSign
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	node := template(2, "kafkatest node")
	node.IPAddresses, node.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	certificate, err := x509.CreateCertificate(rand.Reader, node, authority, &key.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fail(err)
	}
	block := func(kind string, content []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	}
	identity := slices.Concat(block("PRIVATE KEY", private), block("CERTIFICATE", certificate), block("CERTIFICATE", ca))
	if err := os.WriteFile(filepath.Join(dir, brokerPEM), identity, 0o600); err != nil {
		return fail(err)
	}
	file := filepath.Join(dir, caPEM)
	if err := os.WriteFile(file, block("CERTIFICATE", ca), 0o600); err != nil {
		return fail(err)
	}
	return file, nil
}
