package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestPublishDecodesEveryField(t *testing.T) {
	var p Publish
	if f := DecodePublish(V5, packet(0x3d, text("a/b"), id, fullPublishProps(), raw(1, 2)), &p); f != nil {
		t.Fatal(f)
	}
	got := fmt.Sprintf("%s %d %d %v %v % x | %d %d %d %s %s % x", p.Topic, p.ID, p.QoS, p.Dup, p.Retain, p.Payload,
		p.PayloadFormat, p.Expiry, p.TopicAlias, p.ContentType, p.ResponseTopic, p.CorrelationData)
	if want := "a/b 10 2 true true 01 02 | 1 256 3 json re/ply 00 ff"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var user []string
	for name, value := range p.User() {
		user = append(user, string(name)+"="+string(value))
	}
	if fmt.Sprint(user) != "[a=1 a=2]" {
		t.Errorf("user properties %v", user)
	}
	for _, id := range []byte{PropPayloadFormat, PropMessageExpiry, PropTopicAlias, PropUser} {
		if !p.Has(id) {
			t.Errorf("property %d was sent", id)
		}
	}

	// Nothing of a packet stays behind for the next one.
	if f := DecodePublish(V311, packet(0x30, text("x")), &p); f != nil {
		t.Fatal(f)
	}
	if p.Has(PropUser) || p.Raw != nil || p.ID != 0 || p.TopicAlias != 0 || len(p.Payload) != 0 {
		t.Errorf("left over: %+v", p)
	}
	for range p.User() {
		t.Error("a message without user properties has one")
	}
}

func TestTopicFastPathAgreesWithTheRules(t *testing.T) {
	for n := range 40 {
		for at := range n {
			for c := range 256 {
				topic := bytes.Repeat([]byte{'a'}, n)
				topic[at] = byte(c)
				plain := c != 0 && c < 0x80 && c != '+' && c != '#'
				if got := plainTopic(topic); got != plain {
					t.Fatalf("plainTopic(%q) = %v", topic, got)
				}
			}
		}
	}
	for _, topic := range []string{"a", "/", "a b", "ü/ключ/💧", "\ufeffbom", "\x01\x7f", strings.Repeat("x", 65535)} {
		if f := VetTopic([]byte(topic)); f != nil {
			t.Errorf("%.20q: %v", topic, f)
		}
	}
}

func TestFilters(t *testing.T) {
	for filter, shared := range map[string]bool{
		"#": false, "+": false, "/": false, "a/+/b/#": false, "+/+": false, "$SYS/#": false, "a b": false, "$shared/x": false,
		"$share/g/a": true, "$share/g/#": true, "$share/g/+": true, "$share/g//": true, "$SHARE/g/a": true,
	} {
		if got, f := VetFilter([]byte(filter)); f != nil || got != shared {
			t.Errorf("%q: shared %v, %v", filter, got, f)
		}
	}
}

func TestAliases(t *testing.T) {
	a := NewAliases(2)
	resolve := func(topic string, alias uint16) (string, *Fault) {
		p := Publish{Topic: []byte(topic), Properties: Properties{TopicAlias: alias}}
		f := a.Resolve(&p)
		return string(p.Topic), f
	}
	for _, c := range []struct {
		topic string
		alias uint16
		want  string
		code  byte
	}{
		{"plain", 0, "plain", 0},
		{"", 1, "", ProtocolError},
		{"one", 1, "one", 0},
		{"two", 2, "two", 0},
		{"", 1, "one", 0},
		{"uno", 1, "uno", 0},
		{"", 1, "uno", 0},
		{"", 2, "two", 0},
		{"three", 3, "three", TopicAliasInvalid},
		{"", 3, "", TopicAliasInvalid},
	} {
		topic, f := resolve(c.topic, c.alias)
		if topic != c.want || (f != nil) != (c.code != 0) || f != nil && f.Code != c.code {
			t.Errorf("%q alias %d: %q, %v", c.topic, c.alias, topic, f)
		}
	}
	var none Aliases
	if f := none.Resolve(&Publish{Topic: []byte("t"), Properties: Properties{TopicAlias: 1}}); f == nil || f.Code != TopicAliasInvalid {
		t.Errorf("an alias although none was announced: %v", f)
	}
}

// A remembered topic must not change when the read buffer does.
func TestAliasesOwnTheirTopics(t *testing.T) {
	a := NewAliases(1)
	buf := []byte("abc")
	if f := a.Resolve(&Publish{Topic: buf, Properties: Properties{TopicAlias: 1}}); f != nil {
		t.Fatal(f)
	}
	copy(buf, "xyz")
	p := Publish{Properties: Properties{TopicAlias: 1}}
	if f := a.Resolve(&p); f != nil || string(p.Topic) != "abc" {
		t.Errorf("%q, %v", p.Topic, f)
	}
}
