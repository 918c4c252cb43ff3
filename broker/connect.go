package broker

import (
	"crypto/rand"
	"math"
	"strings"
	"time"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
)

// connecting vets and authenticates the first packet and returns what mochi
// shall read in its place. What it refuses, mochi never sees; what it admits,
// mochi need not doubt.
func (c *conn) connecting(packet []byte) ([]byte, error) {
	cn, fault := wire.DecodeConnect(packet)
	c.version = cn.Version
	if fault != nil {
		return nil, c.fault(fault)
	}
	p, err := c.authenticate(&cn)
	if err != nil {
		c.b.log.Warn("client refused", "peer", c.remote(), "listener", c.l.cfg.Name, "client", cn.ClientID, "err", err)
		return nil, c.fault(connectFault(err))
	}
	c.principal, c.connect = p, &cn
	if f := c.takeWill(cn.Will); f != nil {
		return nil, c.fault(f)
	}
	c.grant(&cn)
	if f := c.b.sessions.claim(c); f != nil {
		return nil, c.fault(f)
	}
	if !p.Expires.IsZero() { // a token's end is the connection's (contract 2.2)
		c.expiry = time.AfterFunc(time.Until(p.Expires), func() { c.disconnect(wire.NotAuthorized, "the credentials have expired") })
	}
	return forMochi(cn, c.clientID).Append(nil), nil
}

// grant sets the connection's terms from what the client asks for.
func (c *conn) grant(cn *wire.Connect) {
	c.aliases = wire.NewAliases(c.b.cfg.TopicAliasMax)
	c.keepAlive = time.Duration(cn.KeepAlive) * time.Second
	if most := c.b.cfg.KeepAliveMax; most > 0 && (c.keepAlive == 0 || c.keepAlive > most) {
		c.keepAlive = most
	}
	c.asked = cn.SessionExpiry
	cn.SessionExpiry = min(cn.SessionExpiry, c.b.longestExpiry())
	c.clientID = cn.ClientID
	if c.clientID == "" { // MQTT-3.1.3-6
		c.clientID, c.assigned = "auto-"+strings.ToLower(rand.Text()), true
	}
}

// forMochi is a CONNECT without what the broker keeps to itself: will and
// credentials.
func forMochi(cn wire.Connect, clientID string) *wire.Connect {
	cn.ClientID = clientID
	cn.Will = nil
	cn.HasUsername, cn.Username, cn.HasPassword, cn.Password = false, "", false, nil
	cn.SessionExpiry = mochiExpiry(cn.SessionExpiry)
	return &cn
}

// mochiExpiry leaves mochi only the choice between a session that ends with its
// connection and one that does not end by itself.
func mochiExpiry(seconds uint32) uint32 {
	if seconds > 0 {
		return wire.NeverExpires
	}
	return 0
}

func (b *Broker) longestExpiry() uint32 {
	return uint32(min(b.cfg.SessionExpiryMax/time.Second, math.MaxUint32))
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

// takeWill holds the will to what its owner may publish; mochi does not.
func (c *conn) takeWill(w *wire.Will) *wire.Fault {
	if w == nil {
		return nil
	}
	m, code := c.willMessage(w)
	switch code {
	case wire.Success:
		c.will = m
		return nil
	case wire.NotAuthorized:
		return &wire.Fault{Code: code, Connack: wire.ConnackUnauthorized, Clause: "MQTT-3.1.4-2", Reason: "not authorized to publish the will's topic"}
	}
	return &wire.Fault{Code: code, Clause: "3.1.3.3", Reason: "the will cannot be published: its topic or its size is not acceptable"}
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
