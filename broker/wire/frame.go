package wire

// Frame returns the length in bytes of the first whole packet in buf, or 0 when
// more bytes are needed to tell. A remaining length of more than four bytes and
// a packet longer than limit bytes (0: the protocol's own limit) are faults, told
// as soon as the fixed header is there: the caller never buffers more than that.
func Frame(buf []byte, limit int) (int, *Fault) {
	if len(buf) < 2 {
		return 0, nil
	}
	remaining, size := varint(buf[1:])
	if size == 0 {
		return 0, nil
	}
	if size < 0 {
		return 0, malformed("2.1.4", "remaining length is longer than four bytes")
	}
	n := 1 + size + remaining
	if limit > 0 && n > limit {
		return 0, refusal(PacketTooLarge, "MQTT-3.2.2-15", "packet is larger than the server's maximum packet size")
	}
	if n > len(buf) {
		return 0, nil
	}
	return n, nil
}

// body returns what follows the fixed header of one whole packet.
func body(version byte, packet []byte) ([]byte, *Fault) {
	if len(packet) >= 2 && int(packet[1]) == len(packet)-2 && packet[1] < 0x80 {
		return packet[2:], nil
	}
	if len(packet) < 2 {
		return nil, malformed("2.1", "packet without a whole fixed header")
	}
	remaining, size := varint(packet[1:])
	if size <= 0 || 1+size+remaining != len(packet) {
		return nil, malformed("2.1.4", "remaining length does not fit the packet")
	}
	if version == V5 && size > varintSize(remaining) {
		return nil, malformed("MQTT-1.5.5-1", "remaining length is not encoded in the fewest bytes")
	}
	return packet[1+size:], nil
}

// varint reads a variable byte integer: its value and its length in bytes, 0
// when b ends too early, -1 when it has more than four bytes (section 1.5.5).
func varint(b []byte) (value, size int) {
	for i := 0; i < 4; i++ {
		if i == len(b) {
			return 0, 0
		}
		value |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return value, i + 1
		}
	}
	return 0, -1
}

func varintSize(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// cursor takes a packet apart. After the first read beyond the end, every read
// answers zeros and short stays set.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.short = nil, true
		return nil
	}
	p := c.b[:n:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u8() byte {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if p := c.take(2); p != nil {
		return uint16(p[0])<<8 | uint16(p[1])
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if p := c.take(4); p != nil {
		return uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
	}
	return 0
}

// field reads a two-byte length and that many bytes.
func (c *cursor) field() []byte { return c.take(int(c.u16())) }

// varint reads a variable byte integer in its only legal, shortest form.
func (c *cursor) varint() int {
	v, size := varint(c.b)
	if size <= 0 || size > varintSize(v) {
		c.b, c.short = nil, true
		return 0
	}
	c.b = c.b[size:]
	return v
}
