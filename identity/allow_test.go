package identity

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func admit(t *testing.T, g *Guard, who string) *Principal {
	t.Helper()
	device, module, _ := strings.Cut(who, "/")
	p, err := g.Authenticate(connect(who, token(t, Resource(host, device, module), key1, now.Add(time.Hour))))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllowInTheDialect(t *testing.T) {
	g := newGuard(t, Config{Rules: []Rule{{Group: GroupEveryone, Allow: []string{"publish", "subscribe"}, Topics: []string{"#"}}}})
	tests := []struct {
		who    string
		action Action
		topic  string
		want   bool
	}{
		{"dev1", Publish, "devices/dev1/messages/events/", true},
		{"dev1", Publish, "devices/dev1/messages/events/a=1&%24.mid=2", true},
		{"dev1", Publish, "devices/DEV1/messages/events/", false},
		{"dev1", Publish, "devices/leaf/messages/events/", false},
		{"dev1", Publish, "devices/dev1/modules/modA/messages/events/", false},
		{"dev1", Publish, "devices//messages/events/", false},
		{"dev1/modA", Publish, "devices/dev1/modules/modA/messages/events/%24.on=o", true},
		{"dev1/modA", Publish, "devices/dev1/messages/events/", false},
		{"dev1", Publish, "$iothub/twin/GET/?$rid=1", true},
		{"dev1", Publish, "$iothub/twin/PATCH/properties/reported/?$rid=1", true},
		{"dev1", Publish, "$iothub/methods/res/200/?$rid=1", true},
		{"dev1", Publish, "$iothub/twin/res/200/?$rid=1", false},
		{"dev1", Publish, "$iothub/methods/POST/reboot/?$rid=1", false},
		{"dev1", Publish, "$SYS/broker/uptime", false},
		{"dev1", Publish, "devices/dev1/messages/devicebound/x", false},
		{"edge", Publish, "devices/leaf/messages/devicebound/x", false},
		{"dev1", Publish, "devices/edge/modules/filter/inputs/in/", false},
		{"dev1", Publish, "plain/topic", true},
		{"dev1", Publish, "plain/+", false},

		{"edge", Publish, "devices/edge/modules/filter/messages/events/", true},
		{"edge", Publish, "devices/inner/messages/events/", true},
		{"edge", Publish, "devices/leaf/messages/events/", true},
		{"edge", Publish, "devices/leaf/modules/m/messages/events/", true},
		{"edge", Publish, "devices/stray/messages/events/", false},
		{"edge", Publish, "devices/switched/messages/events/", false},
		{"edge", Publish, "devices/nobody/messages/events/", false},
		{"edge/$edgeHub", Publish, "devices/leaf/messages/events/", true},
		{"edge/$edgeAgent", Publish, "devices/leaf/messages/events/", false},
		{"leaf", Publish, "devices/inner/messages/events/", false},
		{"inner", Publish, "devices/edge/messages/events/", false},

		{"dev1", Subscribe, "devices/dev1/messages/devicebound/#", true},
		{"dev1", Subscribe, "$iothub/twin/res/#", true},
		{"dev1", Subscribe, "$iothub/twin/PATCH/properties/desired/#", true},
		{"dev1", Subscribe, "$iothub/methods/POST/#", true},
		{"dev1", Subscribe, "$iothub/#", false},
		{"dev1", Subscribe, "$SYS/#", false},
		{"dev1/modA", Subscribe, "devices/dev1/modules/modA/inputs/#", true},
		{"dev1/modA", Subscribe, "devices/dev1/modules/modA/#", true},
		{"dev1", Subscribe, "$share/g/$SYS/#", false},
		{"dev1", Subscribe, "a#", false},
		{"dev1", Subscribe, "", false},
	}
	for _, tc := range tests {
		if got := g.Allow(admit(t, g, tc.who), tc.action, tc.topic); got != tc.want {
			t.Errorf("%s may %s %s: %v, want %v", tc.who, tc.action, tc.topic, got, tc.want)
		}
	}
	if g.Allow(nil, Publish, "plain/topic") {
		t.Error("nobody may publish")
	}
}

func TestNoRuleNoPlainTopics(t *testing.T) {
	g := newGuard(t, Config{})
	p := admit(t, g, "dev1")
	for _, topic := range []string{"sensors/a", "devices/leaf/messages/devicebound/#", "devices/leaf/modules/m/inputs/#", "devices/+/messages/devicebound/#", "#", "+"} {
		if g.Allow(p, Subscribe, topic) {
			t.Errorf("subscribe %s without a rule", topic)
		}
	}
	if g.Allow(p, Publish, "sensors/a") || g.Allow(p, Publish, "devices/dev1/other") {
		t.Error("publish without a rule")
	}
}

// An id made of wildcard characters does not become a wildcard.
func TestWildcardIDs(t *testing.T) {
	dir, err := NewStatic([]Device{{ID: "+", Key: key1}, {ID: "a%b", Key: key1}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGuard(dir, Config{Now: func() time.Time { return now }, Rules: []Rule{
		{Group: GroupDevices, Allow: []string{"subscribe"}, Topics: []string{"own/%d/#"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := admit(t, g, "+")
	for filter, want := range map[string]bool{
		"devices/%2B/messages/devicebound/#": true, "devices/+/messages/devicebound/#": false,
		"devices/dev1/messages/devicebound/#": false, "own/x/y": false, "own/+/#": false,
	} {
		if got := g.Allow(p, Subscribe, filter); got != want {
			t.Errorf("+: %s: %v", filter, got)
		}
	}
	p = admit(t, g, "a%b")
	for _, filter := range []string{"devices/a%25b/messages/devicebound/#", "devices/a%b/messages/devicebound/#", "own/a%b/x"} {
		if !g.Allow(p, Subscribe, filter) {
			t.Errorf("a%%b may not subscribe %s", filter)
		}
	}
}

func TestAccessRules(t *testing.T) {
	g := newGuard(t, Config{
		Users: []User{{Name: "anna", PasswordHash: quick(t, "p"), Groups: []string{"staff"}}},
		Rules: []Rule{
			{User: "anna", Allow: []string{"publish", "subscribe"}, Topics: []string{"home/%u/#"}},
			{Group: "staff", Allow: []string{"subscribe"}, Topics: []string{"a/+", "devices/+/messages/events/#"}},
			{Group: "presses", Allow: []string{"publish"}, Topics: []string{"presses/%d"}},
			{Device: "leaf", Allow: []string{"publish"}, Topics: []string{"leaf/%c"}},
			{Group: GroupUsers, Allow: []string{"publish"}, Topics: []string{"users", "devices/dev1/messages/events/#", "by/%d"}},
			{Group: GroupDevices, Allow: []string{"publish"}, Topics: []string{"machines"}},
		},
	})
	anna, err := g.Authenticate(&Connect{ClientID: "c/1", Username: "anna", Password: []byte("p")})
	if err != nil {
		t.Fatal(err)
	}
	dev1, leaf := admit(t, g, "dev1"), admit(t, g, "leaf")
	tests := []struct {
		p      *Principal
		action Action
		topic  string
		want   bool
	}{
		{anna, Publish, "home/anna/lamp", true},
		{anna, Publish, "home/bert/lamp", false},
		{anna, Subscribe, "home/anna/#", true},
		{anna, Subscribe, "home/+/lamp", false},
		{anna, Subscribe, "$share/g/home/anna/+", true},
		{anna, Subscribe, "$share/g/home/#", false},
		{anna, Subscribe, "a/b", true},
		{anna, Subscribe, "a/+", true},
		{anna, Subscribe, "a/#", false},
		{anna, Publish, "a/b", false},
		{anna, Publish, "users", true},
		{anna, Publish, "machines", false},
		{anna, Publish, "devices/dev1/messages/events/", false}, // no rule gives somebody's name away
		{anna, Subscribe, "devices/dev1/messages/events/#", true},
		{anna, Publish, "by/", false},
		{dev1, Publish, "presses/dev1", true},
		{dev1, Publish, "presses/leaf", false},
		{dev1, Publish, "machines", true},
		{dev1, Publish, "leaf/dev1", false},
		{leaf, Publish, "leaf/leaf", true},
		{leaf, Publish, "presses/leaf", false},
	}
	for _, tc := range tests {
		if got := g.Allow(tc.p, tc.action, tc.topic); got != tc.want {
			t.Errorf("%s may %s %s: %v, want %v", tc.p.Name(), tc.action, tc.topic, got, tc.want)
		}
	}
}

func TestRuleValidate(t *testing.T) {
	for _, r := range []Rule{
		{Allow: []string{"publish"}, Topics: []string{"a"}},
		{User: "u", Group: "g", Allow: []string{"publish"}, Topics: []string{"a"}},
		{User: "u", Topics: []string{"a"}},
		{User: "u", Allow: []string{"publish"}},
		{User: "u", Allow: []string{"read"}, Topics: []string{"a"}},
		{User: "u", Allow: []string{"publish"}, Topics: []string{"a#"}},
		{User: "u", Allow: []string{"publish"}, Topics: []string{"a/%x"}},
		{User: "u", Allow: []string{"publish"}, Topics: []string{"a/b%u"}},
	} {
		if _, err := NewGuard(testDirectory(t), Config{Rules: []Rule{r}}); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

func matches(filter, topic string) bool {
	f, l := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i := range f {
		if f[i] == "#" {
			return true
		}
		if i >= len(l) || f[i] != "+" && f[i] != l[i] {
			return false
		}
	}
	return len(f) == len(l) || len(f) < len(l) && f[len(f)-1] == "#"
}

// topics are all with up to four levels from a small alphabet.
func topics() (all []string) {
	levels := []string{"a", "b", "$s", ""}
	last := []string{"a", "b", "$s", ""}
	for range 4 {
		all = append(all, last...)
		var next []string
		for _, t := range last {
			for _, l := range levels {
				next = append(next, t+"/"+l)
			}
		}
		last = next
	}
	return all
}

// oracle for a filter of one topic: the match of MQTT 4.7, with a/# matching a.
func oracle(filter, topic string) bool {
	return matches(filter, topic) || strings.HasSuffix(filter, "/#") && matches(strings.TrimSuffix(filter, "/#"), topic)
}

func TestCoversIsContainment(t *testing.T) {
	all := topics()
	gen := rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "$s", "", "+"}), 0, 3).Draw(t, "levels")
		if len(levels) == 0 || rapid.Bool().Draw(t, "hash") {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	})
	rapid.Check(t, func(t *rapid.T) {
		allowed, filter := gen.Draw(t, "allowed"), gen.Draw(t, "filter")
		if filter == "" || allowed == "" {
			return
		}
		want := true
		for _, topic := range all {
			if topic != "" && oracle(filter, topic) && !oracle(allowed, topic) {
				want = false
				break
			}
		}
		if got := Covers(allowed, filter); got != want {
			t.Fatalf("Covers(%q, %q) = %v, want %v", allowed, filter, got, want)
		}
	})
}

func TestSecretsStayHidden(t *testing.T) {
	d := Device{ID: "d", Key: key1}
	j, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key1, "device", d)
	for _, s := range []string{fmt.Sprint(key1), fmt.Sprintf("%v %+v %#v %q", d, d, d, d.Key), string(j), log.String()} {
		if strings.Contains(s, key1.Reveal()) {
			t.Errorf("shown: %s", s)
		}
	}
}

func TestStaticRefuses(t *testing.T) {
	for _, ds := range [][]Device{
		{{ID: ""}}, {{ID: "a/b"}}, {{ID: "a"}, {ID: "a"}}, {{ID: "a", Key: "not base64!"}}, {{ID: "a", Parent: "a"}},
		{{ID: "a", Modules: []Module{{ID: "m/n"}}}},
	} {
		if _, err := NewStatic(ds); err == nil {
			t.Errorf("%+v was taken", ds)
		}
	}
	s, err := NewStatic([]Device{{ID: "a", Modules: []Module{{ID: "m"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Module("a", "m"); !ok {
		t.Error("module not found")
	}
	s.Remove("a")
	if _, ok := s.Module("a", "m"); ok {
		t.Error("module of a removed device")
	}
}

func TestAllowDoesNotAllocate(t *testing.T) {
	g := newGuard(t, Config{})
	p := admit(t, g, "dev1")
	if n := testing.AllocsPerRun(100, func() { g.Allow(p, Publish, "devices/dev1/messages/events/a=1") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseSAS(f *testing.F) {
	f.Add("SharedAccessSignature sr=h%2Fdevices%2Fd&sig=AAAA&se=1893456000&skn=")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseSAS(s)
		if err == nil && (tok.Resource == "" || len(tok.signature) == 0 || tok.SignedBy(key1)) {
			t.Fatalf("%q gives %+v", s, tok)
		}
	})
}

func FuzzParseHash(f *testing.F) {
	f.Add("$pbkdf2-sha512$2$MDEyMzQ1Njc$AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseHash(Secret(s)); err == nil && (h.rounds > maxHashRounds || len(h.sum) != hashSize) {
			t.Fatalf("%q gives %d rounds", s, h.rounds)
		}
	})
}
