package tlsfiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write makes a self-signed pair for a name.
func write(t *testing.T, dir, name string, stamp time.Time) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: bytes}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func served(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	c, err := cfg.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Subject.CommonName
}

func TestRenewedFilesAreTaken(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, "old", time.Now().Add(-time.Minute))
	cfg, err := Server(cert, key, cert)
	if err != nil {
		t.Fatal(err)
	}
	if got := served(t, cfg); got != "old" {
		t.Fatalf("serves %s", got)
	}
	write(t, dir, "new", time.Now())
	for deadline := time.Now().Add(10 * time.Second); served(t, cfg) != "new"; {
		if time.Now().After(deadline) {
			t.Fatal("the renewed certificate is not served")
		}
	}
	if err := os.WriteFile(key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); {
		if served(t, cfg) != "new" {
			t.Fatal("a damaged renewal replaced a good pair")
		}
	}
}

func TestServerRefuses(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, "a", time.Now())
	if _, err := Server(cert, filepath.Join(dir, "missing"), ""); err == nil {
		t.Error("a missing key was taken")
	}
	if _, err := Server(cert, key, key); err == nil {
		t.Error("a file without certificates was taken for authorities")
	}
}
