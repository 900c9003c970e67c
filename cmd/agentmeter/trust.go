package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// transportTo carries requests to a process of ours that serves this certificate,
// which is trusted as it is: it lies where its owner put it, whoever issued it, and
// for whatever name. Empty: as any other address is reached.
func transportTo(certFile string) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // net/http's own
	if certFile == "" {
		return transport
	}
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		// For each connection anew, since it may have been renewed.
		config, err := trustOnly(certFile)
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
	}
	return transport
}

// trustOnly trusts one certificate, under a name of its own.
func trustOnly(certFile string) (*tls.Config, error) {
	content, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	leaf, err := leafOf(content)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", certFile, err)
	}
	config.RootCAs.AddCert(leaf)
	switch {
	case len(leaf.DNSNames) > 0:
		config.ServerName = strings.Replace(leaf.DNSNames[0], "*", "agentmeter", 1)
	case len(leaf.IPAddresses) > 0:
		config.ServerName = leaf.IPAddresses[0].String()
	}
	return config, nil
}

// leafOf is the first certificate of a PEM file, which is the server's own.
func leafOf(content []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return nil, errors.New("it holds no certificate; it wants PEM")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
}
