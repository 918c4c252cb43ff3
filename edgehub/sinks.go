package edgehub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/penstock/broker"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/router"
	"github.com/penstock-io/penstock/rules"
	"github.com/penstock-io/penstock/store"
)

// sink says who consumes a queue; the router asks once per queue.
func (h *Hub) sink(queue string) (router.Sink, router.PumpConfig, bool) {
	pump := router.PumpConfig{
		Window: h.cfg.Router.Window, MaxAttempts: h.cfg.Router.MaxAttempts,
		RetryBase: time.Duration(h.cfg.Router.Retry.Min), RetryMax: time.Duration(h.cfg.Router.Retry.Max),
	}
	to, err := rules.ParseQueue(queue)
	if err != nil {
		return nil, pump, false
	}
	switch to.Kind {
	case rules.SinkUpstream:
		if h.uplink == nil {
			return nil, pump, false // kept until there is a parent
		}
		pump.Window = h.cfg.Uplink.Window
		// The uplink itself says when the parent refuses a message and is well otherwise.
		pump.MaxAttempts = 0
		if h.cfg.Uplink.Order == "lanes" {
			pump.Lanes = router.Lanes{Live: h.cfg.Uplink.Lanes.Live, Backlog: h.cfg.Uplink.Lanes.Backlog}
		}
		return h.uplink, pump, true
	case rules.SinkModule:
		return h.moduleInput(to.Module, to.Input), pump, true
	case rules.SinkTopic:
		return h.localTopic(to.Topic), pump, true
	}
	return nil, pump, false
}

// moduleInput delivers to a module of this device in the dialect. Modules
// subscribe either to their inputs or to all that is theirs (contract 2.3).
func (h *Hub) moduleInput(module, input string) router.Sink {
	device := h.cfg.Device.ID
	client := device + "/" + module
	var filters []string
	for _, d := range forms(device) {
		for _, m := range forms(module) {
			filters = append(filters, "devices/"+d+"/modules/"+m+"/inputs/#", "devices/"+d+"/modules/"+m+"/#")
		}
	}
	return router.SinkFunc(func(ctx context.Context, d *message.Delivery, done func(error)) {
		if ctx.Err() != nil {
			done(router.ErrUnavailable)
			return
		}
		topic := string(iothub.AppendInputTopic(nil, device, module, input, &d.Message))
		h.broker.Deliver(client, topic, filters, &d.Message, func(err error) { done(sinkError(err)) })
	})
}

// forms are the ways an id may stand in a filter: encoded, and as it is.
func forms(id string) []string {
	if enc := string(iothub.AppendID(nil, id)); enc != id {
		return []string{enc, id}
	}
	return []string{id}
}

// localTopic republishes on a topic of this device's broker. The copy is a plain
// message: QoS 1, not retained, its source's properties kept.
func (h *Hub) localTopic(topic string) router.Sink {
	return router.SinkFunc(func(ctx context.Context, d *message.Delivery, done func(error)) {
		if ctx.Err() != nil {
			done(router.ErrUnavailable)
			return
		}
		m := d.Message
		m.Kind, m.Topic, m.Output, m.QoS, m.Retain, m.Sessions = message.Plain, topic, "", 1, false, nil
		if d.Expire > 0 {
			m.Expires = d.Expire
		}
		h.broker.Publish(&m, func(err error) { done(sinkError(err)) })
	})
}

// sinkError says in the router's terms what a failed delivery means.
func sinkError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, broker.ErrRefused):
		return fmt.Errorf("%w: %w", router.ErrRejected, err)
	case errors.Is(err, broker.ErrTooLarge):
		return fmt.Errorf("%w: %w", router.ErrPermanent, err)
	}
	return fmt.Errorf("%w: %w", router.ErrUnavailable, err)
}

// ownModule says which of this device's modules a client id names.
func (h *Hub) ownModule(clientID string) (string, bool) {
	return strings.CutPrefix(clientID, h.cfg.Device.ID+"/")
}

// sessionQueues gives the broker the store's queues under its own interface.
type sessionQueues struct{ s *store.Store }

func (q sessionQueues) Queue(name string) (broker.Queue, error) { return q.s.Queue(name) }
func (q sessionQueues) Drop(name string) error                  { return q.s.Drop(name) }
func (q sessionQueues) Queues() []string                        { return q.s.Queues() }

// refusal says in the broker's terms why the store did not take a message.
func refusal(err error) error {
	if errors.Is(err, store.ErrQuota) || errors.Is(err, store.ErrDiskFull) {
		return fmt.Errorf("%w: %w", broker.ErrQuota, err)
	}
	return err
}
