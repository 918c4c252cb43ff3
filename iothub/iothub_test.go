package iothub

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

type corpus struct {
	Usernames []struct {
		ID, Username   string
		Valid          bool
		Device, Module string
		ClientType     string `json:"client_type"`
		ModelID        string `json:"model_id"`
	} `json:"mqtt_username_cases"`
	Operations []struct {
		ID, Topic, Operation, Status string
		Parses                       bool
		Properties                   map[string]string
	} `json:"mqtt_operation_topic_cases"`
}

// corpora returns the cases in testdata and, where PENSTOCK_SHARED names a
// folder, those of its conformance file.
func corpora(t *testing.T) map[string]corpus {
	t.Helper()
	files := []string{filepath.Join("testdata", "protocol-cases.json")}
	if dir := os.Getenv("PENSTOCK_SHARED"); dir != "" {
		files = append(files, filepath.Join(dir, "conformance", "routing-cases.json"))
	}
	all := map[string]corpus{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c corpus
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(c.Usernames) == 0 || len(c.Operations) == 0 {
			t.Fatalf("%s has no cases", file)
		}
		all[file] = c
	}
	return all
}

func TestUsernameCases(t *testing.T) {
	for file, c := range corpora(t) {
		for _, tc := range c.Usernames {
			u, err := ParseUsername(tc.Username)
			if (err == nil) != tc.Valid {
				t.Errorf("%s %s: %q: err = %v, want valid = %v", file, tc.ID, tc.Username, err, tc.Valid)
				continue
			}
			if err != nil {
				if !errors.Is(err, ErrUsername) {
					t.Errorf("%s: %v is no ErrUsername", tc.ID, err)
				}
				continue
			}
			got := [4]string{u.Device, u.Module, u.ClientType, u.ModelID}
			if want := [4]string{tc.Device, tc.Module, tc.ClientType, tc.ModelID}; got != want {
				t.Errorf("%s %s: %q: got %q, want %q", file, tc.ID, tc.Username, got, want)
			}
		}
	}
}

func TestOperationCases(t *testing.T) {
	for file, c := range corpora(t) {
		for _, tc := range c.Operations {
			o, err := ParseOperation(tc.Topic)
			if (err == nil) != tc.Parses {
				t.Errorf("%s %s: %q: err = %v, want parses = %v", file, tc.ID, tc.Topic, err, tc.Parses)
				continue
			}
			if err != nil {
				continue
			}
			got := map[string]string{}
			for _, p := range o.Properties {
				got[p.Name] = p.Value
			}
			if o.Kind.String() != tc.Operation || o.Status != tc.Status || !cmp.Equal(got, tc.Properties) {
				t.Errorf("%s %s: got %v %q %q, want %v %q %q", file, tc.ID, o.Kind, o.Status, got, tc.Operation, tc.Status, tc.Properties)
			}
		}
	}
}

func prop(name, value string) message.Property { return message.Property{Name: name, Value: value} }

func TestDecodeEvents(t *testing.T) {
	type ps = []message.Property
	tests := map[string]message.Message{
		"devices/d1/messages/events":                                 {Device: "d1"},
		"devices/d1/messages/events/":                                {Device: "d1"},
		"devices/d1/modules/m1/messages/events/":                     {Device: "d1", Module: "m1"},
		"devices/d1/modules/$edgeAgent/messages/events/":             {Device: "d1", Module: "$edgeAgent"},
		"devices/a%23b/messages/events/":                             {Device: "a#b"},
		"devices/a%20b/messages/events/":                             {Device: "a%20b"}, // not encoded: a blank is in no id
		"devices/d1/messages/events/?a=1":                            {Device: "d1", Properties: ps{prop("a", "1")}},
		"devices/d1/messages/events/a=1&&b=2&":                       {Device: "d1", Properties: ps{prop("a", "1"), prop("b", "2")}},
		"devices/d1/messages/events/none&empty=&k=v=w":               {Device: "d1", Properties: ps{{Name: "none", Null: true}, prop("empty", ""), prop("k", "v=w")}},
		"devices/d1/messages/events/a=1&a=2":                         {Device: "d1", Properties: ps{prop("a", "1"), prop("a", "2")}},
		"devices/d1/messages/events/load=100%&x=%4&y=%zz":            {Device: "d1", Properties: ps{prop("load", "100%"), prop("x", "%4"), prop("y", "%zz")}},
		"devices/d1/messages/events/p=a/b/":                          {Device: "d1", Properties: ps{prop("p", "a/b")}},
		"devices/d1/messages/events/sp%20ace=a%20b&amp%26eq%3D=x%26": {Device: "d1", Properties: ps{prop("sp ace", "a b"), prop("amp&eq=", "x&")}},
		"devices/d1/modules/m/messages/events/%24.on=out1&%24.mid=e1&alert=tr%20ue%26/": {
			Device: "d1", Module: "m", Output: "out1",
			System: ps{prop(message.SysMessageID, "e1")}, Properties: ps{prop("alert", "tr ue&")},
		},
		"devices/d1/messages/events/$.mid=1&$.cid=2&$.uid=3&$.to=4&$.ct=5&$.ce=6&$.ctime=7&$.schema=8&$.ifid=9&$.sub=10&iothub-MessageType=Will": {
			Device: "d1", System: ps{
				prop(message.SysMessageID, "1"), prop(message.SysCorrelationID, "2"), prop(message.SysUserID, "3"), prop(message.SysTo, "4"),
				prop(message.SysContentType, "5"), prop(message.SysContentEncoding, "6"), prop(message.SysCreationTime, "7"), prop(message.SysSchema, "8"),
				prop(message.SysInterfaceID, "9"), prop(message.SysSubject, "10"), prop(message.SysMessageType, "Will"),
			},
		},
		"devices/d1/messages/events/%24.cdid=other&%24.cmid=m&$.mine=1": {Device: "d1", Properties: ps{prop("$.mine", "1")}},
		"devices/d1/messages/events/%24.exp=2026-01-02T03%3A04%3A05.500Z": {
			Device: "d1", Expires: 1767323045500, System: ps{prop(message.SysExpiry, "2026-01-02T03:04:05.500Z")},
		},
		"devices/d1/messages/events/%24.exp=1960-01-01": {Device: "d1", Expires: 1, System: ps{prop(message.SysExpiry, "1960-01-01")}},
	}
	for topic, want := range tests {
		var got message.Message
		if err := DecodeEvents(topic, &got); err != nil {
			t.Errorf("%s: %v", topic, err)
			continue
		}
		if diff := cmp.Diff(want, got, noEmpty); diff != "" {
			t.Errorf("%s (-want +got):\n%s", topic, diff)
		}
	}
}

