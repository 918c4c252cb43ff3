package iothub

import (
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/message"
)

// Events is a telemetry topic taken apart. Bag is still encoded.
type Events struct {
	Device, Module, Bag string
}

// ParseEvents splits the topics that telemetry is published on (contract 2.3):
//
//	devices/{device}/messages/events[/{bag}[/]]
//	devices/{device}/modules/{module}/messages/events[/{bag}[/]]
//
// ok is false for every other topic. An error wraps ErrTopic: the form is right
// and an id is not. It does not allocate unless an id is percent-encoded.
func ParseEvents(topic string) (e Events, ok bool, err error) {
	device, module, rest, ok := splitDevice(topic)
	if !ok {
		return Events{}, false, nil
	}
	rest, ok = strings.CutPrefix(rest, "messages/events")
	if !ok || rest != "" && rest[0] != '/' {
		return Events{}, false, nil
	}
	e, err = newEvents(device, module)
	if err != nil {
		return Events{}, true, err
	}
	e.Bag = strings.TrimPrefix(rest, "/")
	return e, true, nil
}

// DecodeEvents fills in m from the telemetry topic it was published on: Kind,
// Device, Module, Output, System, Properties and Expires. Body, Retain and what
// MQTT 5 said in the packet's own properties are to be set before; RETAIN is
// stamped as PropRetain, and the size is checked.
//
// Errors wrap ErrTopic, also for a topic that is no telemetry topic,
// ErrProperties or ErrTooLarge; m is then half filled in and of no use. The
// strings in m share the topic's memory.
func DecodeEvents(topic string, m *message.Message) error {
	e, ok, err := ParseEvents(topic)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %q is not a telemetry topic", ErrTopic, excerpt(topic))
	}
	m.Kind, m.Topic, m.Output = message.Telemetry, "", ""
	m.Device, m.Module = e.Device, e.Module
	if e.Bag != "" {
		if err := decodeBag(e.Bag, m); err != nil {
			return err
		}
	}
	if m.Retain {
		if _, ok := m.Prop(PropRetain); !ok {
			m.Properties = append(m.Properties, message.Property{Name: PropRetain, Value: "true"})
		}
	}
	return CheckSize(m)
}

// Input is the topic of a message delivered to a module's input.
type Input struct {
	Device, Module, Input, Bag string
}

// ParseInput splits devices/{device}/modules/{module}/inputs/{input}/{bag}, as a
// module's client does. ok is false for every other topic.
func ParseInput(topic string) (in Input, ok bool) {
	device, module, rest, ok := splitDevice(topic)
	if !ok || module == "" {
		return Input{}, false
	}
	rest, ok = strings.CutPrefix(rest, "inputs/")
	if !ok {
		return Input{}, false
	}
	input, bag, ok := strings.Cut(rest, "/")
	e, err := newEvents(device, module)
	if !ok || input == "" || err != nil {
		return Input{}, false
	}
	return Input{e.Device, e.Module, string(appendUnescaped(nil, input)), bag}, true
}

// DecodeInput fills in m from the topic of a delivery to a module's input:
// System, Properties and Expires; Device and Module name the publisher, as
// $.cdid and $.cmid do.
func DecodeInput(topic string, m *message.Message) error {
	in, ok := ParseInput(topic)
	if !ok {
		return fmt.Errorf("%w: %q is not an input's topic", ErrTopic, excerpt(topic))
	}
	if err := decodeBag(in.Bag, m); err != nil {
		return err
	}
	m.Kind = message.Telemetry
	m.Device, m.Module = bagValue(in.Bag, wireDevice), bagValue(in.Bag, wireModule)
	return nil
}

// bagValue looks one name up without decoding the others.
func bagValue(bag, name string) string {
	for pair := range strings.SplitSeq(strings.TrimSuffix(bag, "/"), "&") {
		n, v, _ := strings.Cut(pair, "=")
		if string(appendUnescaped(nil, n)) == name {
			return string(appendUnescaped(nil, v))
		}
	}
	return ""
}

// splitDevice splits devices/{device}/[modules/{module}/]{rest}.
func splitDevice(topic string) (device, module, rest string, ok bool) {
	rest, ok = strings.CutPrefix(topic, "devices/")
	if !ok {
		return "", "", "", false
	}
	device, rest, ok = strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	tail, isModule := strings.CutPrefix(rest, "modules/")
	if !isModule {
		return device, "", rest, true
	}
	module, rest, ok = strings.Cut(tail, "/")
	if ok && module == "" {
		module = "/" // an empty id must not pass for a device's topic
	}
	return device, module, rest, ok
}

func newEvents(device, module string) (e Events, err error) {
	var ok bool
	if e.Device, ok = topicID(device); !ok {
		return e, fmt.Errorf("%w: device id %q", ErrTopic, excerpt(device))
	}
	if module == "" {
		return e, nil
	}
	if e.Module, ok = topicID(module); !ok {
		return e, fmt.Errorf("%w: module id %q", ErrTopic, excerpt(module))
	}
	return e, nil
}
