package iothub

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/message"
)

// AppendEventsTopic appends the topic on which a hub publishes m to its parent:
// the events topic of m's own device or module, with everything the parent needs
// to have the same message (Unwrap is the inverse). self is the device the hub
// connects as; messages of clients without a device identity travel, and arrive,
// in its name. A non-zero m.Origin is written as PropSequence, and as PropOrigin
// when another hub than self counted it; extra properties follow.
//
// A result longer than MaxTopic cannot be sent: such a message is for the dead letters.
func AppendEventsTopic(dst []byte, self string, m *message.Message, extra ...message.Property) []byte {
	device, module := m.Device, m.Module
	if device == "" {
		device, module = self, ""
	}
	dst = append(dst, "devices/"...)
	dst = AppendID(dst, device)
	if module != "" {
		dst = append(dst, "/modules/"...)
		dst = AppendID(dst, module)
	}
	dst = append(dst, "/messages/events/"...)
	b := bagEncoder{dst: dst, start: len(dst)}
	if m.Output != "" {
		b.pair(wireOutput, m.Output)
	}
	b.system(m)
	b.properties(m, true)
	b.kind(m)
	b.hub(m)
	b.origin(self, m.Origin)
	for _, p := range extra {
		b.property(p)
	}
	return b.dst
}

// AppendInputTopic appends the topic on which m is delivered to a module's input
// (contract 2.3, 2.4): with the publisher's ids in $.cdid and $.cmid, without $.on.
// edgeDevice is the device the module runs on.
func AppendInputTopic(dst []byte, edgeDevice, module, input string, m *message.Message) []byte {
	dst = append(dst, "devices/"...)
	dst = AppendID(dst, edgeDevice)
	dst = append(dst, "/modules/"...)
	dst = AppendID(dst, module)
	dst = append(dst, "/inputs/"...)
	dst = appendEscaped(dst, input)
	dst = append(dst, '/')
	b := bagEncoder{dst: dst, start: len(dst)}
	b.system(m)
	if m.Device != "" {
		b.pair(wireDevice, m.Device)
	}
	if m.Module != "" {
		b.pair(wireModule, m.Module)
	}
	b.properties(m, false)
	b.kind(m)
	return b.dst
}

type bagEncoder struct {
	dst   []byte
	start int
}

func (b *bagEncoder) name(s string) {
	if len(b.dst) > b.start {
		b.dst = append(b.dst, '&')
	}
	b.dst = appendEscaped(b.dst, s)
}

func (b *bagEncoder) pair(name, value string) {
	b.name(name)
	b.dst = append(b.dst, '=')
	b.dst = appendEscaped(b.dst, value)
}

func (b *bagEncoder) property(p message.Property) {
	if p.Null {
		b.name(p.Name)
		return
	}
	b.pair(p.Name, p.Value)
}

func (b *bagEncoder) system(m *message.Message) {
	for _, p := range m.System {
		wire, forwarded := wireName(p.Name)
		if forwarded && p.Name == message.SysCorrelationData {
			p.Value = base64.RawURLEncoding.EncodeToString([]byte(p.Value))
		}
		p.Name = wire
		b.property(p)
	}
}

// properties writes the application properties. One whose name the reader would
// take for something else is written under propEscape; among hubs that goes for
// the hubs' own names, too.
func (b *bagEncoder) properties(m *message.Message, hub bool) {
	for _, p := range m.Properties {
		if isWireName(p.Name) || hub && strings.HasPrefix(p.Name, propPrefix) {
			p.Name = propEscape + p.Name
		}
		b.property(p)
	}
}

// kind writes what sets m apart from telemetry.
func (b *bagEncoder) kind(m *message.Message) {
	switch m.Kind {
	case message.Plain:
		b.pair(PropTopic, m.Topic)
	case message.TwinChange:
		b.name(propTwinChange)
	}
}

// hub writes what only another hub has a use for.
func (b *bagEncoder) hub(m *message.Message) {
	if m.Retain && m.Kind == message.Plain {
		b.name(propRetained)
	}
	if _, stated := m.Sys(message.SysExpiry); m.Expires != 0 && !stated {
		b.name(propExpires)
		b.dst = append(b.dst, '=')
		b.dst = strconv.AppendInt(b.dst, m.Expires, 10)
	}
}

func (b *bagEncoder) origin(self string, o message.Origin) {
	if o == (message.Origin{}) {
		return
	}
	b.name(PropSequence)
	b.dst = append(b.dst, '=')
	b.dst = AppendOrigin(b.dst, o)
	if o.Device != "" && o.Device != self {
		b.pair(PropOrigin, o.Device)
	}
}
