package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// EdgeHub is the routing part of the desired properties of $edgeHub.
type EdgeHub struct {
	SchemaVersion string
	Routes        []EdgeRoute // in the order of their names
	// TTL is the time to live of messages of routes without their own; below 0:
	// for ever; 0: not said.
	TTL time.Duration
}

// EdgeRoute is one IoT Edge route, not yet compiled.
type EdgeRoute struct {
	Name     string
	Text     string        // FROM … WHERE … INTO …
	Priority uint8         // 0 … 9, or message.PriorityNone when not said
	TTL      time.Duration // 0: not said
}

const edgeHubFile = "$edgeHub"

// ParseEdgeHub reads the desired properties of $edgeHub, as JSON. What concerns
// other parts of the hub is left alone. Routes are an object by name, each a
// string or, from schema version 1.1, {route, priority, timeToLiveSecs}. The
// error is Faults.
func ParseEdgeHub(desired []byte) (*EdgeHub, error) {
	var in struct {
		SchemaVersion *string                    `json:"schemaVersion"`
		Routes        map[string]json.RawMessage `json:"routes"`
		Store         struct {
			TTL *float64 `json:"timeToLiveSecs"`
		} `json:"storeAndForwardConfiguration"`
	}
	if err := json.Unmarshal(desired, &in); err != nil {
		return nil, Faults{{File: edgeHubFile, Text: "the desired properties cannot be read: " + err.Error()}}
	}
	p := edgeHubParser{}
	if in.SchemaVersion == nil {
		p.fault("schemaVersion", "is missing; expected 1.0 or later")
	} else {
		p.hub.SchemaVersion = *in.SchemaVersion
		p.version(*in.SchemaVersion)
	}
	if in.Routes == nil {
		p.fault("routes", "is missing; expected an object of routes by name")
	}
	if ttl := in.Store.TTL; ttl != nil {
		p.hub.TTL = p.seconds("storeAndForwardConfiguration.timeToLiveSecs", max(*ttl, -1))
	}
	names := make([]string, 0, len(in.Routes))
	for name := range in.Routes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		p.route(name, in.Routes[name])
	}
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	return &p.hub, nil
}

type edgeHubParser struct {
	hub    EdgeHub
	minor  int
	faults Faults
}

func (p *edgeHubParser) fault(where, format string, args ...any) {
	p.faults = append(p.faults, Fault{File: edgeHubFile, Text: where + " " + fmt.Sprintf(format, args...)})
}

// version accepts major version 1 with at least a minor version.
func (p *edgeHubParser) version(v string) {
	parts := strings.Split(v, ".")
	numbers := make([]int, len(parts))
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			p.fault("schemaVersion", "%q is no version; expected 1.0 or later", v)
			return
		}
		numbers[i] = int(n)
	}
	if len(numbers) < 2 || len(numbers) > 4 || numbers[0] != 1 {
		p.fault("schemaVersion", "%q is not supported; expected 1.0 or later, below 2.0", v)
		return
	}
	p.minor = numbers[1]
}

func (p *edgeHubParser) route(name string, raw json.RawMessage) {
	at := "routes." + name
	if name == "" {
		p.fault("routes", "has a route without a name")
		return
	}
	r := EdgeRoute{Name: name, Priority: defaultPriority}
	if json.Unmarshal(raw, &r.Text) != nil {
		p.object(at, raw, &r)
	}
	if r.Text == "" {
		// Schema 1.0 skips an empty route, as it was once the way to remove one.
		if p.minor > 0 || p.hub.SchemaVersion == "" {
			p.fault(at, "is empty; expected FROM … INTO …")
		}
		return
	}
	p.hub.Routes = append(p.hub.Routes, r)
}

// object reads the object form of a route.
func (p *edgeHubParser) object(at string, raw json.RawMessage, r *EdgeRoute) {
	var in struct {
		Route    string   `json:"route"`
		Priority *float64 `json:"priority"`
		TTL      *float64 `json:"timeToLiveSecs"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		p.fault(at, "cannot be read: %v; expected a string or {route, priority, timeToLiveSecs}", err)
		return
	}
	if p.minor < 1 {
		p.fault(at, "is an object, which needs schemaVersion 1.1 or later")
	}
	r.Text = in.Route
	if n := in.Priority; n != nil {
		if *n < 0 || *n > 9 || *n != math.Trunc(*n) {
			p.fault(at+".priority", "%v is out of range; expected 0 … 9", *n)
		} else {
			r.Priority = uint8(*n)
		}
	}
	if in.TTL != nil {
		r.TTL = p.seconds(at+".timeToLiveSecs", *in.TTL)
		if *in.TTL < 0 {
			p.fault(at+".timeToLiveSecs", "is negative")
		}
	}
}

func (p *edgeHubParser) seconds(at string, n float64) time.Duration {
	if n != math.Trunc(n) || n > maxTTL.Seconds() {
		p.fault(at, "%v is out of range; expected whole seconds, at most %.0f", n, maxTTL.Seconds())
		return 0
	}
	return time.Duration(n) * time.Second
}
