package rules

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// scenarios is the part of a case file that concerns whole rule sets. The
// project's own cases are in testdata; PENSTOCK_SHARED may name those of the reference.
type scenarios struct {
	About     struct{ Counts map[string]int }
	Scenarios []scenario `json:"routing_scenarios"`
	Versions  []struct {
		ID     string
		Schema *string         `json:"schema_version"`
		Routes json.RawMessage `json:"routes"`
		Valid  bool
	} `json:"schema_version_cases"`
	Desired []desiredCase `json:"edgehub_desired_cases"`
}

type scenario struct {
	ID       string
	Routes   []string
	Steps    []step
	Message  struct{ Properties map[string]string }
	Weighted []struct {
		Condition, Endpoint string
		Priority            uint8
		TTL                 int `json:"ttl_seconds"`
	} `json:"weighted_routes"`
	Expected []struct {
		Endpoint string
		Priority uint8
		TTL      int64 `json:"ttl_seconds"`
	}
}

type step struct {
	Send           *sent    `json:"send"`
	ReportedUpdate *sent    `json:"reported_update"`
	Delivered      []string `json:"delivered_to"`
	NotDelivered   []string `json:"not_delivered_to"`
}

type sent struct {
	Device, Module, Output string
	Properties, System     map[string]string
}

type desiredCase struct {
	ID      string
	Desired json.RawMessage
	Valid   bool
	Expect  map[string]json.RawMessage
}

func eachCaseFile(t *testing.T, f func(t *testing.T, c *scenarios)) {
	files := []string{"testdata/own-scenarios.json"}
	if dir := os.Getenv("PENSTOCK_SHARED"); dir != "" {
		files = append(files, filepath.Join(dir, "conformance", "routing-cases.json"))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c scenarios
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for section, n := range map[string]int{"routing_scenarios": len(c.Scenarios), "schema_version_cases": len(c.Versions), "edgehub_desired_cases": len(c.Desired)} {
			if n == 0 || n != c.About.Counts[section] {
				t.Errorf("%s: %d %s, want %d", file, n, section, c.About.Counts[section])
			}
		}
		t.Run(filepath.Base(file), func(t *testing.T) { f(t, &c) })
	}
}

func (s *sent) message(kind message.Kind) *message.Message {
	m := &message.Message{Kind: kind, Device: s.Device, Module: s.Module, Output: s.Output}
	for name, value := range s.Properties {
		m.Properties = append(m.Properties, message.Property{Name: name, Value: value})
	}
	for name, value := range s.System {
		m.System = append(m.System, message.Property{Name: name, Value: value})
	}
	return m
}

func TestScenarios(t *testing.T) {
	eachCaseFile(t, func(t *testing.T, all *scenarios) {
		for _, c := range all.Scenarios {
			if len(c.Weighted) > 0 {
				checkWeighted(t, c)
				continue
			}
			hub := &EdgeHub{}
			for i, text := range c.Routes {
				hub.Routes = append(hub.Routes, EdgeRoute{Name: fmt.Sprint("r", i), Text: text, Priority: message.PriorityNone})
			}
			s, err := Compile(Input{EdgeHub: hub})
			if err != nil {
				t.Fatalf("%s: %v", c.ID, err)
			}
			for i, step := range c.Steps {
				m := step.ReportedUpdate.orNil(message.TwinChange)
				if m == nil {
					m = step.Send.message(message.Telemetry)
				}
				checkDelivered(t, fmt.Sprintf("%s step %d", c.ID, i), s, m, step)
			}
		}
	})
}

func (s *sent) orNil(kind message.Kind) *message.Message {
	if s == nil {
		return nil
	}
	return s.message(kind)
}

func checkDelivered(t *testing.T, id string, s *Set, m *message.Message, step step) {
	t.Helper()
	var got []string
	for _, target := range s.Match(m, nil) {
		sink, err := ParseQueue(target.Queue)
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
		name := sink.Module
		if sink.Kind == SinkUpstream {
			name = Upstream
		}
		got = append(got, name)
	}
	for _, want := range step.Delivered {
		if !slices.Contains(got, want) {
			t.Errorf("%s: goes to %v, want %s", id, got, want)
		}
	}
	for _, not := range step.NotDelivered {
		if slices.Contains(got, not) {
			t.Errorf("%s: goes to %v, not wanted: %s", id, got, not)
		}
	}
	if len(got) != len(step.Delivered) {
		t.Errorf("%s: goes to %v, want %v", id, got, step.Delivered)
	}
}

func checkWeighted(t *testing.T, c scenario) {
	t.Helper()
	hub := &EdgeHub{}
	for i, w := range c.Weighted {
		hub.Routes = append(hub.Routes, EdgeRoute{
			Name: fmt.Sprint("r", i), Priority: w.Priority, TTL: time.Duration(w.TTL) * time.Second,
			Text: fmt.Sprintf(`FROM /messages WHERE %s INTO BrokeredEndpoint("/modules/%s/inputs/in")`, w.Condition, w.Endpoint),
		})
	}
	s, err := Compile(Input{EdgeHub: hub})
	if err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	got := s.Match((&sent{Device: "d", Properties: c.Message.Properties}).message(message.Telemetry), nil)
	if len(got) != len(c.Expected) {
		t.Fatalf("%s: %d targets, want %d", c.ID, len(got), len(c.Expected))
	}
	for i, want := range c.Expected {
		if got[i].Queue != "modules/"+want.Endpoint+"/inputs/in" || got[i].Priority != want.Priority || got[i].Expires != want.TTL*1000 {
			t.Errorf("%s: %+v, want %+v", c.ID, got[i], want)
		}
	}
}

