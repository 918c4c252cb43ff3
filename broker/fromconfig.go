package broker

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/internal/tlsfiles"
)

// FromConfig translates configuration keys to the broker's terms and reads the
// listeners' certificates.
func FromConfig(b configs.Broker, ls []configs.Listener) (Config, error) {
	c := Config{
		MaxPacketSize: int(b.MaxPacketSize), ReceiveMaximum: uint16(b.ReceiveMaximum), MaxConnections: b.MaxConnections,
		SessionExpiryMax: time.Duration(b.SessionExpiryMax), KeepAliveMax: time.Duration(b.KeepAliveMax),
		Window: b.InflightWindow, QueueBytes: int(b.SessionQueueBytes),
	}
	for _, l := range ls {
		bl := Listener{Name: l.Name, Address: l.Address, WebSocket: l.Type == "ws" || l.Type == "wss"}
		if l.TLS() {
			var err error
			if bl.TLS, err = tlsfiles.Server(l.CertFile, l.KeyFile, l.ClientCAFile); err != nil {
				return c, fmt.Errorf("listener %s: %w", l.Name, err)
			}
		}
		c.Listeners = append(c.Listeners, bl)
	}
	return c, nil
}
