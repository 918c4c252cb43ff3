package broker

import (
	"github.com/penstock-io/penstock/message"
)

// run is PUBLISH packets that become durable together, and what they are owed.
type run struct {
	message.Batch
	c    *conn // nil: published from within
	owed []owed
	late []late
	kept []*keptMessage
}

// late is the live delivery of a QoS 2 message. It waits for the commit: a
// refused message that its publisher sends again would otherwise arrive twice.
type late struct {
	msg  int32 // index into Messages
	subs []*subscriber
}

// distribute adds the durable sessions that want the run's last message, gives
// connected ones their live copy and keeps it if it is to be retained. Who
// subscribes from now on gets the retained message, so nobody misses it between
// here and the commit.
func (b *Broker) distribute(in *run, publisher string) {
	i := len(in.Messages) - 1
	m := &in.Messages[i]
	if m.Kind != message.Plain || m.Topic == "" {
		return
	}
	if m.Retain {
		k := b.retained.apply(m, int32(i))
		in.kept = append(in.kept, k)
		if b.records != nil {
			in.Records = in.records
		}
	}
	mt := b.matches.get(m.Topic)
	if mt.empty() {
		return
	}
	targets, live := mt.split(m, publisher)
	m.Sessions = targets
	switch {
	case len(live) == 0:
	case m.QoS == 2:
		in.late = append(in.late, late{msg: int32(i), subs: live})
	default:
		for _, s := range live {
			s.push(m)
		}
	}
}

// settled does what waits for the commit of the run.
func (b *Broker) settled(in *run, errs []error) {
	for _, k := range in.kept {
		b.retained.settle(k, errs)
	}
	for _, l := range in.late {
		if errs != nil && errs[l.msg] != nil {
			continue
		}
		for _, s := range l.subs {
			s.push(&in.Messages[l.msg])
		}
	}
}

// records are what is written with the run's messages: their packet ids of QoS 2,
// if the session is durable, and retained messages; nothing of what is refused.
func (in *run) records(refused []error) (rs []message.Record) {
	taken := func(i int32) bool { return refused == nil || refused[i] == nil }
	for _, o := range in.owed {
		if o.qos == 2 && o.msg >= 0 && in.c.session.queue != nil && taken(o.msg) {
			rs = append(rs, message.Record{Bucket: bucketReceived, Key: in.c.session.packetKey(o.id), Value: []byte{1}})
		}
	}
	for _, k := range in.kept {
		if taken(k.index) {
			rs = append(rs, k.record)
		}
	}
	return rs
}

// Publish brings m to the local subscribers and sessions of its topic and, if
// m.Retain, keeps it: the way back inward of rules that end on a topic. Rules do
// not see it again. done is called once, when the durable part is committed or
// refused; it must not block.
func (b *Broker) Publish(m *message.Message, done func(error)) {
	b.publish(m, true, done)
}

func (b *Broker) publish(m *message.Message, local bool, done func(error)) {
	if m.Retain && b.retained.full(m.Topic) {
		done(ErrQuota)
		return
	}
	in := &run{}
	in.Messages = []message.Message{*m}
	in.Local = local
	b.distribute(in, "")
	in.Done = func(_ *message.Batch, errs []error) {
		b.settled(in, errs)
		if errs != nil && errs[0] != nil {
			done(errs[0])
			return
		}
		done(nil)
	}
	b.accept.Accept(&in.Batch)
}
