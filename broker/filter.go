package broker

import (
	"strings"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// deepFilters are the subscriptions whose filter ends in +/#. mochi's tree
// overlooks that such a filter also matches the level of its + (4.7.1.2).
type deepFilters struct {
	mu   sync.RWMutex
	list map[string]map[string]packets.Subscription // filter → client → subscription
}

func isDeep(filter string) bool { return filter == "+/#" || strings.HasSuffix(filter, "/+/#") }

func (x *deepFilters) add(client string, p packets.Subscription) {
	if !isDeep(p.Filter) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.list == nil {
		x.list = make(map[string]map[string]packets.Subscription)
	}
	if x.list[p.Filter] == nil {
		x.list[p.Filter] = make(map[string]packets.Subscription)
	}
	x.list[p.Filter][client] = p
}

func (x *deepFilters) remove(client, filter string) {
	if !isDeep(filter) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.list[filter], client)
	if len(x.list[filter]) == 0 {
		delete(x.list, filter)
	}
}

// match adds to found what mochi's tree overlooked.
func (x *deepFilters) match(topic string, found *mqtt.Subscribers) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for filter, clients := range x.list {
		level := unshare(filter)
		shared := level != filter
		if !matchesFilter(strings.TrimSuffix(level, "/#"), topic) {
			continue
		}
		for client, p := range clients {
			if shared {
				if found.Shared[filter] == nil {
					found.Shared[filter] = make(map[string]packets.Subscription)
				}
				found.Shared[filter][client] = p
				continue
			}
			merged, ok := found.Subscriptions[client]
			if !ok {
				merged = p
			}
			found.Subscriptions[client] = merged.Merge(p)
		}
	}
}

// unshare returns the topic filter in a shared subscription (4.8.2).
func unshare(filter string) string {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return filter
	}
	_, level, _ := strings.Cut(rest, "/")
	return level
}

// matchesFilter applies a topic filter (MQTT 5.0, 4.7).
func matchesFilter(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (filter[0] == '+' || filter[0] == '#') {
		return false // MQTT-4.7.2-1
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, trest, tmore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !fmore && !tmore:
			return true
		case !tmore:
			return frest == "#" // sport/# matches sport
		case !fmore:
			return false
		}
		filter, topic = frest, trest
	}
}
