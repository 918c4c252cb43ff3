package identity

import "errors"

var (
	// ErrBadCredentials: the password, token or certificate does not prove the
	// identity the client claims, or there is none.
	ErrBadCredentials = errors.New("bad credentials")
	// ErrUnknownDevice: the device or module is not registered.
	ErrUnknownDevice = errors.New("unknown device")
	// ErrDisabled: the device is registered and switched off.
	ErrDisabled = errors.New("device disabled")
	// ErrExpired: the SAS token or the certificate is genuine and not valid now.
	ErrExpired = errors.New("credentials expired")
	// ErrNotAllowed: the client may not come in this way, such as anonymously.
	ErrNotAllowed = errors.New("not allowed")
	// ErrThrottled: too many failed attempts by this address, or by this address
	// for this identity; nothing was checked.
	ErrThrottled = errors.New("too many failed logins, try again later")
)
