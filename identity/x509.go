package identity

import (
	"crypto/sha1" //nolint:gosec // the vendor's registries hold SHA-1 thumbprints
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// checkCertificate decides whether a client's chain proves that it is the device
// or module called name: by thumbprint, or by a registered CA (contract 2.2).
func (g *Guard) checkCertificate(c *Connect, thumbprints []string, ca bool, name string) (time.Time, error) {
	leaf := c.Certificates[0]
	if !hasThumbprint(leaf, thumbprints) {
		if !ca || leaf.Subject.CommonName != name {
			return time.Time{}, fmt.Errorf("%w: certificate is not registered for %s", ErrBadCredentials, name)
		}
		if err := g.checkChain(c); err != nil {
			return time.Time{}, err
		}
	}
	now := g.now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return time.Time{}, fmt.Errorf("%w: certificate of %s is valid from %s to %s", ErrExpired, name,
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	return leaf.NotAfter, nil
}

func (g *Guard) checkChain(c *Connect) error {
	if len(c.VerifiedChains) > 0 {
		return nil
	}
	if g.roots == nil {
		return fmt.Errorf("%w: no certificate authority is registered", ErrBadCredentials)
	}
	leaf := c.Certificates[0]
	others := x509.NewCertPool()
	for _, cert := range c.Certificates[1:] {
		others.AddCert(cert)
	}
	// The leaf's own times are judged by the caller, who tells expired from bad.
	at := g.now()
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	} else if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: g.roots, Intermediates: others, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: certificate chain: %w", ErrBadCredentials, err)
	}
	return nil
}

// hasThumbprint compares with SHA-1 and SHA-256 thumbprints, with or without
// colons, in either case.
func hasThumbprint(cert *x509.Certificate, thumbprints []string) bool {
	if len(thumbprints) == 0 {
		return false
	}
	short := sha1.Sum(cert.Raw) //nolint:gosec // see the import
	long := sha256.Sum256(cert.Raw)
	found := 0
	for _, t := range thumbprints {
		want, err := hex.DecodeString(strings.ReplaceAll(t, ":", ""))
		if err != nil {
			continue
		}
		found |= subtle.ConstantTimeCompare(want, short[:]) | subtle.ConstantTimeCompare(want, long[:])
	}
	return found == 1
}

// Thumbprint returns the SHA-256 thumbprint of cert as Device.Thumbprints takes it.
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}
