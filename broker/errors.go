package broker

import (
	"errors"
	"runtime/debug"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
)

var (
	// ErrNoSubscriber: the client is not connected, or has no subscription that
	// the delivery may use. It may come later.
	ErrNoSubscriber = errors.New("no subscriber")
	// ErrDisconnected: the client went away before it acknowledged.
	ErrDisconnected = errors.New("client disconnected before it acknowledged")
	// ErrRefused: the client acknowledged with an error code of its own (MQTT 5).
	ErrRefused = errors.New("client refused the message")
	// ErrTooLarge: the packet exceeds what the client said it takes.
	ErrTooLarge = errors.New("message larger than the client's maximum packet size")
	// ErrQuota: no room for the message. An Acceptor that wraps it makes the
	// publisher see "quota exceeded" in place of "implementation specific error".
	ErrQuota = errors.New("quota exceeded")
	// ErrNotAuthorized: an Acceptor that wraps it makes the publisher see "not authorized".
	ErrNotAuthorized = errors.New("not authorized")

	errKeepAlive   = errors.New("client was silent for longer than its keep-alive allows")
	errTextFrame   = errors.New("websocket text frame: MQTT uses binary frames only")
	errNotAccepted = errors.New("the message that this one repeats was not accepted")
)

// publishCode translates an Acceptor's error to the reason code of PUBACK and PUBREC.
func publishCode(err error) byte {
	switch {
	case err == nil:
		return wire.Success
	case errors.Is(err, ErrQuota):
		return wire.QuotaExceeded
	case errors.Is(err, ErrNotAuthorized):
		return wire.NotAuthorized
	}
	return wire.ImplementationError
}

// connectFault translates a Guard's error to the answer of a CONNECT. A caller
// without an identity learns only that it was refused.
func connectFault(err error) *wire.Fault {
	f := &wire.Fault{Code: wire.NotAuthorized, Connack: wire.ConnackUnauthorized, Clause: "MQTT-3.1.4-2", Reason: "not authorized"}
	if errors.Is(err, identity.ErrThrottled) {
		f.Code, f.Reason = wire.ServerBusy, "too many failed logins, try later"
	}
	return f
}

func stack() string { return string(debug.Stack()) }
