package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles are PEM files. The certificate and its key are read again for each connection, because somebody renews them. The
// CA is read again for each connection of a client, and every [HealthInterval] by a member of a cluster.
type TLSFiles struct {
	CA, Cert, Key string
}

// Empty reports whether there are no files.
func (f TLSFiles) Empty() bool { return f == TLSFiles{} }

// Config reads the files; those that are not given are not used. A server with this configuration requires a client
// certificate of the same CA.
func (f TLSFiles) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pool, err := f.loadCA()
		if err != nil {
			return nil, err
		}
		config.RootCAs, config.ClientCAs, config.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	}
	if f.Cert == "" {
		return config, nil
	}
	if _, err := f.loadCertificate(); err != nil {
		return nil, err
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.loadCertificate() }
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.loadCertificate() }
	return config, nil
}

func (f TLSFiles) loadCA() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading the CA certificate: the file has none")
	}
	return pool, nil
}

func (f TLSFiles) loadCertificate() (*tls.Certificate, error) {
	certificate, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return &certificate, nil
}
