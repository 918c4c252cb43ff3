package message

import (
	"encoding/binary"
	"errors"

	"github.com/penstock-io/penstock/internal/binread"
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
	dst = binread.Append(dst, m.Device)
	dst = binread.Append(dst, m.Module)
	dst = binread.Append(dst, m.Output)
	dst = binread.Append(dst, m.Topic)
	if flags&flagOrigin != 0 {
		dst = binread.Append(dst, m.Origin.Device)
		dst = binread.Append(dst, m.Origin.Epoch)
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
	r := binread.Reader{B: b}
	if r.Byte() != codecVersion {
		return m, ErrCorrupt
	}
	m.Kind = Kind(r.Byte())
	flags := r.Byte()
	m.QoS, m.Retain = flags&3, flags&flagRetain != 0
	m.Accepted = int64(r.Uvarint())
	m.Expires = int64(r.Uvarint())
	m.Device = r.View()
	m.Module = r.View()
	m.Output = r.View()
	m.Topic = r.View()
	if flags&flagOrigin != 0 {
		m.Origin = Origin{Device: r.View(), Epoch: r.View(), Seq: r.Uvarint(), Floor: r.Uvarint()}
	}
	m.System = readProperties(&r)
	m.Properties = readProperties(&r)
	m.Body = r.Bytes()
	if !r.Whole() || m.Kind > TwinChange {
		return Message{}, ErrCorrupt
	}
	return m, nil
}

// appendProperties writes the count, then for each property its name, and its
// value's length plus one; a zero in that place is null.
func appendProperties(dst []byte, ps []Property) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ps)))
	for _, p := range ps {
		dst = binread.Append(dst, p.Name)
		if p.Null {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.Value))+1)
		dst = append(dst, p.Value...)
	}
	return dst
}

// readProperties reads what appendProperties wrote; values view the input.
func readProperties(r *binread.Reader) []Property {
	n := r.Uvarint()
	if n == 0 {
		return nil
	}
	if n > uint64(len(r.B))/2 { // a property takes two bytes at least
		r.Fail()
		return nil
	}
	ps := make([]Property, n)
	for i := range ps {
		ps[i].Name = r.View()
		l := r.Uvarint()
		if l == 0 {
			ps[i].Null = true
			continue
		}
		ps[i].Value = binread.View(r.Take(l - 1))
	}
	return ps
}
