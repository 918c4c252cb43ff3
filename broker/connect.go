package broker

import (
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
)

// connecting vets and authenticates the first packet. What it refuses, mochi
// never sees; what it admits, mochi need not doubt.
func (c *conn) connecting(packet []byte) error {
	cn, fault := wire.DecodeConnect(packet)
	c.version = cn.Version
	if fault != nil {
		return c.fault(fault)
	}
	c.connect = &cn
	p, err := c.authenticate(&cn)
	if err != nil {
		c.b.log.Warn("client refused", "peer", c.remote(), "listener", c.l.cfg.Name, "client", cn.ClientID, "err", err)
		return c.fault(connectFault(err))
	}
	c.principal = p
	if f := c.vetWill(cn.Will); f != nil {
		return c.fault(f)
	}
	if !p.Expires.IsZero() { // a token's end is the connection's (contract 2.2)
		c.expiry = time.AfterFunc(time.Until(p.Expires), func() { c.disconnect(wire.NotAuthorized) })
	}
	c.aliases = wire.NewAliases(c.b.cfg.TopicAliasMax)
	c.keepAlive = time.Duration(cn.KeepAlive) * time.Second
	if most := c.b.cfg.KeepAliveMax; most > 0 && (c.keepAlive == 0 || c.keepAlive > most) {
		c.keepAlive = most
	}
	c.clientID = cn.ClientID
	if c.clientID == "" {
		return nil // mochi assigns one; nobody else can hold it
	}
	if !c.b.sessions.claim(c) {
		return c.fault(&wire.Fault{Code: wire.ServerBusy, Connack: wire.ConnackUnavailable, Clause: "MQTT-3.1.4-3", Reason: errTakenOver.Error()})
	}
	if !c.b.sessions.owns(c) {
		return c.fault(&wire.Fault{Code: wire.InvalidClientID, Connack: wire.ConnackClientID, Clause: "3.1.3.1", Reason: "client id belongs to another identity's session"})
	}
	return nil
}

func (c *conn) authenticate(cn *wire.Connect) (*identity.Principal, error) {
	state, err := c.handshake()
	if err != nil {
		return nil, err
	}
	ask := &identity.Connect{
		ClientID: cn.ClientID, Username: cn.Username, Password: cn.Password,
		Listener: c.l.cfg.Name, Remote: c.RemoteAddr(), Loopback: identity.Loopback(c.RemoteAddr()),
	}
	if state != nil {
		ask.Certificates, ask.VerifiedChains = state.PeerCertificates, state.VerifiedChains
	}
	return c.b.guard.Authenticate(ask)
}

// vetWill holds the will to what its owner may publish; mochi does not.
func (c *conn) vetWill(w *wire.Will) *wire.Fault {
	if w == nil {
		return nil
	}
	if !c.allowed(identity.Publish, w.Topic) {
		return &wire.Fault{Code: wire.NotAuthorized, Connack: wire.ConnackUnauthorized, Clause: "MQTT-3.1.4-2", Reason: "not authorized to publish the will's topic"}
	}
	return nil
}

func (c *conn) allowed(a identity.Action, topic string) bool {
	return c.b.guard.Allow(c.principal, a, topic)
}

// refuseConnect answers a refused CONNECT where the version has an answer.
func (c *conn) refuseConnect(f *wire.Fault) {
	c.b.stats.Refused.Add(1)
	c.control(func(dst []byte) []byte { return f.AppendConnack(dst, c.version) })
	_ = c.Close()
}

// maxPacket is the client's limit for packets sent to it, in bytes; 0: none.
func (c *conn) maxPacket() uint32 {
	if c.connect == nil {
		return 0
	}
	return c.connect.MaxPacketSize
}