func TestSchemaVersions(t *testing.T) {
	eachCaseFile(t, func(t *testing.T, all *scenarios) {
		for _, c := range all.Versions {
			routes := c.Routes
			if routes == nil {
				routes = json.RawMessage(`{}`)
			}
			desired, err := json.Marshal(map[string]any{"schemaVersion": c.Schema, "routes": routes})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseEdgeHub(desired); (err == nil) != c.Valid {
				t.Errorf("%s: %s: %v, valid: %t", c.ID, desired, err, c.Valid)
			}
		}
	})
}

func TestDesiredProperties(t *testing.T) {
	eachCaseFile(t, func(t *testing.T, all *scenarios) {
		for _, c := range all.Desired {
			hub, err := ParseEdgeHub(c.Desired)
			if (err == nil) != c.Valid {
				t.Errorf("%s: %s: %v, valid: %t", c.ID, c.Desired, err, c.Valid)
			}
			if err != nil {
				continue
			}
			if _, err := Compile(Input{EdgeHub: hub}); err != nil {
				t.Errorf("%s: %v", c.ID, err)
			}
			for name, want := range c.Expect {
				if name == "global_ttl" {
					if got := fmt.Sprint(int(hub.TTL.Seconds())); got != string(want) {
						t.Errorf("%s: ttl %s, want %s", c.ID, got, want)
					}
					continue
				}
				checkRoute(t, c.ID, hub, name, want)
			}
		}
	})
}

func checkRoute(t *testing.T, id string, hub *EdgeHub, name string, raw json.RawMessage) {
	t.Helper()
	var want struct {
		Route    string
		Priority any
		TTL      *float64
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(hub.Routes, func(r EdgeRoute) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("%s: no route %s", id, name)
	}
	got := hub.Routes[i]
	if want.Route != "" && got.Text != want.Route {
		t.Errorf("%s: %s, want %s", id, got.Text, want.Route)
	}
	priority, stated := want.Priority.(float64)
	if stated && float64(got.Priority) != priority || want.Priority == "default" && got.Priority != message.PriorityNone {
		t.Errorf("%s: priority %d, want %v", id, got.Priority, want.Priority)
	}
	if want.TTL != nil && got.TTL.Seconds() != *want.TTL {
		t.Errorf("%s: ttl %s, want %v s", id, got.TTL, *want.TTL)
	}
}

func TestTimeToLiveOfADeployment(t *testing.T) {
	hub, err := ParseEdgeHub([]byte(`{"schemaVersion":"1.1","routes":{"b":{"route":"FROM /* INTO $upstream","timeToLiveSecs":5},"a":"FROM /* INTO BrokeredEndpoint('/modules/m/inputs/i')"},"storeAndForwardConfiguration":{"timeToLiveSecs":20},"$version":3}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(Input{EdgeHub: hub, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	got := s.Match(&message.Message{Device: "d", Accepted: 1}, nil)
	if len(got) != 2 || got[0].Expires != 20_001 || got[1].Expires != 5_001 {
		t.Errorf("%+v", got)
	}
	hub.TTL = -1
	s, err = Compile(Input{EdgeHub: hub, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Match(&message.Message{Device: "d", Accepted: 1}, nil); got[0].Expires != 0 {
		t.Errorf("%+v", got)
	}
}

func TestFaultsOfDeployments(t *testing.T) {
	for desired, want := range map[string]string{
		`{`: "$edgeHub: the desired properties cannot be read: unexpected end of JSON input",
		`{"schemaVersion":"1.1","routes":{"r":{"route":"FROM /* INTO $upstream","timeToLiveSecs":-1}}}`:                 "$edgeHub: routes.r.timeToLiveSecs is negative",
		`{"schemaVersion":"1.1","routes":{"r":{"route":"FROM /* INTO $upstream","timeToLiveSecs":1e300}}}`:              "$edgeHub: routes.r.timeToLiveSecs 1e+300 is out of range; expected whole seconds, at most 315360000",
		`{"schemaVersion":"1.1","routes":{"r":{"route":"FROM /* INTO $upstream","priority":1.5}}}`:                      "$edgeHub: routes.r.priority 1.5 is out of range; expected 0 … 9",
		`{"schemaVersion":"1.1","routes":{"r":5}}`:                                                                      "$edgeHub: routes.r cannot be read: json: cannot unmarshal number into Go value of type struct",
		`{"schemaVersion":"1.1","routes":{},"storeAndForwardConfiguration":{"timeToLiveSecs":1.5}}`:                     "$edgeHub: storeAndForwardConfiguration.timeToLiveSecs 1.5 is out of range; expected whole seconds, at most 315360000",
		`{"schemaVersion":"1.x","routes":{}}`:                                                                           `$edgeHub: schemaVersion "1.x" is no version; expected 1.0 or later`,
		`{"schemaVersion":"1.1","routes":{"r":"FROM /* WHERE a > 5 INTO $upstream","s":"FROM /messages WHERE @ INTO"}}`: "$edgeHub routes.r:1:17: Invalid operands to binary operator '>': have 'string' and 'number', expected 'string' and 'string'\n$edgeHub routes.s:1:22: Syntax error: invalid symbol '@'",
	} {
		hub, err := ParseEdgeHub([]byte(desired))
		if err == nil {
			_, err = Compile(Input{EdgeHub: hub})
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", desired, err, want)
		}
	}
}