// noEmpty lets an empty list be equal to none.
var noEmpty = cmp.Transformer("nil", func(ps []message.Property) map[int]message.Property {
	m := map[int]message.Property{}
	for i, p := range ps {
		m[i] = p
	}
	return m
})

func TestDecodeEventsRefuses(t *testing.T) {
	tests := []struct {
		topic string
		want  error
	}{
		{"sensors/kitchen/temp", ErrTopic},
		{"devices/d1/messages/eventsx", ErrTopic},
		{"devices//messages/events/", ErrTopic},
		{"devices/d1/modules//messages/events/", ErrTopic},
		{"devices/a%2Fb/messages/events%2F/", ErrTopic},
		{"devices/" + strings.Repeat("d", MaxID+1) + "/messages/events/", ErrTopic},
		{"devices/d1/messages/events/=v", ErrProperties},
		{"devices/d1/messages/events/a=%ff", ErrProperties},
		{"devices/d1/messages/events/$.mid=1&%24.mid=2", ErrProperties},
		{"devices/d1/messages/events/$.on=1&$.on=2", ErrProperties},
		{"devices/d1/messages/events/$.exp=tomorrow", ErrProperties},
		{"devices/d1/messages/events/" + strings.Repeat("a&", MaxProperties+1), ErrProperties},
	}
	for _, tc := range tests {
		var m message.Message
		if err := DecodeEvents(tc.topic, &m); !errors.Is(err, tc.want) {
			t.Errorf("%s: err = %v, want %v", excerpt(tc.topic), err, tc.want)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	m := message.Message{Body: make([]byte, MaxMessage-2)}
	if err := DecodeEvents("devices/d/messages/events/a=1", &m); err != nil {
		t.Errorf("a message of exactly the limit: %v", err)
	}
	m = message.Message{Body: make([]byte, MaxMessage-2)}
	if err := DecodeEvents("devices/d/messages/events/a=12", &m); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte more: err = %v", err)
	}
}

func TestRetainIsStampedOnce(t *testing.T) {
	for _, topic := range []string{"devices/d/messages/events/", "devices/d/messages/events/mqtt-retain=true"} {
		m := message.Message{Retain: true}
		if err := DecodeEvents(topic, &m); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]message.Property{prop(PropRetain, "true")}, m.Properties); diff != "" {
			t.Errorf("%s: %s", topic, diff)
		}
	}
}

func TestBagOverrulesPacketProperties(t *testing.T) {
	m := message.Message{
		System:     []message.Property{prop(message.SysContentType, "text/plain")},
		Properties: []message.Property{prop("user", "1")},
	}
	if err := DecodeEvents("devices/d/messages/events/$.ct=application%2Fjson&bag=2", &m); err != nil {
		t.Fatal(err)
	}
	want := message.Message{
		Device:     "d",
		System:     []message.Property{prop(message.SysContentType, "application/json")},
		Properties: []message.Property{prop("user", "1"), prop("bag", "2")},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}

func TestClassifyFilter(t *testing.T) {
	tests := map[string]Subscription{
		"$iothub/twin/res/#":                      {Kind: TwinResponses},
		"$iothub/twin/PATCH/properties/desired/#": {Kind: TwinDesired},
		"$iothub/methods/POST/#":                  {Kind: Methods},
		"devices/d/messages/devicebound/#":        {Kind: DeviceBound, Device: "d"},
		"devices/d/modules/m/inputs/#":            {Kind: Inputs, Device: "d", Module: "m"},
		"devices/d/modules/m/inputs/in1/#":        {Kind: Inputs, Device: "d", Module: "m"},
		"devices/d/modules/m/#":                   {Kind: Inputs, Device: "d", Module: "m"},
		"devices/+/modules/m/#":                   {},
		"devices/d/modules/#":                     {},
		"devices/d/messages/events/#":             {},
		"sensors/#":                               {},
		"#":                                       {},
	}
	for filter, want := range tests {
		if got := ClassifyFilter(filter); got != want {
			t.Errorf("%s: got %+v, want %+v", filter, got, want)
		}
	}
}

func TestIsDelivery(t *testing.T) {
	for topic, want := range map[string]bool{
		"devices/d/messages/devicebound/": true, "devices/d/messages/devicebound": true, "devices/d/modules/m/inputs/in/a=1": true,
		"devices/d/messages/events/": false, "devices/d/modules/m/messages/events/": false, "devices/d": false, "plant/d/inputs/x": false,
	} {
		if got := IsDelivery(topic); got != want {
			t.Errorf("%s: %v", topic, got)
		}
	}
}

func TestDecodeWithoutBagDoesNotAllocate(t *testing.T) {
	var m message.Message
	n := testing.AllocsPerRun(100, func() {
		if err := DecodeEvents("devices/press-7/modules/sensor/messages/events/", &m); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
