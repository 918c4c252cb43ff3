package broker

import (
	"github.com/penstock-io/penstock/message"
)

// distribute adds the durable sessions that want m and gives connected ones
// their live copy. QoS 2 copies wait for the commit: a refused message that its
// publisher sends again would otherwise arrive twice.
func (b *Broker) distribute(in *run, m *message.Message, publisher string) {
	if m.Kind != message.Plain || m.Topic == "" {
		return
	}
	if m.Retain && b.records != nil {
		in.Records = append(in.Records, b.retained.record(m))
	}
	mt := b.matches.get(m.Topic)
	if mt.empty() {
		return
	}
	m.Sessions = mt.durable(m, publisher)
	if m.QoS < 2 {
		mt.live(m, publisher)
	}
}

// committed does what waits for the commit of m.
func (b *Broker) committed(m *message.Message, publisher string) {
	if m.Kind != message.Plain {
		return
	}
	if m.Retain {
		b.retained.apply(m)
	}
	if m.QoS == 2 {
		b.matches.get(m.Topic).live(m, publisher)
	}
}

// Publish brings m to the local subscribers and sessions of its topic and, if
// m.Retain, keeps it: the way back inward of rules that end on a topic, and of
// wills. Rules do not see it again. done is called once, when the durable part
// is committed or refused; it must not block.
func (b *Broker) Publish(m *message.Message, done func(error)) {
	b.publish(m, true, done)
}

func (b *Broker) publish(m *message.Message, local bool, done func(error)) {
	in := &run{}
	in.Messages = []message.Message{*m}
	in.Local = local
	own := &in.Messages[0]
	b.distribute(in, own, "")
	in.Done = func(_ *message.Batch, errs []error) {
		if errs != nil && errs[0] != nil {
			done(errs[0])
			return
		}
		b.committed(own, "")
		done(nil)
	}
	b.accept.Accept(&in.Batch)
}
