package iothub

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/message"
)

// Application properties in which one hub tells its parent what the dialect has
// no word for. A client's own property whose name begins with "penstock-" is
// carried under propEscape, so a client cannot speak for its hub.
const (
	// PropSequence is the origin sequence, {epoch}.{seq}.{floor}.
	PropSequence = "penstock-seq"
	// PropOrigin names the hub that counted, when it is not the one that sends.
	PropOrigin = "penstock-origin"
	// PropTopic is the topic of a message that was published outside the dialect.
	PropTopic = "penstock-topic"

	propPrefix     = "penstock-"
	propEscape     = "penstock-app-"
	propTwinChange = "penstock-twin-change"
	propRetained   = "penstock-retained" // RETAIN of a message outside the dialect
	propExpires    = "penstock-expires"  // Unix milliseconds; MQTT 5's message expiry
)

// maxEpoch bounds the epoch's text; a store's epoch has 16 characters.
const maxEpoch = 64

// AppendOrigin appends {epoch}.{seq}.{floor}, the value of PropSequence.
func AppendOrigin(dst []byte, o message.Origin) []byte {
	dst = appendEscaped(dst, o.Epoch)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, o.Seq, 10)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, o.Floor, 10)
}

// ParseOrigin reads the value of PropSequence. Device is not part of it. An
// epoch is letters, digits, '-' and '_'; sequences count from 1.
func ParseOrigin(s string) (message.Origin, error) {
	epoch, rest, _ := strings.Cut(s, ".")
	seq, floor, _ := strings.Cut(rest, ".")
	n, err1 := strconv.ParseUint(seq, 10, 64)
	f, err2 := strconv.ParseUint(floor, 10, 64)
	if !validEpoch(epoch) || err1 != nil || err2 != nil || n == 0 || f > n {
		return message.Origin{}, fmt.Errorf("%w: %s is %q, want {epoch}.{seq}.{floor}", ErrProperties, PropSequence, excerpt(s))
	}
	return message.Origin{Epoch: epoch, Seq: n, Floor: f}, nil
}

func validEpoch(s string) bool {
	if s == "" || len(s) > maxEpoch {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '.' || c == '!' || c == '~' || c == '*' || c == '\'' || c == '(' || c == ')' || !unreserved[c] {
			return false
		}
	}
	return true
}

// TakeOrigin removes the origin from m's properties and returns it; Device is
// empty unless another hub than the sender counted. ok is false, and m as it
// was, when there is none or it is malformed.
func TakeOrigin(m *message.Message) (o message.Origin, ok bool) {
	p, ok := m.Prop(PropSequence)
	if !ok {
		return o, false
	}
	o, err := ParseOrigin(p.Value)
	if err != nil {
		return message.Origin{}, false
	}
	if by, ok := m.Prop(PropOrigin); ok {
		o.Device = by.Value
	}
	m.Properties = slices.DeleteFunc(m.Properties, func(p message.Property) bool {
		return p.Name == PropSequence || p.Name == PropOrigin
	})
	return o, true
}

// Unwrap turns what DecodeEvents made of a child hub's publication back into the
// message the child had: Kind and Topic, the MQTT 5 properties, properties under
// their own names, and Origin, whose Device is sender unless the child says
// otherwise. Call it only for clients that may speak for others. Errors wrap
// ErrProperties.
func Unwrap(sender string, m *message.Message) error {
	if p, ok := m.Prop(PropSequence); ok {
		if m.Origin, ok = TakeOrigin(m); !ok {
			_, err := ParseOrigin(p.Value)
			return err
		}
		if m.Origin.Device == "" {
			m.Origin.Device = sender
		}
		if !ValidID(m.Origin.Device) {
			return fmt.Errorf("%w: %s is %q, want a device id", ErrProperties, PropOrigin, excerpt(m.Origin.Device))
		}
	}
	kept := m.Properties[:0]
	for _, p := range m.Properties {
		keep, err := unwrap(m, &p)
		if err != nil {
			return err
		}
		if keep {
			kept = append(kept, p)
		}
	}
	m.Properties = kept
	return nil
}

// unwrap undoes what one property stands for and reports whether it remains an
// application property.
func unwrap(m *message.Message, p *message.Property) (keep bool, err error) {
	if !strings.HasPrefix(p.Name, propPrefix) {
		return true, nil
	}
	if name, ok := strings.CutPrefix(p.Name, propEscape); ok {
		p.Name = name
		return true, nil
	}
	switch p.Name {
	case PropTopic:
		if p.Value == "" || strings.ContainsAny(p.Value, "+#\x00") {
			return false, fmt.Errorf("%w: %s is %q, want a topic name", ErrProperties, PropTopic, excerpt(p.Value))
		}
		m.Kind, m.Topic = message.Plain, p.Value
		return false, nil
	case propTwinChange:
		m.Kind = message.TwinChange
		return false, nil
	case propRetained:
		m.Retain = true
		return false, nil
	case propExpires:
		m.Expires, err = strconv.ParseInt(p.Value, 10, 64)
		if err != nil || m.Expires <= 0 {
			return false, fmt.Errorf("%w: %s is %q, want Unix milliseconds", ErrProperties, propExpires, excerpt(p.Value))
		}
		return false, nil
	}
	for _, f := range forwardedNames {
		if f.wire == p.Name {
			return false, restore(m, f.sys, *p)
		}
	}
	return true, nil // a newer child's: kept rather than lost
}

func restore(m *message.Message, sys string, p message.Property) error {
	p.Name = sys
	if sys == message.SysCorrelationData {
		b, err := base64.RawURLEncoding.DecodeString(p.Value)
		if err != nil {
			return fmt.Errorf("%w: penstock-correlation-data is not base64", ErrProperties)
		}
		p.Value = string(b)
	}
	m.System = append(m.System, p)
	return nil
}
