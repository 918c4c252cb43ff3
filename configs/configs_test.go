package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/identity"
)

// sample writes an embedded file to a folder and returns its name there.
func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := Samples.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, name, string(b))
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSamplesLoad(t *testing.T) {
	e, err := LoadEdgeHub(sample(t, "edgehub.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.Device.ID != "edge-1" || e.Store.MaxBytes != 4<<30 || len(e.Listeners) != 2 || e.Auth.Devices[0].Modules[0].ID != "sensor" {
		t.Errorf("%+v", e)
	}
	if _, err := identity.NewStatic(e.Auth.Devices); err != nil {
		t.Error(err)
	}
	if _, err := identity.NewGuard(&identity.Static{}, identity.Config{Users: e.Auth.Users, Rules: e.Auth.ACL}); err != nil {
		t.Error(err)
	}
	c, err := LoadCloudHub(sample(t, "cloudhub.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "hub.example.com" || c.Stream.Name != "HUB_MESSAGES" || c.Auth.Devices[1].Parent != "edge-1" {
		t.Errorf("%+v", c)
	}
}

// What the samples write out is what the programs do without it.
func TestSamplesShowDefaults(t *testing.T) {
	e, err := LoadEdgeHub(sample(t, "edgehub.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := defaultEdgeHub()
	d.Uplink.Addresses = e.Uplink.Addresses
	for name, pair := range map[string][2]any{
		"store": {d.Store, e.Store}, "broker": {d.Broker, e.Broker}, "router": {d.Router, e.Router}, "uplink": {d.Uplink, e.Uplink}, "log": {d.Log, e.Log},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-default +sample):\n%s", name, diff)
		}
	}
	c, err := LoadCloudHub(sample(t, "cloudhub.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaultCloudHub().Stream, c.Stream); diff != "" {
		t.Errorf("stream (-default +sample):\n%s", diff)
	}
}

var (
	commentedKey = regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`)
	keyLine      = regexp.MustCompile(`^ *(?:- )?([a-z_]+):`)
)

// Every key of the structs is in the sample, and is explained there.
func TestSamplesExplainEveryKey(t *testing.T) {
	for name, c := range map[string]any{"edgehub.yaml": &EdgeHub{}, "cloudhub.yaml": &CloudHub{}} {
		b, err := Samples.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := commentedKey.ReplaceAllString(string(b), "$1$2")
		if err := Decode(name, []byte(text), c); err != nil {
			t.Errorf("with the optional keys: %v", err)
		}
		doc, err := parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys("", reflect.TypeOf(c).Elem()) {
			if !present(doc, key) {
				t.Errorf("%s does not show %s", name, key)
			}
		}
		explained := map[string]bool{}
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			m := keyLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			// One comment may stand for the keys that follow it directly.
			above := strings.TrimSpace(lines[max(i-1, 0)])
			prev := keyLine.FindStringSubmatch(lines[max(i-1, 0)])
			if strings.HasPrefix(above, "#") || prev != nil && explained[prev[1]] {
				explained[m[1]] = true
			}
			if !explained[m[1]] {
				t.Errorf("%s:%d: %s is not explained", name, i+1, m[1])
			}
		}
	}
}

// keys lists the paths of all settings below t; elements of lists are [*].
func keys(at string, t reflect.Type) (all []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := strings.TrimPrefix(at+"."+f.Tag.Get("yaml"), ".")
		all = append(all, key)
		switch {
		case f.Type.Kind() == reflect.Struct:
			all = append(all, keys(key, f.Type)...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			all = append(all, keys(key+"[*]", f.Type.Elem())...)
		}
	}
	return all
}

// present looks for key in any element of the lists on its way.
func present(doc *document, key string) bool {
	before, after, list := strings.Cut(key, "[*]")
	if !list {
		return doc.has(key)
	}
	for i := range 4 {
		if present(doc, before+"["+string(rune('0'+i))+"]"+after) {
			return true
		}
	}
	return false
}

func TestMistakesNameTheirPlace(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"unknown key", "device:\n  id: a\n  nmae: x\n", `:3:3: unknown field "nmae"`},
		{"duplicate key", "hub_host: a\nhub_host: b\n", ":2:1: mapping key"},
		{"syntax", "device: [\n", ":1:9: "},
		{"type", "broker:\n  receive_maximum: many\n", ":2:20: want a whole number, got text"},
		{"section", "store: 4GiB\n", ":1:8: "},
		{"duration", "router:\n  default_ttl: 30\n", `:2:16: "30" is no duration, want one like 30s, 2h or 7d`},
		{"size", "store:\n  max_bytes: 64 megs\n", `:2:14: "64 megs" is no size, want one like 64MiB or 2GiB`},
		{"list for a size", "store:\n  max_bytes: [1]\n", ":2:14: want one value"},
		{"second document", "device: {id: a}\n---\nhub_host: b\n", "a second document"},
		{"deep", strings.Repeat("[", 1000), "nested deeper than 64 levels"},
		{"dashes", strings.Repeat("- ", 1000) + "a", "nested deeper than 64 levels"},
		{"too large", strings.Repeat("#", MaxSize+1), "larger than 1048576 bytes"},

		{"choice", "device: {id: a}\nstore:\n  on_full: explode\n", `:3:12: store.on_full: "explode", want reject or drop_oldest`},
		{"no id", "hub_host: x\n", "device.id: \"\", want"},
		{"no key", "device: {id: a}\nuplink:\n  addresses: [mqtts://hub:8883]\n", "the uplink needs key or key_file"},
		{"two keys", "device: {id: a, key: AAAA, key_file: x}\n", "key and key_file are both set"},
		{"key", "device: {id: a, key: '*'}\n", "device.key: is not base64"},
		{"address", "device: {id: a}\nlisteners: [{address: 1883}]\n", `listeners[0].address: "1883", want host:port`},
		{"listener type", "device: {id: a}\nlisteners: [{type: udp, address: 'localhost:1'}]\n", `:2:20: listeners[0].type: "udp", want tcp or tls or ws or wss`},
		{"twice", "device: {id: a}\nlisteners: [{address: 'localhost:1'}, {address: 'localhost:2'}]\n", "a second listener called"},
		{"tls", "device: {id: a}\nlisteners: [{type: tls, address: 'localhost:1'}]\n", "needs cert_file and key_file"},
		{"anonymous", "device: {id: a}\nlisteners: [{address: ':1883', allow_anonymous: true}]\n", "anonymous clients are for this machine only"},
		{"api", "device: {id: a}\napi: {listen: '0.0.0.0:9600'}\n", "is not a loopback address"},
		{"uplink", "device: {id: a, key: AAAA}\nuplink:\n  addresses:\n    - hub:8883\n", `:4:7: uplink.addresses[0]: "hub:8883", want mqtts://host:port`},
		{"retry", "device: {id: a}\nrouter: {retry: {min: 2m}}\n", "want 0s < min <= max"},
		{"queue", "device: {id: a}\nstore: {max_bytes: 1MiB, queue_max_bytes: 2MiB}\n", "2MiB is more than max_bytes, 1MiB"},
		{"range", "device: {id: a}\nbroker: {receive_maximum: 70000}\n", "70000 is too large, want at most 65535"},
		{"acl", "device: {id: a}\nauth:\n  acl:\n    - {group: g, allow: [read], topics: [a]}\n", `:4:7: auth.acl[0]: access rule allows "read"`},
		{"password", "device: {id: a}\nauth: {users: [{name: u, password_hash: plain}]}\n", "user u: malformed password hash"},
		{"device", "device: {id: a}\nauth: {devices: [{id: d, key: '?'}]}\n", "device d: a key is not base64"},
	}
	for _, tc := range tests {
		path := write(t, "edgehub.yaml", tc.text)
		_, err := LoadEdgeHub(path, nil)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: err = %v", tc.name, err)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: %v\nwant %s", tc.name, err, tc.want)
		}
	}
}

func TestCloudHubMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"host: ''\n":          "host: is empty",
		"nats: {url: '/x'}\n": `nats.url: "/x", want nats://host:port`,
		"nats: {url: 'nats://a', embedded: {address: 'localhost:1'}}\n": "there is no embedded server",
		"nats: {embedded: {sync: sometimes}}\n":                         "want always or interval",
		"stream: {name: 'a.b'}\n":                                       "want a name without",
		"stream: {subjects: 'a..b'}\n":                                  "want words joined by dots",
		"stream: {replicas: 6}\n":                                       "want at most 5",
		"api: {listen: x}\n":                                            "want host:port",
	} {
		if _, err := LoadCloudHub(write(t, "c.yaml", text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v, want %s", text, err, want)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := LoadEdgeHub(write(t, "e.yaml", "log: {level: loud, format: xml}\n"), nil)
	for _, want := range []string{"device.id", "log.level", "log.format"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell about %s", err, want)
		}
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	_, err := LoadEdgeHub("", []string{"PENSTOCK_EDGEHUB_DEVICE_ID=a", "PENSTOCK_EDGEHUB_DEVICE_KEY=hunter2!"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("err = %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	path := sample(t, "edgehub.yaml")
	c, err := LoadEdgeHub(path, []string{
		"PATH=/bin", "PENSTOCK_CLOUDHUB_HOST=x", "PENSTOCK_EDGEHUB_DEVICE_ID=edge-9", "PENSTOCK_EDGEHUB_STORE_MAX_BYTES=1GiB",
		"PENSTOCK_EDGEHUB_LISTENERS_0_ADDRESS=127.0.0.1:2", "PENSTOCK_EDGEHUB_LISTENERS_0_ALLOW_ANONYMOUS=true",
		"PENSTOCK_EDGEHUB_UPLINK_ADDRESSES=mqtt://a:1, mqtts://b:2", "PENSTOCK_EDGEHUB_UPLINK_WINDOW=7", "PENSTOCK_EDGEHUB_ROUTER_RETRY_MIN=1s",
		"PENSTOCK_EDGEHUB_AUTH_DEVICES_0_KEY=AAAA",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Device.ID != "edge-9" || c.Store.MaxBytes != 1<<30 || c.Listeners[0].Address != "127.0.0.1:2" || !c.Listeners[0].AllowAnonymous ||
		!cmp.Equal(c.Uplink.Addresses, []string{"mqtt://a:1", "mqtts://b:2"}) || c.Uplink.Window != 7 ||
		time.Duration(c.Router.Retry.Min) != time.Second || c.Auth.Devices[0].Key.Reveal() != "AAAA" {
		t.Errorf("%+v", c)
	}
	for _, kv := range []string{
		"PENSTOCK_EDGEHUB_STORE_MAXBYTES=1GiB", "PENSTOCK_EDGEHUB_LISTENERS_7_ADDRESS=x", "PENSTOCK_EDGEHUB_STORE_MAX_BYTES=lots",
		"PENSTOCK_EDGEHUB_UPLINK_WINDOW=x", "PENSTOCK_EDGEHUB_LISTENERS_0_ALLOW_ANONYMOUS=yes", "PENSTOCK_EDGEHUB_AUTH_DEVICES=x",
	} {
		name, _, _ := strings.Cut(kv, "=")
		if _, err := LoadEdgeHub(path, []string{kv}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: err = %v", kv, err)
		}
	}
}

func TestDefaultsWithoutFile(t *testing.T) {
	c, err := LoadEdgeHub("", []string{"PENSTOCK_EDGEHUB_DEVICE_ID=a"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Listeners) != 1 || !isLoopback(c.Listeners[0].Address) || c.API.Socket != filepath.Join("state", "edgehub.sock") {
		t.Errorf("%+v", c)
	}
	if c, err := LoadEdgeHub(write(t, "e.yaml", "# nothing\n"), []string{"PENSTOCK_EDGEHUB_DEVICE_ID=a"}); err != nil || !filepath.IsAbs(c.StateDir) {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := LoadEdgeHub(filepath.Join(t.TempDir(), "none.yaml"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	d, err := LoadCloudHub("", nil)
	if err != nil || d.API.TokenFile != filepath.Join("state", "api.token") || d.NATS.Embedded.StoreDir != filepath.Join("state", "jetstream") {
		t.Errorf("%+v %v", d, err)
	}
}

func TestHubHostFollowsUplink(t *testing.T) {
	c, err := LoadEdgeHub(write(t, "e.yaml", "device: {id: a, key: AAAA}\nuplink: {addresses: ['mqtts://hub.test:8883']}\n"), nil)
	if err != nil || c.HubHost != "hub.test" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestReadSecret(t *testing.T) {
	path := write(t, "key", " AAAA\n")
	if s, err := ReadSecret("", path); err != nil || s.Reveal() != "AAAA" {
		t.Errorf("%q %v", s.Reveal(), err)
	}
	if s, err := ReadSecret("BBBB", path); err != nil || s.Reveal() != "BBBB" {
		t.Errorf("%q %v", s.Reveal(), err)
	}
	if _, err := ReadSecret("", path+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 7 * day, "2w": 14 * day, "1w1d1h": 8*day + time.Hour, "1.5h": 90 * time.Minute,
	} {
		if d, err := ParseDuration(s); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %s %v", s, d, err)
		}
	}
	for _, s := range []string{"", "30", "-1s", "+1s", "d", "1.5d", "1d-1h", "1h1d", "9999999999d", "106752d", "1y", "7 d"} {
		if d, err := ParseDuration(s); err == nil {
			t.Errorf("%q is %s", s, d)
		}
	}
}

func TestBytes(t *testing.T) {
	for s, want := range map[string]Bytes{"0": 0, "0B": 0, "512B": 512, "64KiB": 64 << 10, "64 MiB": 64 << 20, "2GB": 2e9, "1TiB": 1 << 40} {
		if b, err := ParseBytes(s); err != nil || b != want {
			t.Errorf("%s: %d %v", s, b, err)
		}
	}
	for _, s := range []string{"", "64", "-1B", "1.5GiB", "64M", "MiB", "9999999TiB", "64mib"} {
		if b, err := ParseBytes(s); err == nil {
			t.Errorf("%q is %s", s, b)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	f.Add("1w2d3h")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(d.String()); d < 0 || err != nil || again != d {
			t.Fatalf("%q is %d, written %s, read %d %v", s, d, d, again, err)
		}
	})
}

func FuzzParseBytes(f *testing.F) {
	f.Add("64MiB")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBytes(s)
		if err != nil {
			return
		}
		if again, err := ParseBytes(b.String()); b < 0 || err != nil || again != b {
			t.Fatalf("%q is %d, written %s, read %d %v", s, b, b, again, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("device: {id: a}\nlisteners:\n  - name: x\n")
	f.Add("a: &x [*x]\n")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		var c EdgeHub
		err := Decode("f.yaml", []byte(s), &c)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %T %v", s, err, err)
		}
	})
}
