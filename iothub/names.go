package iothub

import "github.com/penstock-io/penstock/message"

// Wire names that are more than a label for a system property.
const (
	wireOutput = "$.on"
	wireDevice = "$.cdid" // stamped by the hub
	wireModule = "$.cmid" // stamped by the hub

	// PropRetain is the application property stamped on a message that was
	// published with RETAIN; its value is "true" (contract 2.4, 2.7).
	PropRetain = "mqtt-retain"
)

// wireNames pairs system properties with their names in a property bag (contract 2.4).
var wireNames = []struct{ sys, wire string }{
	{message.SysMessageID, "$.mid"},
	{message.SysCorrelationID, "$.cid"},
	{message.SysUserID, "$.uid"},
	{message.SysTo, "$.to"},
	{message.SysContentType, "$.ct"},
	{message.SysContentEncoding, "$.ce"},
	{message.SysCreationTime, "$.ctime"},
	{message.SysExpiry, "$.exp"},
	{message.SysSchema, "$.schema"},
	{message.SysInterfaceID, "$.ifid"},
	{message.SysSubject, "$.sub"},
	{message.SysMessageType, "iothub-MessageType"},
}

// forwardedNames are system properties that only Penstock hubs hand to each
// other, and to modules: MQTT 5 has them and the dialect does not.
var forwardedNames = []struct{ sys, wire string }{
	{message.SysResponseTopic, "penstock-response-topic"},
	{message.SysCorrelationData, "penstock-correlation-data"}, // base64
	{message.SysPayloadFormat, "penstock-payload-format"},
}

// sysName returns the system property that a bag calls wire.
func sysName(wire string) (string, bool) {
	if len(wire) < len("$.ct") || wire[0] != '$' && wire[0] != 'i' {
		return "", false
	}
	for i := range wireNames {
		if wireNames[i].wire == wire {
			return wireNames[i].sys, true
		}
	}
	return "", false
}

// wireName returns what a bag calls the system property sys.
func wireName(sys string) (wire string, forwarded bool) {
	for i := range wireNames {
		if wireNames[i].sys == sys {
			return wireNames[i].wire, false
		}
	}
	for i := range forwardedNames {
		if forwardedNames[i].sys == sys {
			return forwardedNames[i].wire, true
		}
	}
	return "$." + sys, false
}

// isWireName reports whether a bag gives name a meaning of its own, so that an
// application property may not appear under it.
func isWireName(name string) bool {
	if _, ok := sysName(name); ok {
		return true
	}
	return name == wireOutput || name == wireDevice || name == wireModule
}
