package quickstart

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// DefaultState is the folder a quickstart keeps everything in.
const DefaultState = "penstock-state"

const (
	stateVersion = "1"
	edgeDevice   = "edge-1"
	machine      = "press-7"
	spare        = "meter-1" // known and not used: for who wants to try replay or pub
	filter       = "filter"
	hubHost      = "penstock"
	maxSocket    = 100 // a Unix socket's path may have 107 bytes
)

// Addresses are where the quickstart's parts listen, each host:port. Port 0 picks
// a free one.
type Addresses struct {
	Edge  string `json:"edge"`  // edgehub, MQTT
	Cloud string `json:"cloud"` // cloudhub, MQTT
	API   string `json:"api"`   // cloudhub, HTTP
	NATS  string `json:"nats"`  // the embedded JetStream, for consumers
}

// DefaultAddresses are all on loopback.
var DefaultAddresses = Addresses{
	Edge: "127.0.0.1:1883", Cloud: "127.0.0.1:1884", API: "127.0.0.1:18080", NATS: "127.0.0.1:14222",
}

// EdgeSocket is the local API of the quickstart's edgehub.
func EdgeSocket(state string) string {
	path, err := filepath.Abs(filepath.Join(state, "edge", "edgehub.sock"))
	if err != nil || len(path) > maxSocket {
		h := fnv.New64a()
		h.Write([]byte(path))
		return filepath.Join(os.TempDir(), fmt.Sprintf("penstock-%x.sock", h.Sum64()))
	}
	return path
}

// CloudState is the folder of the quickstart's cloudhub.
func CloudState(state string) string { return filepath.Join(state, "cloud", "state") }

// CloudURL is the API of the quickstart's cloudhub.
func CloudURL(state string) string {
	a := DefaultAddresses
	if b, err := os.ReadFile(filepath.Join(state, "addresses.json")); err == nil {
		_ = json.Unmarshal(b, &a) // a damaged file leaves the defaults, and the next start writes it anew
	}
	return "http://" + a.API
}

// keys of the quickstart's identities, base64.
type keys struct{ edge, machine, spare, filter string }

// prepare makes the state folder, or checks that it is one of ours, and writes
// the configurations. Keys and rule files that are there stay as they are.
func prepare(state string, a *Addresses) (k keys, err error) {
	if err := checkVersion(state); err != nil {
		return k, err
	}
	if err := a.reserve(); err != nil {
		return k, err
	}
	for _, dir := range []string{"edge/rules.d", "cloud"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o700); err != nil {
			return k, stateError(err)
		}
	}
	for file, key := range map[string]*string{"device.key": &k.edge, "machine.key": &k.machine, "meter.key": &k.spare, "filter.key": &k.filter} {
		text, err := once(filepath.Join(state, "edge", file), newKey)
		if err != nil {
			return k, stateError(err)
		}
		*key = strings.TrimSpace(text)
	}
	if _, err := once(filepath.Join(state, "edge/rules.d/quickstart.yaml"), func() string { return sampleRules }); err != nil {
		return k, stateError(err)
	}
	return k, writeConfigs(state, a, &k)
}

func writeConfigs(state string, a *Addresses, k *keys) error {
	addresses, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"addresses.json":      string(addresses) + "\n",
		"cloud/cloudhub.yaml": fmt.Sprintf(cloudConfig, hubHost, a.Cloud, a.NATS, a.API),
		"edge/edgehub.yaml": fmt.Sprintf(edgeConfig, edgeDevice, hubHost, EdgeSocket(state), a.Edge,
			machine, k.machine, spare, k.spare, edgeDevice, filter, k.filter, a.Cloud),
	} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			return stateError(err)
		}
	}
	return nil
}

func stateError(err error) error {
	return fmt.Errorf("state folder: %w: make it writable or name another with --state", err)
}

// checkVersion refuses a folder that holds something else, or an older state.
func checkVersion(state string) error {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return stateError(err)
	}
	file := filepath.Join(state, "version")
	b, err := os.ReadFile(file)
	switch v := strings.TrimSpace(string(b)); {
	case err == nil && v == stateVersion:
		return nil
	case err == nil:
		return fmt.Errorf("state folder %s has version %q, this edgectl writes version %q: remove the folder or name another with --state", state, v, stateVersion)
	case !errors.Is(err, fs.ErrNotExist):
		return stateError(err)
	}
	entries, err := os.ReadDir(state)
	if err != nil {
		return stateError(err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("folder %s is not empty and not a quickstart's: name another with --state", state)
	}
	if err := os.WriteFile(file, []byte(stateVersion+"\n"), 0o600); err != nil {
		return stateError(err)
	}
	return nil
}

// reserve checks that every address can be listened on and replaces port 0.
func (a *Addresses) reserve() error {
	for _, l := range []struct {
		flag string
		addr *string
	}{{"--edge-mqtt", &a.Edge}, {"--cloud-mqtt", &a.Cloud}, {"--api", &a.API}, {"--nats", &a.NATS}} {
		listener, err := net.Listen("tcp", *l.addr)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w: stop what uses it, or choose another address with %s", *l.addr, err, l.flag)
		}
		defer listener.Close() // all at once, so that port 0 gives different ones
		*l.addr = listener.Addr().String()
	}
	return nil
}

// once returns the text of a file, which it makes and fills if it is not there.
func once(path string, text func() string) (string, error) {
	b, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return string(b), err
	}
	t := text()
	return t, os.WriteFile(path, []byte(t), 0o600)
}

func newKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:]) + "\n"
}

const cloudConfig = `# Written anew by every quickstart.
host: %s
state_dir: state
listeners:
  - name: mqtt
    address: %s
nats:
  embedded:
    address: %s
api:
  listen: %s
`

const edgeConfig = `# Written anew by every quickstart. The rules in rules.d are yours to change.
device:
  id: %s
  key_file: device.key
hub_host: %s
state_dir: state
rules_dir: rules.d
api:
  socket: %q
listeners:
  - name: mqtt
    address: %s
    allow_anonymous: true
auth:
  devices:
    - id: %s
      key: %s
    - id: %s
      key: %s
    - id: %s
      modules:
        - id: %s
          key: %s
  acl:
    - group: everyone
      allow: [subscribe]
      topics: ["alerts/#"]
    - group: anonymous
      allow: [subscribe]
      topics: ["alerts/#"]
    - group: everyone
      allow: [publish, subscribe]
      topics: ["sensors/#"]
    - group: anonymous
      allow: [publish, subscribe]
      topics: ["sensors/#"]
uplink:
  addresses:
    - mqtt://%s
`

const sampleRules = `# What the quickstart's machine sends goes to the cloud; what is hot goes through
# the filter module first, and its alerts overtake everything else. Change the
# file while it runs: it is read again, and a mistake leaves the last good rules
# in force.
rules:
  - name: telemetry
    from: devices/*
    into: $upstream

  - name: hot
    from: devices/*
    where: body.machine.temperature > 90
    select: {machine: body.machine.id, temperature: body.machine.temperature}
    into: modules/filter/inputs/in
    ttl: 2h

  - name: alerts
    from: modules/filter/outputs/alerts
    into:
      - $upstream
      - topic: alerts/hot
    priority: 0
`
