package identity

import (
	"strings"

	"github.com/penstock-io/penstock/iothub"
)

// maxDepth is how many gateways may stand above one another (contract 1.1, Nested edge).
const maxDepth = 5

// Allow reports whether p may publish on a topic, or subscribe to a filter.
//
// Devices and modules own their topics in the dialect; an edge device also
// publishes telemetry for its modules and for the devices below it. No access rule
// can grant publishing in somebody's name, or in the hub's to a device. All other
// topics are granted by access rules only; a filter must lie wholly within one
// granted. Topics without encoded ids cost no allocation.
func (g *Guard) Allow(p *Principal, a Action, topic string) bool {
	if p == nil {
		return false
	}
	if a == Subscribe {
		topic = unshare(topic)
		if !validFilter(topic) {
			return false
		}
		for _, own := range p.subscriptions {
			if Covers(own, topic) {
				return true
			}
		}
		return p.granted(a, topic)
	}
	if strings.ContainsAny(topic, "+#") {
		return false
	}
	switch {
	case strings.HasPrefix(topic, "devices/"):
		if e, ok, err := iothub.ParseEvents(topic); ok {
			return err == nil && g.speaksFor(p, e.Device, e.Module)
		}
		if iothub.IsDelivery(topic) {
			return false
		}
	case strings.HasPrefix(topic, "$"):
		if _, err := iothub.ParseOperation(topic); err == nil {
			return p.Device != ""
		}
	}
	return p.granted(a, topic)
}

// speaksFor reports whether p may publish telemetry as device and module.
func (g *Guard) speaksFor(p *Principal, device, module string) bool {
	if p.Device == "" {
		return false
	}
	if device == p.Device && module == p.Module {
		return true
	}
	if !p.Edge {
		return false
	}
	for range maxDepth {
		if device == p.Device {
			return true
		}
		d, ok := g.dir.Device(device)
		if !ok || d.Disabled || d.Parent == "" {
			return false
		}
		device = d.Parent
	}
	return device == p.Device
}

func (p *Principal) granted(a Action, filter string) bool {
	for i := range p.grants {
		if p.grants[i].actions&a != 0 && Covers(p.grants[i].filter, filter) {
			return true
		}
	}
	return false
}

// own fills in the filters by which a device or module hears what is meant for
// it. Clients write their id encoded or as it is; as it is, it must not act as a
// wildcard.
func (p *Principal) own() {
	if p.Device == "" {
		return
	}
	p.subscriptions = []string{iothub.FilterTwinResponses, iothub.FilterTwinDesired, iothub.FilterMethods}
	plain := !strings.ContainsAny(p.Device+p.Module, "+#")
	device, module := string(iothub.AppendID(nil, p.Device)), string(iothub.AppendID(nil, p.Module))
	forms := [][2]string{{device, module}}
	if plain && (device != p.Device || module != p.Module) {
		forms = append(forms, [2]string{p.Device, p.Module})
	}
	for _, f := range forms {
		if p.Module == "" {
			p.subscriptions = append(p.subscriptions, "devices/"+f[0]+"/messages/devicebound/#")
		} else {
			p.subscriptions = append(p.subscriptions, "devices/"+f[0]+"/modules/"+f[1]+"/#")
		}
	}
}
