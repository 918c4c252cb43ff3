package message

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// ErrCorrupt is returned by Decode for bytes that Append did not write.
var ErrCorrupt = errors.New("message: encoding is damaged")

// codecVersion is the first byte of every encoded message. store/FORMAT.md
// specifies the bytes; a change there is a change of the store's format.
const codecVersion = 1

const (
	flagRetain = 1 << 2 // above the two QoS bits
	flagOrigin = 1 << 3
)

// Append appends the encoding of m to dst and returns the extended slice.
// Sessions are left out: they say where this hub puts the message, not what it is.
func Append(dst []byte, m *Message) []byte {
	flags := m.QoS & 3
	if m.Retain {
		flags |= flagRetain
	}
	if m.Origin != (Origin{}) {
		flags |= flagOrigin
	}
	dst = append(dst, codecVersion, byte(m.Kind), flags)
	dst = binary.AppendUvarint(dst, uint64(m.Accepted))
	dst = binary.AppendUvarint(dst, uint64(m.Expires))
	dst = appendString(dst, m.Device)
	dst = appendString(dst, m.Module)
	dst = appendString(dst, m.Output)
	dst = appendString(dst, m.Topic)
	if flags&flagOrigin != 0 {
		dst = appendString(dst, m.Origin.Device)
		dst = appendString(dst, m.Origin.Epoch)
		dst = binary.AppendUvarint(dst, m.Origin.Seq)
		dst = binary.AppendUvarint(dst, m.Origin.Floor)
	}
	dst = appendProperties(dst, m.System)
	dst = appendProperties(dst, m.Properties)
	dst = binary.AppendUvarint(dst, uint64(len(m.Body)))
	return append(dst, m.Body...)
}

// Decode reads one message that fills b completely. The message's strings and
// body share b's memory: the caller must not change b afterwards.
func Decode(b []byte) (Message, error) {
	var m Message
	r := reader{b: b}
	if r.byte() != codecVersion {
		return m, ErrCorrupt
	}
	m.Kind = Kind(r.byte())
	flags := r.byte()
	m.QoS, m.Retain = flags&3, flags&flagRetain != 0
	m.Accepted = int64(r.uvarint())
	m.Expires = int64(r.uvarint())
	m.Device = r.string()
	m.Module = r.string()
	m.Output = r.string()
	m.Topic = r.string()
	if flags&flagOrigin != 0 {
		m.Origin = Origin{Device: r.string(), Epoch: r.string(), Seq: r.uvarint(), Floor: r.uvarint()}
	}
	m.System = r.properties()
	m.Properties = r.properties()
	m.Body = r.bytes()
	if r.bad || len(r.b) != 0 || m.Kind > TwinChange {
		return Message{}, ErrCorrupt
	}
	return m, nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendProperties writes the count, then for each property its name, and its
// value's length plus one; a zero in that place is null.
func appendProperties(dst []byte, ps []Property) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ps)))
	for _, p := range ps {
		dst = appendString(dst, p.Name)
		if p.Null {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.Value))+1)
		dst = append(dst, p.Value...)
	}
	return dst
}

// reader takes an encoding apart. After the first fault it answers zeros and bad stays set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) string() string { return text(r.bytes()) }

func (r *reader) properties() []Property {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n > uint64(len(r.b))/2 { // a property takes two bytes at least
		r.bad, r.b = true, nil
		return nil
	}
	ps := make([]Property, n)
	for i := range ps {
		ps[i].Name = r.string()
		l := r.uvarint()
		if l == 0 {
			ps[i].Null = true
			continue
		}
		ps[i].Value = text(r.take(l - 1))
	}
	return ps
}

// text views b as a string without copying; Decode's contract forbids changing b.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
