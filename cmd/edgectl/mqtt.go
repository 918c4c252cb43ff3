package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/internal/tlsfiles"
)

// mqttFlags are how pub, sub and replay log in.
type mqttFlags struct {
	o           leaf.Options
	keyFile, ca string
}

func addMQTTFlags(cmd *cobra.Command) *mqttFlags {
	f := &mqttFlags{}
	s := cmd.Flags()
	s.StringVar(&f.o.Address, "address", "127.0.0.1:1883", "the hub's MQTT listener: host:port or mqtt://, mqtts://, ws://, wss://")
	s.StringVar(&f.o.Host, "hub-host", "penstock", "the hub's name in SAS tokens (hub_host in its configuration)")
	s.StringVar(&f.o.Device, "device", "", "log in as this device")
	s.StringVar(&f.o.Module, "module", "", "…as this module of it")
	s.StringVar(&f.keyFile, "key-file", "", "file with the device's or module's key, base64")
	s.StringVar(&f.o.User, "user", "", "log in with this user name; the password is in $PENSTOCK_PASSWORD")
	s.StringVar(&f.o.ClientID, "client-id", "", "client id of a plain client (default: one of its own)")
	s.StringVar(&f.ca, "ca-file", "", "certificate authorities of a TLS listener")
	return f
}

// check looks at the flags and reads the files they name.
func (f *mqttFlags) check() error {
	if (f.o.Device == "") != (f.keyFile == "") {
		return usage("--device and --key-file go together")
	}
	if f.o.Module != "" && f.o.Device == "" {
		return usage("--module needs --device and --key-file")
	}
	if f.keyFile != "" {
		b, err := os.ReadFile(f.keyFile)
		if err != nil {
			return usage("--key-file: %w", err)
		}
		f.o.Key = identity.Secret(strings.TrimSpace(string(b)))
	}
	if f.ca != "" {
		pool, err := tlsfiles.Pool(f.ca)
		if err != nil {
			return usage("--ca-file: %w", err)
		}
		f.o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	f.o.Password = identity.Secret(os.Getenv("PENSTOCK_PASSWORD"))
	f.o.ClientID = cmp.Or(f.o.ClientID, fmt.Sprintf("edgectl-%d", os.Getpid()))
	return nil
}

// dial connects; lost hears of every loss of the connection.
func (f *mqttFlags) dial(ctx context.Context, out *output, lost func(error)) (*leaf.Client, error) {
	f.o.OnState = func(up bool, err error) {
		switch {
		case up && err != nil:
			out.note("edgectl: %v", err)
		case !up && ctx.Err() == nil:
			out.note("edgectl: connection lost, trying again: %v", err)
			lost(err)
		}
	}
	c, err := leaf.New(f.o)
	if err != nil {
		return nil, usageError{err}
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
