// Package tlsfiles makes a server's TLS configuration from PEM files and takes
// renewed files without a restart.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// Server returns a configuration that serves the certificate in certFile and
// keyFile; when either changes on disk, new connections get the new one. Client
// certificates are asked for and judged by the caller, who sees them in the
// connection state; if clientCAFile is set they are verified against it when given.
func Server(certFile, keyFile, clientCAFile string) (*tls.Config, error) {
	p := &pair{cert: certFile, key: keyFile}
	if _, err := p.current(); err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current() },
	}
	if clientCAFile == "" {
		return cfg, nil
	}
	pool, err := Pool(clientCAFile)
	if err != nil {
		return nil, err
	}
	cfg.ClientCAs, cfg.ClientAuth = pool, tls.VerifyClientCertIfGiven
	return cfg, nil
}

// Pool reads the certificates of one PEM file.
func Pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authorities: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// pair is a certificate and key on disk. It keeps serving the last good pair
// while a renewal is half written.
type pair struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamp   [2]time.Time
	checked time.Time
}

// lookEvery bounds how often handshakes look at the files.
const lookEvery = time.Second

func (p *pair) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded != nil && time.Since(p.checked) < lookEvery {
		return p.loaded, nil
	}
	p.checked = time.Now()
	stamp, err := p.modified()
	if err == nil && p.loaded != nil && stamp == p.stamp {
		return p.loaded, nil
	}
	if err == nil {
		var c tls.Certificate
		if c, err = tls.LoadX509KeyPair(p.cert, p.key); err == nil {
			p.loaded, p.stamp = &c, stamp
			return p.loaded, nil
		}
	}
	if p.loaded != nil {
		return p.loaded, nil
	}
	return nil, fmt.Errorf("read server certificate: %w", err)
}

func (p *pair) modified() (s [2]time.Time, err error) {
	for i, name := range []string{p.cert, p.key} {
		info, err := os.Stat(name)
		if err != nil {
			return s, err
		}
		s[i] = info.ModTime()
	}
	return s, nil
}
