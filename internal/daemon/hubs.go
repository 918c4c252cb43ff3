package daemon

import (
	"log/slog"
	"time"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/cloudhub"
	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/edgehub"
	"github.com/penstock-io/penstock/identity"
)

// EdgeHub is the device's daemon.
func EdgeHub() Program[*configs.EdgeHub] {
	return Program[*configs.EdgeHub]{
		Name: "edgehub", Load: configs.LoadEdgeHub,
		Log: func(c *configs.EdgeHub) configs.Log { return c.Log },
		New: func(c *configs.EdgeHub, log *slog.Logger) (Runner, error) { return edgehub.New(c, log) },
		Tasks: []Task[*configs.EdgeHub]{{
			Flag: "renew-epoch", Usage: "after a restored backup, before the first start: number messages anew, so that the cloud does not take them for what it has",
			Do: func(c *configs.EdgeHub) (string, error) {
				return "the store has a new epoch", edgehub.RenewEpoch(c)
			},
		}},
	}
}

// CloudHub is the cloud's daemon.
func CloudHub() Program[*configs.CloudHub] {
	return Program[*configs.CloudHub]{
		Name: "cloudhub", Load: configs.LoadCloudHub,
		Log: func(c *configs.CloudHub) configs.Log { return c.Log },
		New: func(c *configs.CloudHub, log *slog.Logger) (Runner, error) { return newCloud(c, log) },
	}
}

func newCloud(c *configs.CloudHub, log *slog.Logger) (*cloudhub.Hub, error) {
	bc, err := broker.FromConfig(c.Broker, c.Listeners)
	if err != nil {
		return nil, err
	}
	return cloudhub.New(cloudhub.Config{
		State: c.StateDir, API: c.API.Listen, TokenFile: c.API.TokenFile,
		NATS: cloudhub.NATS{
			URL: c.NATS.URL, Credentials: c.NATS.CredentialsFile, User: c.NATS.User, Password: c.NATS.Password.Reveal(),
			Dir: c.NATS.Embedded.StoreDir, Listen: c.NATS.Embedded.Address, Relaxed: c.NATS.Embedded.Sync == "interval",
		},
		Stream: stream.Config{
			Name: c.Stream.Name, Prefix: c.Stream.Subjects, MaxBytes: int64(c.Stream.MaxBytes), MaxAge: time.Duration(c.Stream.MaxAge), Replicas: c.Stream.Replicas,
		},
		Broker:  bc,
		Guard:   identity.Config{Hosts: append([]string{c.Host}, c.Auth.Hosts...), Anonymous: configs.Anonymous(c.Listeners), Users: c.Auth.Users, Rules: c.Auth.ACL},
		Devices: c.Auth.Devices,
	}, log)
}
