package uplink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/faultproxy"
	"github.com/penstock-io/penstock/router"
)

func writePEM(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate makes a self-signed certificate for 127.0.0.1 and cn.
func certificate(t *testing.T, cn string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "cert.pem", "CERTIFICATE", der), writePEM(t, "key.pem", "PRIVATE KEY", keyDER)
}

// terminate is a TLS listener in front of target that demands a client
// certificate; each handshake's common name or error comes from names.
func terminate(t *testing.T, target, certFile, keyFile string, names chan<- string) string {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go join(c.(*tls.Conn), target, names)
		}
	}()
	return l.Addr().String()
}

func join(c *tls.Conn, target string, names chan<- string) {
	defer c.Close()
	if err := c.Handshake(); err != nil {
		names <- err.Error()
		return
	}
	names <- c.ConnectionState().PeerCertificates[0].Subject.CommonName
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = io.Copy(c, up)
		c.Close()
	}()
	_, _ = io.Copy(up, c)
}

func TestTLSWithClientCertificate(t *testing.T) {
	p := newParent(t)
	serverCert, serverKey := certificate(t, "parent")
	names := make(chan string, 10)
	cfg := testConfig("mqtts://" + terminate(t, p.tcp, serverCert, serverKey, names))
	cfg.TLS.CAFile = serverCert
	cfg.TLS.CertFile, cfg.TLS.KeyFile = certificate(t, "edge-1")
	u := start(t, cfg)
	receive(t, "the link", u.Available())
	if name := receive(t, "handshake", names); name != "edge-1" {
		t.Errorf("the parent saw the certificate of %q", name)
	}
	pump(t, u, 300, nil)
	p.inOrder(t, 300)
}

func TestUnknownServerCertificateIsRefused(t *testing.T) {
	p := newParent(t)
	serverCert, serverKey := certificate(t, "somebody")
	names := make(chan string, 1000)
	cfg := testConfig("mqtts://" + terminate(t, p.tcp, serverCert, serverKey, names))
	cfg.TLS.CAFile, _ = certificate(t, "parent")
	u := start(t, cfg)
	eventually(t, "an error in the status", func() bool { return u.Status().LastError != "" })
	if u.Status().State == Connected {
		t.Error("connected to a stranger")
	}
}

func TestHandshakeThatNeverEnds(t *testing.T) {
	p := newParent(t)
	link, err := faultproxy.New(p.tcp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	link.Freeze()
	cfg := testConfig("mqtt://" + link.Addr())
	cfg.ConnectTimeout = 50 * time.Millisecond
	u := start(t, cfg)
	eventually(t, "a timeout", func() bool { return u.Status().LastError != "" })
	link.Thaw()
	receive(t, "the link", u.Available())
	if err := receive(t, "answer", send(t.Context(), u, telemetry(1))); err != nil && !errors.Is(err, router.ErrUnavailable) {
		t.Fatal(err)
	}
}
