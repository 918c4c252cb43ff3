package broker

import (
	"strings"

	"github.com/penstock-io/penstock/broker/wire"
	"github.com/penstock-io/penstock/identity"
)

// topicCache remembers what a connection's few topics resolve to.
type topicCache struct {
	known  map[string]*topicInfo
	last   *topicInfo
	events string // device and module the client was last allowed to publish for
	warned bool
}

type topicInfo struct {
	name string // owned, unlike the packet's
	code byte
}

const maxTopics = 64

func (t *topicCache) get(c *conn, topic string) *topicInfo {
	if t.last != nil && t.last.name == topic {
		return t.last
	}
	info := t.known[topic]
	if info == nil {
		info = c.resolve(strings.Clone(topic))
		if t.known == nil || len(t.known) >= maxTopics {
			t.known = make(map[string]*topicInfo)
		}
		t.known[info.name] = info
	}
	t.last = info
	return info
}

// isServers says whether a topic is for the server to use (4.7.2): its statistics,
// shared subscriptions, and the dialect's requests, which are no messages. Other
// topics that begin with $ are like any, except for wildcards.
func isServers(topic string) bool {
	root, _, _ := strings.Cut(topic, "/")
	switch root {
	case "$SYS", "$share", "$iothub", "$dps":
		return true
	}
	return false
}

func (c *conn) resolve(topic string) *topicInfo {
	info := &topicInfo{name: topic}
	switch {
	case isServers(topic):
		info.code = wire.TopicNameInvalid
	case !c.allowed(identity.Publish, topic):
		info.code = wire.NotAuthorized
	}
	return info
}

// mayPublishFor asks the guard once per publisher a connection speaks for, not
// once per message: the dialect's topics differ in every property bag.
func (t *topicCache) mayPublishFor(c *conn, device, module, topic string) bool {
	if n := len(device); len(t.events) == n+1+len(module) && t.events[:n] == device && t.events[n] == '/' && t.events[n+1:] == module {
		return true
	}
	if !c.allowed(identity.Publish, topic) {
		return false
	}
	t.events = device + "/" + module
	return true
}
