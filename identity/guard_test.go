package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	key1 = Secret("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	key2 = Secret("c2Vjb25kYXJ5LWtleS1zZWNvbmRhcnkta2V5LTEyMzQ=")
	keyM = Secret("bW9kdWxlLWtleS1tb2R1bGUta2V5LW1vZHVsZS1rZXk=")
	key9 = Secret("c29tZWJvZHktZWxzZSdzLWtleS1zb21lYm9keS1lbHM=")
	host = "hub.example.test"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func testDirectory(t *testing.T) *Static {
	t.Helper()
	s, err := NewStatic([]Device{
		{ID: "dev1", Key: key1, SecondaryKey: key2, Modules: []Module{{ID: "modA", Key: keyM}}, Groups: []string{"presses"}},
		{ID: "off", Key: key1, Disabled: true},
		{ID: "edge", Key: key1, Edge: true},
		{ID: "inner", Key: key1, Edge: true, Parent: "edge"},
		{ID: "leaf", Key: key1, Parent: "inner"},
		{ID: "stray", Key: key1},
		{ID: "switched", Parent: "edge", Disabled: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// quick is a hash with few rounds, so that tests need not wait for many.
func quick(t *testing.T, password string) Secret {
	t.Helper()
	h, err := deriveHash(password, []byte("0123456789abcdef"), 2)
	if err != nil {
		t.Fatal(err)
	}
	return Secret(h)
}

func newGuard(t *testing.T, cfg Config) *Guard {
	t.Helper()
	cfg.Hosts = []string{host, "gateway.local"}
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return now }
	}
	g, err := NewGuard(testDirectory(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func token(t *testing.T, resource string, key Secret, until time.Time) []byte {
	t.Helper()
	s, err := SAS(resource, key, until)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(s)
}

// connect is a device's or module's CONNECT in the dialect.
func connect(who string, password []byte) *Connect {
	return &Connect{
		ClientID: who, Username: host + "/" + who + "/?api-version=2021-04-12", Password: password,
		Remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1},
	}
}

// peer gives a test case an address of its own, where nobody has failed before.
func peer(i int) net.Addr { return &net.TCPAddr{IP: net.IPv4(198, 51, 100, byte(i)), Port: 1} }

func TestSASVectors(t *testing.T) {
	at := time.Unix(1893456000, 0)
	for resource, sig := range map[string]string{
		"hub.example.test/devices/dev1":              "mpE%2F%2FqzWMo9famjXw4rnuEoIAT3zM5KGSItRb58kTk0%3D",
		"hub.example.test/devices/dev1/modules/modA": "9PgvL9VGmPn%2BzIE4S0FU8WRiA6oXvYVVL66Fl952rsY%3D",
	} {
		got, err := SAS(resource, key1, at)
		if err != nil {
			t.Fatal(err)
		}
		want := "SharedAccessSignature sr=" + strings.ReplaceAll(resource, "/", "%2F") + "&sig=" + sig + "&se=1893456000"
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		tok, err := ParseSAS(got)
		if err != nil || !tok.SignedBy(key1) || tok.SignedBy(key2) || tok.Resource != resource || !tok.Expires.Equal(at) {
			t.Errorf("%s: %+v %v", resource, tok, err)
		}
	}
}

// SDKs differ in how they escape the resource, and sign it as they wrote it.
func TestSASIsVerifiedAsReceived(t *testing.T) {
	for _, sr := range []string{"hub.example.test%2Fdevices%2Fdev1", "hub.example.test%2fdevices%2fdev1", "hub.example.test/devices/dev1"} {
		secret := []byte("0123456789abcdef0123456789abcdef")
		sig := url.QueryEscape(base64.StdEncoding.EncodeToString(sign(secret, sr+"\n1893456000")))
		text := "SharedAccessSignature skn=&se=1893456000&sig=" + sig + "&sr=" + sr
		tok, err := ParseSAS(text)
		if err != nil || !tok.SignedBy(key1) {
			t.Errorf("%s: %v", sr, err)
		}
	}
}

func TestParseSASRefuses(t *testing.T) {
	for _, s := range []string{
		"", "secret", "SharedAccessSignature ", "SharedAccessSignature sr=a&sig=AAAA", "SharedAccessSignature sr=a&se=1",
		"SharedAccessSignature sig=AAAA&se=1", "SharedAccessSignature sr=a&sig=AAAA&se=x", "SharedAccessSignature sr=a&sig=AAAA&se=-1",
		"SharedAccessSignature sr=a&sig=!&se=1", "SharedAccessSignature sr=%zz&sig=AAAA&se=1", "SharedAccessSignature sr=a&sr=b&sig=AAAA&se=1",
		"SharedAccessSignature sr=" + strings.Repeat("a", maxToken) + "&sig=AAAA&se=1",
	} {
		if _, err := ParseSAS(s); !errors.Is(err, ErrToken) {
			t.Errorf("%.40q: err = %v", s, err)
		}
	}
}

func TestAuthenticateToken(t *testing.T) {
	g := newGuard(t, Config{})
	later := now.Add(time.Hour)
	own, mod := host+"/devices/dev1", host+"/devices/dev1/modules/modA"
	tests := []struct {
		name string
		c    *Connect
		want error
	}{
		{"primary key", connect("dev1", token(t, own, key1, later)), nil},
		{"secondary key", connect("dev1", token(t, own, key2, later)), nil},
		{"gateway's host, other case", connect("dev1", token(t, "Gateway.Local/Devices/DEV1", key1, later)), nil},
		{"module key", connect("dev1/modA", token(t, mod, keyM, later)), nil},
		{"module with device key", connect("dev1/modA", token(t, mod, key2, later)), nil},
		{"id escaped twice", connect("edge/$edgeHub", token(t, host+"/devices/edge/modules/%24edgeHub", key1, later)), nil},
		{"system module", connect("edge/$edgeHub", token(t, host+"/devices/edge/modules/$edgeHub", key1, later)), nil},

		{"wrong key", connect("dev1", token(t, own, key9, later)), ErrBadCredentials},
		{"module key for the device", connect("dev1", token(t, own, keyM, later)), ErrBadCredentials},
		{"another host", connect("dev1", token(t, "evil.test/devices/dev1", key1, later)), ErrBadCredentials},
		{"another device's token", connect("dev1", token(t, host+"/devices/leaf", key1, later)), ErrBadCredentials},
		{"device's token for its module", connect("dev1/modA", token(t, own, key1, later)), ErrBadCredentials},
		{"expired", connect("dev1", token(t, own, key1, now)), ErrExpired},
		{"no token", connect("dev1", nil), ErrBadCredentials},
		{"not a token", connect("dev1", []byte("secret")), ErrBadCredentials},
		{"policy token", connect("dev1", append(token(t, own, key1, later), "&skn=device"...)), ErrBadCredentials},
		{"unknown device", connect("nobody", token(t, host+"/devices/nobody", key1, later)), ErrUnknownDevice},
		{"unknown module", connect("dev1/modB", token(t, host+"/devices/dev1/modules/modB", key1, later)), ErrUnknownDevice},
		{"system module of a plain device", connect("dev1/$edgeHub", token(t, host+"/devices/dev1/modules/$edgeHub", key1, later)), ErrUnknownDevice},
		{"disabled", connect("off", token(t, host+"/devices/off", key1, later)), ErrDisabled},
	}
	for i, tc := range tests {
		tc.c.Remote = peer(i)
		p, err := g.Authenticate(tc.c)
		if tc.want != nil {
			if !errors.Is(err, tc.want) {
				t.Errorf("%s: err = %v, want %v", tc.name, err, tc.want)
			}
			continue
		}
		if err != nil || !p.Dialect || p.Method != MethodSAS || p.Name() != tc.c.ClientID || !p.Expires.Equal(later) {
			t.Errorf("%s: %+v %v", tc.name, p, err)
		}
	}
	other := connect("dev1", token(t, own, key1, later))
	other.ClientID, other.Remote = "DEV1", peer(len(tests))
	if _, err := g.Authenticate(other); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("client id of another name: err = %v", err)
	}
}

func TestAuthenticatePassword(t *testing.T) {
	g := newGuard(t, Config{Users: []User{
		{Name: "operator", PasswordHash: quick(t, "s3cret"), Groups: []string{"staff"}},
		{Name: "press", PasswordHash: quick(t, "p"), Device: "dev1"},
		{Name: "ghost", PasswordHash: quick(t, "p"), Device: "off"},
	}})
	login := func(user, password string) (*Principal, error) {
		return g.Authenticate(&Connect{ClientID: "c", Username: user, Password: []byte(password)})
	}
	for range 2 { // the second time from the cache
		if p, err := login("operator", "s3cret"); err != nil || p.User != "operator" || p.Dialect || p.Method != MethodPassword {
			t.Errorf("%+v %v", p, err)
		}
	}
	if p, err := login("press", "p"); err != nil || p.Device != "dev1" {
		t.Errorf("a user that is a device: %+v %v", p, err)
	}
	for _, c := range [][2]string{{"operator", "wrong"}, {"operator", ""}, {"nobody", "s3cret"}, {"press", "s3cret"}} {
		if _, err := login(c[0], c[1]); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%q: err = %v", c, err)
		}
	}
	if _, err := login("ghost", "p"); !errors.Is(err, ErrDisabled) {
		t.Errorf("a user that is a disabled device: err = %v", err)
	}
}

func TestHashPassword(t *testing.T) {
	s, err := HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHash(Secret(s))
	if err != nil || !h.matches([]byte("correct horse")) || h.matches([]byte("correct hors")) {
		t.Errorf("%s: %v", s, err)
	}
	if _, err := HashPassword(""); err == nil {
		t.Error("an empty password was hashed")
	}
	for _, bad := range []string{"", "plain", "$bcrypt$1$AAAA$AAAA", strings.Replace(s, "210000", "0", 1), strings.Replace(s, "210000", "99999999999", 1), s[:len(s)-4]} {
		if _, err := NewGuard(testDirectory(t), Config{Users: []User{{Name: "u", PasswordHash: Secret(bad)}}}); !errors.Is(err, ErrPasswordHash) {
			t.Errorf("%q: err = %v", bad, err)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
}

func TestAnonymous(t *testing.T) {
	g := newGuard(t, Config{Anonymous: []string{"local"}, Rules: []Rule{
		{Group: GroupAnonymous, Allow: []string{"publish"}, Topics: []string{"guests/%c/#"}},
		{Group: GroupEveryone, Allow: []string{"publish"}, Topics: []string{"members"}},
	}})
	p, err := g.Authenticate(&Connect{ClientID: "g1", Listener: "local", Loopback: true})
	if err != nil || p.Method != MethodAnonymous || p.Name() != "anonymous" {
		t.Fatalf("%+v %v", p, err)
	}
	for topic, want := range map[string]bool{
		"guests/g1/x": true, "guests/g2/x": false, "members": false, "devices/dev1/messages/events/": false, "$iothub/twin/GET/?$rid=1": false,
	} {
		if got := g.Allow(p, Publish, topic); got != want {
			t.Errorf("%s: %v", topic, got)
		}
	}
	for _, c := range []*Connect{{Listener: "local"}, {Listener: "public", Loopback: true}} {
		if _, err := g.Authenticate(c); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%+v: err = %v", c, err)
		}
	}
	if _, err := g.Authenticate(&Connect{Listener: "local", Loopback: true, Username: "x"}); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("a user name without a password: err = %v", err)
	}
}

func TestThrottle(t *testing.T) {
	at := now
	g := newGuard(t, Config{Now: func() time.Time { at = at.Add(time.Millisecond); return at }})
	good := connect("dev1", token(t, host+"/devices/dev1", key1, now.Add(time.Hour)))
	bad := connect("dev1", token(t, host+"/devices/dev1", key9, now.Add(time.Hour)))
	for i := range pairBurst {
		if _, err := g.Authenticate(bad); !errors.Is(err, ErrBadCredentials) {
			t.Fatalf("attempt %d: err = %v", i, err)
		}
	}
	if _, err := g.Authenticate(good); !errors.Is(err, ErrThrottled) {
		t.Errorf("after %d failures: err = %v", pairBurst, err)
	}
	elsewhere := *good
	elsewhere.Remote = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}
	if _, err := g.Authenticate(&elsewhere); err != nil {
		t.Errorf("from another address: %v", err)
	}
	neighbour := connect("leaf", token(t, host+"/devices/leaf", key1, now.Add(time.Hour)))
	if _, err := g.Authenticate(neighbour); err != nil {
		t.Errorf("another device behind the same address: %v", err)
	}
	at = at.Add(pairInterval)
	if _, err := g.Authenticate(good); err != nil {
		t.Errorf("after a while: %v", err)
	}
	for i := range addressBurst {
		g.Authenticate(connect(fmt.Sprintf("guess%d", i), []byte("x"))) //nolint:errcheck // meant to fail
	}
	if _, err := g.Authenticate(neighbour); !errors.Is(err, ErrThrottled) {
		t.Errorf("an address that guesses names: err = %v", err)
	}
}

func TestThrottleAddress(t *testing.T) {
	a := throttleAddress(&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Zone: "eth0", Port: 1})
	b := throttleAddress(&net.TCPAddr{IP: net.ParseIP("2001:db8::ffff"), Port: 2})
	if a != b || a != "2001:db8::/64" {
		t.Errorf("%s, %s", a, b)
	}
	if s := throttleAddress(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 1}); s != "192.0.2.1" {
		t.Error(s)
	}
}
