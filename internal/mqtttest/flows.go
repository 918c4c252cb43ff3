package mqtttest

import "fmt"

// Connect sends a CONNECT and returns the CONNACK, which must be a success.
func (c *Client) Connect(o Connect) Packet {
	c.t.Helper()
	p := c.TryConnect(o)
	if p.Code != 0 {
		c.t.Fatalf("connect %q: %s", o.ClientID, p)
	}
	return p
}

// TryConnect sends a CONNECT and returns the CONNACK, whatever it says.
func (c *Client) TryConnect(o Connect) Packet {
	c.t.Helper()
	c.Send(o.Bytes(c.version)...)
	return c.Expect(CONNACK)
}

// nextID returns packet ids 1 to 65,535 in turn.
func (c *Client) nextID() uint16 {
	if c.lastID++; c.lastID == 0 {
		c.lastID = 1
	}
	return c.lastID
}

// Publish sends a message and, with QoS 1 or 2, runs its flow to the end. It
// returns the PUBACK or PUBREC. A refused flow ends there. Deliveries that come
// in between stay for Read, Expect and Receive.
func (c *Client) Publish(m Publish) Packet {
	c.t.Helper()
	ack, err := c.Round(m)
	if err != nil {
		c.t.Fatalf("publish %q qos %d: %v", m.Topic, m.QoS, err)
	}
	return ack
}

// Round is Publish for any goroutine.
func (c *Client) Round(m Publish) (Packet, error) {
	if m.QoS > 0 && m.ID == 0 {
		m.ID = c.nextID()
	}
	if err := c.Write(m.Bytes(c.version)); err != nil || m.QoS == 0 {
		return Packet{}, err
	}
	if m.QoS == 1 {
		return c.awaitAck(PUBACK, m.ID)
	}
	rec, err := c.awaitAck(PUBREC, m.ID)
	if err != nil || rec.Code >= 0x80 {
		return rec, err
	}
	if err := c.Write(Ack(c.version, PUBREL, m.ID, 0)); err != nil {
		return rec, err
	}
	_, err = c.awaitAck(PUBCOMP, m.ID)
	return rec, err
}

func (c *Client) awaitAck(typ byte, id uint16) (Packet, error) {
	p, err := c.await(func(p Packet) bool { return p.Type == typ && p.ID == id })
	if err != nil {
		return p, fmt.Errorf("waiting for %s %d: %w", typeNames[typ], id, err)
	}
	return p, nil
}

// Subscribe subscribes to one filter and fails unless it is granted. options is
// the options byte: the QoS and, in 5.0, No Local 4, retain as published 8,
// retain handling 16 and 32.
func (c *Client) Subscribe(filter string, options byte, props ...Prop) Packet {
	c.t.Helper()
	p := c.TrySubscribe(filter, options, props...)
	if len(p.Codes) != 1 || p.Codes[0] > 2 {
		c.t.Fatalf("subscribe %q: %s", filter, p)
	}
	return p
}

// TrySubscribe subscribes to one filter and returns the SUBACK, whatever it says.
func (c *Client) TrySubscribe(filter string, options byte, props ...Prop) Packet {
	c.t.Helper()
	return c.request(SUBSCRIBE, SUBACK, props, append(Field(filter), options))
}

// Unsubscribe unsubscribes from one filter and returns the UNSUBACK.
func (c *Client) Unsubscribe(filter string, props ...Prop) Packet {
	c.t.Helper()
	return c.request(UNSUBSCRIBE, UNSUBACK, props, Field(filter))
}

func (c *Client) request(typ, answer byte, props []Prop, payload []byte) Packet {
	c.t.Helper()
	id := c.nextID()
	head := []byte{byte(id >> 8), byte(id)}
	if c.version == V5 {
		head = append(head, Section(props...)...)
	}
	c.Send(Bytes(typ<<4|2, head, payload)...)
	p, err := c.awaitAck(answer, id)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// Receive returns the next packet, which must be a PUBLISH, and acknowledges it
// to the end of its flow. Expect(PUBLISH) is the same without acknowledging.
func (c *Client) Receive() Packet {
	c.t.Helper()
	p := c.Expect(PUBLISH)
	switch p.QoS {
	case 1:
		c.Ack(PUBACK, p.ID)
	case 2:
		c.Ack(PUBREC, p.ID)
		if _, err := c.awaitAck(PUBREL, p.ID); err != nil {
			c.t.Fatal(err)
		}
		c.Ack(PUBCOMP, p.ID)
	}
	return p
}

// Ack sends a PUBACK, PUBREC, PUBREL or PUBCOMP of success.
func (c *Client) Ack(typ byte, id uint16) {
	c.t.Helper()
	c.Send(Ack(c.version, typ, id, 0)...)
}

// Ping sends a PINGREQ and waits for its answer: what the server did with
// earlier packets in order is done by then. Deliveries stay for Read.
func (c *Client) Ping() {
	c.t.Helper()
	c.Send(PINGREQ<<4, 0)
	if _, err := c.await(func(p Packet) bool { return p.Type == PINGRESP }); err != nil {
		c.t.Fatalf("waiting for PINGRESP: %v", err)
	}
}

// Disconnect sends a normal DISCONNECT and waits until the server has closed.
func (c *Client) Disconnect() {
	c.t.Helper()
	c.Send(DISCONNECT<<4, 0)
	c.ExpectClosed()
}

// Pipeline publishes messages 0 to n-1 with QoS 1, at most window (1 to 65,535)
// of them unacknowledged, and returns when all are acknowledged or the
// connection fails. message makes the i-th; its QoS and id are set here. acked,
// if not nil, is told of every PUBACK with its reason code, 0x80 and above
// being refusals. The returned count is of PUBACKs below 0x80.
func (c *Client) Pipeline(n, window int, message func(i int) Publish, acked func(i int, code byte)) (int, error) {
	flight := make(map[uint16]int, window)
	var out []byte
	sent, good := 0, 0
	for sent < n || len(flight) > 0 {
		for out = out[:0]; sent < n && len(flight) < window && len(out) < 64<<10; sent++ {
			m := message(sent)
			m.QoS, m.ID = 1, c.freeID(flight)
			flight[m.ID] = sent
			out = m.append(out, c.version)
		}
		if err := c.Write(out); err != nil {
			return good, fmt.Errorf("publish %d of %d: %w", sent, n, err)
		}
		// One acknowledgement must come; those that came with it cost no wait.
		for first := true; len(flight) > 0 && (first || c.r.Buffered() >= 4); first = false {
			p, err := c.await(func(p Packet) bool { return p.Type == PUBACK })
			if err != nil {
				return good, fmt.Errorf("after %d acknowledgements, %d in flight: %w", good, len(flight), err)
			}
			i, ok := flight[p.ID]
			if !ok {
				return good, fmt.Errorf("PUBACK for id %d, which is not in flight", p.ID)
			}
			delete(flight, p.ID)
			if p.Code < 0x80 {
				good++
			}
			if acked != nil {
				acked(i, p.Code)
			}
		}
	}
	return good, nil
}

func (c *Client) freeID(flight map[uint16]int) uint16 {
	for {
		id := c.nextID()
		if _, used := flight[id]; !used {
			return id
		}
	}
}
