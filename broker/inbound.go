package broker

import (
	"bytes"
	"errors"
	"strings"
	"time"
	"unsafe"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

// maxRun bounds how many messages one batch carries, so that acknowledgements
// do not wait for a commit that grows without end.
const maxRun = 1024

// owed is the answer to one PUBLISH of QoS 1 or 2, in the order they came.
type owed struct {
	id   uint16
	qos  byte
	code byte  // the answer
	msg  int32 // index into Messages; -1: nothing was handed on
}

// hotRun handles the PUBLISH packets and acknowledgements at the front of the
// buffer as one batch. Their bytes are copied once, all together, because
// messages outlive the buffer.
func (c *conn) hotRun() error {
	size, publishes := c.scan()
	raw := c.buf[c.r : c.r+size]
	c.r += size
	var in *run
	if publishes > 0 {
		raw = bytes.Clone(raw)
		in = &run{c: c, owed: make([]owed, 0, publishes)}
		in.Messages = make([]message.Message, 0, publishes)
		in.Done = in.done
	}
	now := time.Now().UnixMilli()
	var err error
	for len(raw) > 0 && err == nil {
		n, _ := wire.Frame(raw, c.b.cfg.MaxPacketSize)
		packet := raw[:n:n]
		raw = raw[n:]
		if wire.Type(packet) == wire.PUBLISH {
			err = c.publish(in, packet, now)
		} else {
			err = c.ack(packet)
		}
	}
	c.session.settleAcks()
	if in != nil && (len(in.Messages) > 0 || len(in.owed) > 0) {
		c.b.stats.Accepted.Add(uint64(len(in.Messages)))
		c.b.accept.Accept(&in.Batch)
	}
	return err
}

// scan measures the run of whole hot packets at the front of the buffer.
func (c *conn) scan() (size, publishes int) {
	rest := c.buf[c.r:c.w]
	for publishes < maxRun && len(rest) > 0 && isHot(rest[0]) {
		n, fault := wire.Frame(rest, c.b.cfg.MaxPacketSize)
		if n == 0 || fault != nil {
			break // incomplete or illegal: parse comes to it
		}
		if rest[0]>>4 == wire.PUBLISH {
			publishes++
		}
		size += n
		rest = rest[n:]
	}
	return size, publishes
}

// publish decodes one PUBLISH into the run. An error ends the connection.
func (c *conn) publish(in *run, packet []byte, now int64) error {
	var p wire.Publish
	if f := wire.DecodePublish(c.version, packet, &p); f != nil {
		return c.fault(f)
	}
	if f := c.aliases.Resolve(&p); f != nil {
		return c.fault(f)
	}
	if p.QoS == 2 {
		if taken, _ := c.session.knows(p.ID); taken { // MQTT-4.3.3-10: answered again, not accepted again
			in.owed = append(in.owed, owed{id: p.ID, qos: 2, msg: -1})
			return nil
		}
	}
	if p.QoS > 0 && c.unacked.Add(1) > int32(c.b.cfg.ReceiveMaximum) && c.version == 5 {
		return c.fault(&wire.Fault{Code: wire.ReceiveMaxExceeded, Clause: "MQTT-3.3.4-7", Reason: "more unacknowledged publishes than the receive maximum allows"})
	}
	in.Messages = append(in.Messages, message.Message{QoS: p.QoS, Retain: p.Retain, Body: p.Payload, Accepted: now})
	m := &in.Messages[len(in.Messages)-1]
	setProperties(m, &p.Properties, now)
	if code := c.address(m, text(p.Topic)); code != wire.Success {
		in.Messages = in.Messages[:len(in.Messages)-1]
		return c.refusePublish(in, &p, code)
	}
	if p.QoS > 0 {
		in.owed = append(in.owed, owed{id: p.ID, qos: p.QoS, msg: int32(len(in.Messages) - 1)})
	}
	if p.QoS == 2 {
		c.session.receive(p.ID)
		if c.session.queue != nil {
			in.Records = in.records
		}
	}
	c.b.distribute(in, c.clientID)
	return nil
}

// refusePublish says no to one PUBLISH. MQTT 5 has a reason code for QoS 1 and 2;
// 3.1.1 can only close. QoS 0 has no answer in either: it is counted and logged.
func (c *conn) refusePublish(in *run, p *wire.Publish, code byte) error {
	c.b.stats.Unpublished.Add(1)
	if !c.topics.warned {
		c.topics.warned = true // once per connection: a loop must not fill the log
		c.b.log.Warn("publish refused", "client", c.clientID, "topic", string(p.Topic), "code", code)
	}
	switch {
	case code == wire.PacketTooLarge, p.QoS > 0 && c.version != 5:
		return c.fault(&wire.Fault{Code: code, Clause: "3.3.5", Reason: "publish refused"})
	case p.QoS > 0:
		in.owed = append(in.owed, owed{id: p.ID, qos: p.QoS, code: code, msg: -1})
	}
	return nil
}

// address says where m came from and whether its publisher may say so: the
// dialect's telemetry topics fill in device, module and properties, any other
// topic is a plain one.
func (c *conn) address(m *message.Message, topic string) byte {
	if strings.HasPrefix(topic, "devices/") {
		if _, is, _ := iothub.ParseEvents(topic); is {
			return c.addressEvents(m, topic)
		}
	}
	t := c.topics.get(c, topic)
	if t.code != wire.Success {
		return t.code
	}
	m.Kind, m.Topic = message.Plain, t.name
	m.Device, m.Module = c.principal.Device, c.principal.Module
	switch {
	case m.Size() > iothub.MaxMessage:
		return wire.PacketTooLarge
	case m.Retain && c.b.retained.full(t.name):
		return wire.QuotaExceeded
	}
	return wire.Success
}

func (c *conn) addressEvents(m *message.Message, topic string) byte {
	err := iothub.DecodeEvents(topic, m)
	if err != nil && !errors.Is(err, iothub.ErrTooLarge) {
		return wire.TopicNameInvalid
	}
	if !c.topics.mayPublishFor(c, m.Device, m.Module, topic) {
		return wire.NotAuthorized
	}
	if c.principal.Edge {
		if iothub.Unwrap(c.principal.Device, m) != nil {
			return wire.TopicNameInvalid
		}
		// What a hub adds for its parent does not count: the hub has accepted the message.
		err = iothub.CheckSize(m)
	}
	if err != nil {
		return wire.PacketTooLarge
	}
	return wire.Success
}

// done answers the run once its fate is known. It runs on the Acceptor's
// completion goroutine: it appends bytes and wakes, it never waits.
func (in *run) done(_ *message.Batch, errs []error) {
	c := in.c
	c.b.settled(in, errs)
	failed := in.resolve(errs)
	c.control(func(dst []byte) []byte {
		for _, o := range in.owed {
			if o.code != wire.Success && c.version != wire.V5 {
				return dst // 3.1.1 has no words: no acknowledgement, close
			}
			dst = wire.AppendAck(dst, c.version, answerType(o.qos), o.id, o.code)
			if o.qos == 1 || o.code != wire.Success {
				c.answered()
			}
		}
		return dst
	})
	if failed != nil && c.version != wire.V5 {
		c.b.log.Warn("publish not stored, connection closed", "client", c.clientID, "err", failed)
		_ = c.Close()
	}
}

// resolve turns the Acceptor's answers into reason codes. A refused QoS 2 id is
// forgotten even if the connection is gone: its repetition is a new message.
func (in *run) resolve(errs []error) (failed error) {
	s := in.c.session
	for i := range in.owed {
		o := &in.owed[i]
		var err error
		switch {
		case o.msg >= 0 && errs != nil:
			err = errs[o.msg]
		case o.msg < 0 && o.qos == 2 && o.code == wire.Success:
			if taken, _ := s.knows(o.id); !taken { // what it repeats was refused meanwhile
				err = errNotAccepted
			}
		}
		if err != nil {
			o.code, failed = publishCode(err), err
			in.c.b.stats.Unpublished.Add(1)
		}
		switch {
		case o.qos != 2 || o.msg < 0:
		case err != nil:
			s.forget(o.id) // when it comes again it is a new message
		default:
			s.accepted(o.id)
		}
	}
	return failed
}

func answerType(qos byte) byte {
	if qos == 2 {
		return wire.PUBREC
	}
	return wire.PUBACK
}

// setProperties carries the properties of an MQTT 5 PUBLISH into the message.
func setProperties(m *message.Message, p *wire.Properties, now int64) {
	if len(p.Raw) == 0 {
		return
	}
	sys := func(id byte, name string, v []byte) {
		if p.Has(id) {
			m.System = append(m.System, message.Property{Name: name, Value: text(v)})
		}
	}
	sys(wire.PropContentType, message.SysContentType, p.ContentType)
	sys(wire.PropResponseTopic, message.SysResponseTopic, p.ResponseTopic)
	sys(wire.PropCorrelationData, message.SysCorrelationData, p.CorrelationData)
	if p.Has(wire.PropPayloadFormat) {
		m.System = append(m.System, message.Property{Name: message.SysPayloadFormat, Value: string('0' + rune(p.PayloadFormat))})
	}
	if p.Has(wire.PropMessageExpiry) {
		m.Expires = now + int64(p.Expiry)*1000
	}
	for name, value := range p.User() {
		m.Properties = append(m.Properties, message.Property{Name: text(name), Value: text(value)})
	}
}

// text views bytes of a run as a string: a run's bytes are copied from the read
// buffer once and never written again.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
