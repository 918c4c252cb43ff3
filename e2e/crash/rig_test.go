package crash

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/faultproxy"
)

const (
	hubHost    = "penstock"
	edgeDevice = "edge-1"
	leaves     = 8

	// Delays keep messages and their acknowledgements under way long enough to
	// be lost.
	frontDelay = 5 * time.Millisecond
	lineDelay  = 30 * time.Millisecond
)

var key = base64.StdEncoding.EncodeToString([]byte("a key of thirty-two bytes, no more"))

func leafName(i int) string { return fmt.Sprintf("leaf-%d", i) }

// rig is one edge and one cloud, joined by a proxy that can fail.
type rig struct {
	t         *testing.T
	edge      *child
	cloud     *child
	front     *faultproxy.Proxy // between the leaves and the edge
	proxy     *faultproxy.Proxy // between the edge and the cloud
	edgeAPI   *edge.Client
	cloudAPI  *cloud.Client
	cloudBase string
	tokenFile string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "pcrash") // short: a Unix socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, tokenFile: filepath.Join(dir, "token")}
	edgeMQTT, cloudMQTT, api := freeAddr(t), freeAddr(t), freeAddr(t)
	r.cloudBase = "http://" + api
	r.front, r.proxy = newProxy(t, edgeMQTT, frontDelay), newProxy(t, cloudMQTT, lineDelay)
	socket := filepath.Join(dir, "s")
	r.edgeAPI = edge.New(socket)

	rules := filepath.Join(dir, "rules.d")
	if err := os.Mkdir(rules, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(rules, "rules.yaml"), "rules:\n  - {name: telemetry, from: devices/*, into: $upstream}\n")
	var here, there strings.Builder
	for i := range leaves {
		fmt.Fprintf(&here, "    - {id: %s, key: %s}\n", leafName(i), key)
		fmt.Fprintf(&there, "    - {id: %s, parent: %s}\n", leafName(i), edgeDevice)
	}
	r.cloud = newChild(t, dir, "cloudhub", fmt.Sprintf(cloudConfig, hubHost, cloudMQTT, edgeDevice, key, there.String(), api, r.tokenFile), r.cloudReady)
	r.edge = newChild(t, dir, "edgehub", fmt.Sprintf(edgeConfig, edgeDevice, key, hubHost, edgeMQTT, here.String(), r.proxy.Addr(), socket), r.edgeReady)
	r.cloud.start()
	r.edge.start()
	return r
}

const cloudConfig = `
host: %s
state_dir: cloud
listeners:
  - {name: mqtt, address: "%s"}
auth:
  devices:
    - {id: %s, key: %s, edge: true}
%sapi: {listen: "%s", token_file: %s}
log: {level: warn}
`

const edgeConfig = `
device: {id: %s, key: %s}
hub_host: %s
state_dir: edge
rules_dir: rules.d
listeners:
  - {name: mqtt, address: "%s"}
auth:
  devices:
%suplink:
  addresses: ["mqtt://%s"]
  order: strict
  keep_alive: 5s
  connect_timeout: 3s
api: {socket: %s}
log: {level: warn}
`

func (r *rig) cloudReady() error {
	token, err := os.ReadFile(r.tokenFile)
	if err != nil {
		return err
	}
	c := cloud.New(r.cloudBase, strings.TrimSpace(string(token)))
	s, err := c.Status(r.t.Context())
	if err == nil && !s.Ready {
		err = errors.New("not ready")
	}
	if err == nil {
		r.cloudAPI = c
	}
	return err
}

func (r *rig) edgeReady() error {
	_, err := r.edgeAPI.Status(r.t.Context())
	return err
}

func newProxy(t *testing.T, target string, delay time.Duration) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.Delay(delay)
	return p
}

// drain waits until the edge has nothing left to send.
func (r *rig) drain(ctx context.Context) {
	r.t.Helper()
	until(r.t, "the edge's queue to drain", drainTimeout, func() error {
		l, err := r.edgeAPI.Ledger(ctx)
		if err == nil && l.Total.Queued > 0 {
			err = fmt.Errorf("%d messages are queued", l.Total.Queued)
		}
		return err
	})
}

// freeAddr finds a port below those that systems give to outgoing connections,
// so that nobody takes it while the hub is down.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port between 20000 and 32000")
	return ""
}
