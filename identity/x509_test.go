package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCertificate(t *testing.T, name string, by *authority, until time.Time) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: until,
		IsCA: by == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func TestAuthenticateCertificate(t *testing.T) {
	later := now.Add(time.Hour)
	ca, stranger := newCertificate(t, "ca", nil, later), newCertificate(t, "stranger", nil, later)
	pinned := newCertificate(t, "whatever", stranger, later)
	short := sha1.Sum(pinned.cert.Raw)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	dir, err := NewStatic([]Device{
		{ID: "pin", Thumbprints: []string{Thumbprint(pinned.cert)}, Modules: []Module{{ID: "m", Thumbprints: []string{Thumbprint(pinned.cert)}}}},
		{ID: "pin1", Thumbprints: []string{"zz", strings.ToUpper(hex.EncodeToString(short[:]))}},
		{ID: "byca", CA: true},
		{ID: "keyed", Key: key1},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := now
	g, err := NewGuard(dir, Config{Roots: roots, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	chain := func(c *authority) []*x509.Certificate { return []*x509.Certificate{c.cert} }
	tests := []struct {
		name, who string
		certs     []*x509.Certificate
		at        time.Time
		want      error
	}{
		{"SHA-256 thumbprint", "pin", chain(pinned), now, nil},
		{"SHA-1 thumbprint", "pin1", chain(pinned), now, nil},
		{"module's thumbprint", "pin/m", chain(pinned), now, nil},
		{"registered authority", "byca", chain(newCertificate(t, "byca", ca, later)), now, nil},

		{"another certificate", "pin", chain(newCertificate(t, "pin", stranger, later)), now, ErrBadCredentials},
		{"authority not asked for", "keyed", chain(newCertificate(t, "keyed", ca, later)), now, ErrBadCredentials},
		{"another common name", "byca", chain(newCertificate(t, "other", ca, later)), now, ErrBadCredentials},
		{"unknown authority", "byca", chain(newCertificate(t, "byca", stranger, later)), now, ErrBadCredentials},
		{"expired", "byca", chain(newCertificate(t, "byca", ca, later)), later.Add(time.Second), ErrExpired},
		{"expired thumbprint", "pin", chain(pinned), later.Add(time.Second), ErrExpired},
		{"not yet valid", "pin", chain(pinned), now.Add(-2 * time.Hour), ErrExpired},
	}
	for i, tc := range tests {
		at = tc.at
		c := connect(tc.who, nil)
		c.Remote, c.Certificates = peer(i), tc.certs
		p, err := g.Authenticate(c)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: err = %v, want %v", tc.name, err, tc.want)
		}
		if err == nil && (p.Method != MethodX509 || !p.Expires.Equal(tc.certs[0].NotAfter)) {
			t.Errorf("%s: %+v", tc.name, p)
		}
	}

	at = now
	plain := &Connect{ClientID: "any", Certificates: chain(newCertificate(t, "byca", ca, later))}
	if p, err := g.Authenticate(plain); err != nil || p.Device != "byca" || p.Dialect {
		t.Errorf("without a user name: %+v %v", p, err)
	}
	vouched := newCertificate(t, "byca", stranger, later)
	c := connect("byca", nil)
	c.Certificates, c.VerifiedChains = chain(vouched), [][]*x509.Certificate{{vouched.cert, stranger.cert}}
	if _, err := g.Authenticate(c); err != nil {
		t.Errorf("vouched for by the listener: %v", err)
	}
}
