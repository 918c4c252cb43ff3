package pipeline

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/cloudhub"
	cloud "github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/edgehub"
	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/daemon"
	"github.com/penstock-io/penstock/internal/faultproxy"
)

const (
	hubHost    = "penstock"
	edgeDevice = "edge-1"
	leafDevice = "press-7"
	module     = "filter"
	patience   = 30 * time.Second
)

var key = base64.StdEncoding.EncodeToString([]byte("a key of thirty-two bytes, no more"))

// options change a site; the zero value is an edge with its cloud and no rules.
type options struct {
	rules   string // rules.d/rules.yaml
	config  string // more of edgehub.yaml
	noCloud bool   // until startCloud

	edgeEnv, cloudEnv []string // settings from the environment
	uplinkScheme      string   // mqtt
}

// site is one edge and its cloud.
type site struct {
	t     *testing.T
	o     options
	dir   string
	proxy *faultproxy.Proxy // between them

	edge     *edgehub.Hub
	edgeAPI  *edge.Client
	stopEdge func()
	log      *lines // of the edge

	cloud *cloud.Client
}

func newSite(t *testing.T, o options) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "pst") // short: a Unix socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, o: o, dir: dir, log: &lines{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the edge's log:\n%s", s.log)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if s.proxy, err = faultproxy.New("127.0.0.1:1"); err != nil { // nobody is there yet
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.Close)
	if !o.noCloud {
		s.startCloud()
	}
	if err := os.Mkdir(filepath.Join(dir, "rules.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.writeRules(o.rules)
	write(t, s.path("edgehub.yaml"), fmt.Sprintf(edgeConfig, edgeDevice, key, hubHost, leafDevice, key, edgeDevice, module, key, cmp.Or(o.uplinkScheme, "mqtt"), s.proxy.Addr(), o.config))
	s.startEdge()
	return s
}

const edgeConfig = `
device: {id: %s, key: %s}
hub_host: %s
state_dir: edge
rules_dir: rules.d
listeners:
  - {name: mqtt, address: "127.0.0.1:0", allow_anonymous: true}
auth:
  devices:
    - {id: %s, key: %s}
    - {id: %s, modules: [{id: %s, key: %s}]}
  acl:
    - {group: everyone, allow: [publish, subscribe], topics: ["sensors/#", "alerts/#"]}
    - {group: anonymous, allow: [publish, subscribe], topics: ["sensors/#", "alerts/#"]}
uplink:
  addresses: ["%s://%s"]
  order: strict
api: {socket: s}
%s`

const cloudConfig = `
host: %s
state_dir: cloud
listeners:
  - {name: mqtt, address: "127.0.0.1:0"}
auth:
  devices:
    - {id: %s, key: %s, edge: true}
    - {id: %s, key: %s, parent: %s}
api: {listen: "127.0.0.1:0"}
`

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// writeRules replaces the rules as an editor does, in one step.
func (s *site) writeRules(text string) {
	s.t.Helper()
	if text == "" {
		text = "rules: []\n"
	}
	write(s.t, s.path("rules.tmp"), text)
	if err := os.Rename(s.path("rules.tmp"), s.path("rules.d/rules.yaml")); err != nil {
		s.t.Fatal(err)
	}
}

// openEdge assembles the edge as its program does.
func (s *site) openEdge() (*edgehub.Hub, error) {
	cfg, err := configs.LoadEdgeHub(s.path("edgehub.yaml"), s.o.edgeEnv)
	if err != nil {
		return nil, err
	}
	return edgehub.New(cfg, slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo})))
}

// startEdge runs the edge until stopEdge, or the test's end.
func (s *site) startEdge() {
	s.t.Helper()
	h, err := s.openEdge()
	if err != nil {
		s.t.Fatal(err)
	}
	s.edge, s.edgeAPI = h, edge.New(s.path("s"))
	s.stopEdge = run(s.t, "edgehub", h)
}

// startCloud runs a cloud and joins it to the edge.
func (s *site) startCloud() {
	s.t.Helper()
	write(s.t, s.path("cloudhub.yaml"), fmt.Sprintf(cloudConfig, hubHost, edgeDevice, key, leafDevice, key, edgeDevice))
	cfg, err := configs.LoadCloudHub(s.path("cloudhub.yaml"), s.o.cloudEnv)
	if err != nil {
		s.t.Fatal(err)
	}
	runner, err := daemon.CloudHub().New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	h, ok := runner.(*cloudhub.Hub)
	if !ok {
		s.t.Fatalf("the cloud is a %T", runner)
	}
	token, err := os.ReadFile(cfg.API.TokenFile)
	if err != nil {
		s.t.Fatal(err)
	}
	at := h.Listening()
	s.cloud = cloud.New("http://"+at.API, strings.TrimSpace(string(token)))
	s.proxy.Retarget(at.MQTT["mqtt"])
	run(s.t, "cloudhub", h)
}

// run runs a hub; the returned function ends it and waits. The test's end does so, too.
func run(t *testing.T, name string, h daemon.Runner) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience):
			t.Errorf("%s does not stop", name)
		}
	}
	t.Cleanup(stop)
	return stop
}

func (s *site) ledger() edge.Ledger {
	s.t.Helper()
	l, err := s.edgeAPI.Ledger(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// entry is one rule's account in one queue.
func (s *site) entry(rule, queue string) edge.Figures {
	s.t.Helper()
	for _, e := range s.ledger().Entries {
		if e.Rule == rule && e.Queue == queue {
			return e.Figures
		}
	}
	return edge.Figures{Balanced: true}
}

// received returns what the cloud's stream holds.
func (s *site) received() (all []cloud.Message) {
	s.t.Helper()
	err := s.cloud.Messages(s.t.Context(), cloud.Query{}, func(m *cloud.Message) error {
		all = append(all, *m)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// drained waits until the edge has nothing queued, and checks its balance.
func (s *site) drained() {
	s.t.Helper()
	until(s.t, "the queues to drain", func() error {
		l := s.ledger()
		if !l.Total.Balanced {
			s.t.Fatalf("the ledger does not balance: %+v", l)
		}
		if l.Total.Queued > 0 {
			return fmt.Errorf("%+v", l.Entries)
		}
		return nil
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var errNotYet = errors.New("not yet")

// until polls f until it returns nil.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}
