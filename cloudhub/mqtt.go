package cloudhub

import (
	"fmt"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/identity"
)

// openBroker binds the MQTT listeners. Devices are those of the registry, what
// they publish goes to the ingress.
func (h *Hub) openBroker() error {
	guard, err := identity.NewGuard(h.registry, h.cfg.Guard)
	if err != nil {
		return fmt.Errorf("configure access: %w", err)
	}
	h.broker, err = broker.New(h.cfg.Broker, broker.Deps{Acceptor: h.ingress, Guard: guard, Log: h.log})
	if err != nil {
		return fmt.Errorf("open broker: %w", err)
	}
	h.registry.OnBarred(func(id string) {
		h.broker.Expel(func(p *identity.Principal) bool { return p.Device == id }, "the device is disabled or deleted")
	})
	h.close = append(h.close, h.broker.Close)
	h.metrics.MustRegister(brokerCollectors(h.broker.Stats())...)
	return nil
}
