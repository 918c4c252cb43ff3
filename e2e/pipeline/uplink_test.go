package pipeline

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/leaf"
)

// certificate writes a self-signed pair that is good for both ends of a
// connection on this machine.
func certificate(t *testing.T, name string) (certFile, keyFile string, cert *x509.Certificate) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return certFile, keyFile, cert
}

// TestTLS: a device that proves itself by its certificate's thumbprint, over TLS
// to the edge, and from there over TLS to the cloud.
func TestTLS(t *testing.T) {
	t.Parallel()
	server, serverKey, ca := certificate(t, "hub")
	mine, mineKey, own := certificate(t, leafDevice)
	listener := func(hub string) []string {
		at := "PENSTOCK_" + hub + "_LISTENERS_0_"
		return []string{at + "TYPE=tls", at + "CERT_FILE=" + server, at + "KEY_FILE=" + serverKey}
	}
	s := newSite(t, options{
		rules:    "rules:\n  - {name: up, from: devices/*, into: $upstream}\n",
		cloudEnv: listener("CLOUDHUB"),
		edgeEnv: append(listener("EDGEHUB"), "PENSTOCK_EDGEHUB_UPLINK_CA_FILE="+server,
			"PENSTOCK_EDGEHUB_AUTH_DEVICES_0_THUMBPRINTS="+identity.Thumbprint(own)),
		uplinkScheme: "mqtts",
	})
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	pair, err := tls.LoadX509KeyPair(mine, mineKey)
	if err != nil {
		t.Fatal(err)
	}
	join := func(certs ...tls.Certificate) (*leaf.Client, error) {
		c, err := leaf.New(leaf.Options{
			Address: s.edge.Addr("mqtt"), Device: leafDevice, User: hubHost + "/" + leafDevice + "/?api-version=2021-04-12",
			TLS: &tls.Config{RootCAs: roots, Certificates: certs, MinVersion: tls.VersionTLS12},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c, c.Connect(t.Context())
	}
	if _, err := join(); err == nil {
		t.Error("a device without a certificate came in")
	}
	press, err := join(pair)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, press, telemetry("1", "1"), telemetry("2", "2"))
	s.drained()
	if n := len(s.received()); n != 2 {
		t.Errorf("%d messages in the cloud, want 2", n)
	}
}

// TestLanes: after an outage fresh messages do not wait for the backlog, and
// nothing of it is lost. Order holds within each lane.
func TestLanes(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{
		rules:   "rules:\n  - {name: up, from: devices/*, into: $upstream}\n",
		edgeEnv: []string{"PENSTOCK_EDGEHUB_UPLINK_ORDER=lanes", "PENSTOCK_EDGEHUB_UPLINK_WINDOW=16", "PENSTOCK_EDGEHUB_UPLINK_RATE_MESSAGES_PER_SECOND=200"},
	})
	if err := s.edgeAPI.CutUplink(t.Context()); err != nil {
		t.Fatal(err)
	}
	press := s.leaf(leafDevice, "")
	const backlog, live = 600, 40
	for n := range backlog {
		publish(t, press, telemetry(fmt.Sprint("old-", n), fmt.Sprint(n)))
	}
	if err := s.edgeAPI.RestoreUplink(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the backlog to begin to arrive", func() error {
		if n := len(s.received()); n < 20 {
			return fmt.Errorf("%d arrived", n)
		}
		return nil
	})
	for n := range live {
		publish(t, press, telemetry(fmt.Sprint("new-", n), fmt.Sprint(backlog+n)))
	}
	s.drained()
	last := map[bool]int{false: -1, true: -1}
	freshDone, all := 0, s.received()
	for i, m := range all {
		var n int
		if _, err := fmt.Sscan(string(m.Body), &n); err != nil {
			t.Fatal(err)
		}
		fresh := n >= backlog
		if n <= last[fresh] {
			t.Fatalf("message %d after %d in one lane", n, last[fresh])
		}
		last[fresh] = n
		if fresh {
			freshDone = i
		}
	}
	if len(all) != backlog+live || freshDone > backlog {
		t.Errorf("%d messages, the last fresh one at place %d; want %d, and it before the backlog's end", len(all), freshDone, backlog+live)
	}
}
