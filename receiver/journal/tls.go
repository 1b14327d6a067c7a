package journal

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles are files in PEM. They are read again for each connection, because somebody renews them; by a server, that of the
// authority is read every few seconds.
type TLSFiles struct {
	CA, Cert, Key string
}

// Empty tells whether there are none.
func (f TLSFiles) Empty() bool { return f == TLSFiles{} }

// Config reads the files, of which those that are left out are not used. A server demands a certificate of the same
// authority.
func (f TLSFiles) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pool, err := f.authority()
		if err != nil {
			return nil, err
		}
		config.RootCAs, config.ClientCAs, config.ClientAuth = pool, pool, tls.RequireAndVerifyClientCert
	}
	if f.Cert == "" {
		return config, nil
	}
	if _, err := f.pair(); err != nil {
		return nil, err
	}
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.pair() }
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.pair() }
	return config, nil
}

func (f TLSFiles) authority() (*x509.CertPool, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading the authority's certificate: the file has none")
	}
	return pool, nil
}

func (f TLSFiles) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return &pair, nil
}
