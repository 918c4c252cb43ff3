package iothub

import (
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/message"
)

// OperationKind says what a client wants on a $iothub topic.
type OperationKind uint8

const (
	TwinGet           OperationKind = iota + 1 // $iothub/twin/GET/?$rid={rid}
	TwinPatchReported                          // $iothub/twin/PATCH/properties/reported/?$rid={rid}
	MethodResponse                             // $iothub/methods/res/{status}/?$rid={rid}
)

func (k OperationKind) String() string {
	switch k {
	case TwinGet:
		return "TwinGetState"
	case TwinPatchReported:
		return "TwinPatchReportedState"
	case MethodResponse:
		return "DirectMethodResponse"
	}
	return "unknown"
}

// Operation is a twin or method topic taken apart (contract 2.3). Properties are
// as sent: these topics carry no percent encoding of their own, and a request
// id is echoed as text.
type Operation struct {
	Kind       OperationKind
	Status     string // of a method's answer, decimal
	Properties []message.Property
}

// RequestID returns the value of $rid, or "".
func (o *Operation) RequestID() string {
	for _, p := range o.Properties {
		if p.Name == "$rid" {
			return p.Value
		}
	}
	return ""
}

// ParseOperation splits the $iothub topics that clients publish on. Errors wrap ErrTopic.
func ParseOperation(topic string) (Operation, error) {
	path, bag, ok := strings.Cut(topic, "/?")
	if !ok {
		return Operation{}, fmt.Errorf("%w: %q has no /?$rid=…", ErrTopic, excerpt(topic))
	}
	var o Operation
	switch path {
	case "$iothub/twin/GET":
		o.Kind = TwinGet
	case "$iothub/twin/PATCH/properties/reported":
		o.Kind = TwinPatchReported
	default:
		if o.Status, ok = strings.CutPrefix(path, "$iothub/methods/res/"); !ok || !isStatus(o.Status) {
			return Operation{}, fmt.Errorf("%w: %q is no twin or method topic", ErrTopic, excerpt(topic))
		}
		o.Kind = MethodResponse
	}
	if n := strings.Count(bag, "&"); n >= MaxProperties {
		return Operation{}, fmt.Errorf("%w: %d properties, limit %d", ErrTopic, n+1, MaxProperties)
	}
	for pair := range strings.SplitSeq(bag, "&") {
		if pair == "" {
			continue
		}
		name, value, valued := strings.Cut(pair, "=")
		o.Properties = append(o.Properties, message.Property{Name: name, Value: value, Null: !valued})
	}
	return o, nil
}

// isStatus takes a signed 32-bit integer's digits.
func isStatus(s string) bool {
	s = strings.TrimPrefix(s, "-")
	if s == "" || len(s) > 10 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// SubscriptionKind says what a client's filter asks the hub for.
type SubscriptionKind uint8

const (
	NotDialect    SubscriptionKind = iota
	Inputs                         // messages for a module's inputs
	DeviceBound                    // cloud-to-device messages
	TwinResponses                  // answers to twin operations
	TwinDesired                    // changes of desired properties
	Methods                        // direct method calls
)

// Filters by which clients ask for what is about themselves (contract 2.3).
const (
	FilterTwinResponses = "$iothub/twin/res/#"
	FilterTwinDesired   = "$iothub/twin/PATCH/properties/desired/#"
	FilterMethods       = "$iothub/methods/POST/#"
)

// Subscription is a filter of the dialect. Device and Module are set for Inputs
// and DeviceBound.
type Subscription struct {
	Kind           SubscriptionKind
	Device, Module string
}

// ClassifyFilter recognises subscriptions by pattern, as the vendor's hub does
// (contract 2.3): a prefix for methods and desired properties, the C SDK's
// devices/{d}/modules/{m}/# beside …/inputs/#.
func ClassifyFilter(filter string) Subscription {
	switch {
	case filter == FilterTwinResponses:
		return Subscription{Kind: TwinResponses}
	case strings.HasPrefix(filter, strings.TrimSuffix(FilterTwinDesired, "#")):
		return Subscription{Kind: TwinDesired}
	case strings.HasPrefix(filter, strings.TrimSuffix(FilterMethods, "#")):
		return Subscription{Kind: Methods}
	}
	device, module, rest, ok := splitDevice(filter)
	if !ok {
		return Subscription{}
	}
	kind := NotDialect
	switch {
	case module == "" && rest == "messages/devicebound/#":
		kind = DeviceBound
	case module != "" && (rest == "#" || strings.HasPrefix(rest, "inputs/")):
		kind = Inputs
	}
	e, err := newEvents(device, module)
	if kind == NotDialect || err != nil || device == "+" || module == "+" {
		return Subscription{}
	}
	return Subscription{kind, e.Device, e.Module}
}

// IsDelivery reports whether topic is one on which the hub alone publishes to a
// device or module: cloud-to-device messages and module inputs (contract 2.3).
func IsDelivery(topic string) bool {
	_, module, rest, ok := splitDevice(topic)
	if !ok {
		return false
	}
	if module == "" {
		return strings.HasPrefix(rest, "messages/devicebound")
	}
	return strings.HasPrefix(rest, "inputs")
}
