package cloudhub

import (
	"context"
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
	h.close = append(h.close, h.releaseBroker)
	h.metrics.MustRegister(brokerCollectors(h.broker.Stats())...)
	return nil
}

// releaseBroker gives the listeners back, also of a hub that never ran: the
// broker does so at the end of its Run, here at once.
func (h *Hub) releaseBroker() {
	if h.serving {
		return
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.broker.Run(over); err != nil {
		h.log.Warn("broker did not close", "err", err)
	}
}
