package iothub

import (
	"fmt"
	"strings"
)

// maxUsername bounds what ParseUsername looks at; SDKs stay below 400 bytes.
const maxUsername = 2048

// Username is what a client states about itself in CONNECT.
type Username struct {
	Host       string // compared with nothing by the vendor's hubs
	Device     string
	Module     string // empty for a device
	APIVersion string
	ClientType string
	ModelID    string
	AuthChain  string // ids joined by ';', leaf first, when a gateway connects for others
}

// ParseUsername reads the user names of contract 2.1:
//
//	{host}/{device}[/{module}]/?api-version=…[&DeviceClientType=…][&model-id=…]
//	{host}/{device}[/{module}]/api-version=…            without the question mark
//	{host}/{device}/{module}/api-version=…/DeviceClientType={name}/{version}   old C#
//
// The key api-version must be there; unknown keys are ignored. Errors wrap ErrUsername.
func ParseUsername(s string) (Username, error) {
	if len(s) > maxUsername {
		return Username{}, fmt.Errorf("%w: longer than %d bytes", ErrUsername, maxUsername)
	}
	host, rest, _ := strings.Cut(s, "/")
	device, rest, ok := strings.Cut(rest, "/")
	if host == "" || !ok {
		return Username{}, fmt.Errorf("%w: %q is not {host}/{device}/?api-version=…", ErrUsername, excerpt(s))
	}
	u := Username{Host: host, Device: device}
	if !strings.HasPrefix(rest, "?") && !strings.HasPrefix(rest, "api-version=") {
		u.Module, rest, ok = strings.Cut(rest, "/")
		if !ok {
			return Username{}, fmt.Errorf("%w: %q has no api-version", ErrUsername, excerpt(s))
		}
		if !ValidID(u.Module) {
			return Username{}, fmt.Errorf("%w: module id %q", ErrUsername, excerpt(u.Module))
		}
	}
	if !ValidID(u.Device) {
		return Username{}, fmt.Errorf("%w: device id %q", ErrUsername, excerpt(u.Device))
	}
	if err := u.query(rest); err != nil {
		return Username{}, err
	}
	return u, nil
}

func (u *Username) query(q string) error {
	raw, marked := strings.CutPrefix(q, "?")
	pairs := strings.Split(raw, "&")
	if !marked && strings.Contains(raw, "/") {
		pairs = strings.SplitN(raw, "/", 2)
		// The old form has exactly one more slash, inside its client type.
		if len(pairs) != 2 || u.Module == "" || strings.Count(pairs[1], "/") != 1 {
			return fmt.Errorf("%w: too many segments in %q", ErrUsername, excerpt(q))
		}
	}
	found := false
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		value = string(appendUnescaped(nil, value))
		switch name {
		case "api-version":
			found, u.APIVersion = ok, value
		case "DeviceClientType":
			u.ClientType = value
		case "model-id":
			u.ModelID = value
		case "auth-chain":
			u.AuthChain = value
		}
	}
	if !found {
		return fmt.Errorf("%w: %q has no api-version", ErrUsername, excerpt(q))
	}
	return nil
}
