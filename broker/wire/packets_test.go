package wire

import "slices"

// The builders below write packets byte by byte, right or wrong, without help
// from the encoders under test.

func packet(first byte, parts ...[]byte) []byte {
	b := slices.Concat(parts...)
	return append(appendVarint([]byte{first}, len(b)), b...)
}

func raw(b ...byte) []byte { return b }

func text(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

func section(parts ...[]byte) []byte {
	b := slices.Concat(parts...)
	return append(appendVarint(nil, len(b)), b...)
}

func prop(id byte, value ...byte) []byte { return append([]byte{id}, value...) }

func textProp(id byte, s string) []byte { return append([]byte{id}, text(s)...) }

func userProp(name, value string) []byte {
	return slices.Concat([]byte{PropUser}, text(name), text(value))
}

// connect builds a CONNECT with the given flags; the parts follow the keep alive.
func connect(level, flags byte, parts ...[]byte) []byte {
	return packet(0x10, text("MQTT"), raw(level, flags, 0, 60), slices.Concat(parts...))
}

var none = raw(0) // a property section without properties

// id is a packet identifier.
var id = raw(0, 10)

// legalPackets are one or more of every type a client may send, for seeds and round trips.
func legalPackets() map[string]struct {
	version byte
	packet  []byte
} {
	type entry = struct {
		version byte
		packet  []byte
	}
	return map[string]entry{
		"connect 3.1.1":           {V311, connect(4, 2, text("c"))},
		"connect 3.1.1 full":      {V311, connect(4, 0xf4, text("c"), text("will/t"), text("gone"), text("u"), text("p"))},
		"connect 3.1.1 no id":     {V311, connect(4, 2, text(""))},
		"connect 5":               {V5, connect(5, 2, none, text(""))},
		"connect 5 full":          {V5, fullConnect()},
		"publish 3.1.1 qos 0":     {V311, packet(0x30, text("a/b"), raw(1, 2))},
		"publish 3.1.1 qos 1":     {V311, packet(0x32, text("a/b"), id, raw(1, 2))},
		"publish 3.1.1 no body":   {V311, packet(0x35, text("$x/ключ"), id)},
		"publish 5":               {V5, packet(0x3b, text("a/b"), id, none, raw(1, 2))},
		"publish 5 full":          {V5, packet(0x34, text(""), id, fullPublishProps(), raw(1, 2))},
		"puback 3.1.1":            {V311, packet(0x40, id)},
		"puback 5 reason":         {V5, packet(0x40, id, raw(NoMatchingSubscribers))},
		"pubrec 5 properties":     {V5, packet(0x50, id, raw(QuotaExceeded), section(textProp(PropReasonString, "full"), userProp("a", "b"), userProp("a", "b")))},
		"pubrel 3.1.1":            {V311, packet(0x62, id)},
		"pubrel 5":                {V5, packet(0x62, id, raw(PacketIDNotFound), none)},
		"pubcomp 5":               {V5, packet(0x70, id)},
		"subscribe 3.1.1":         {V311, packet(0x82, id, text("a/+/#"), raw(2), text("$share/g/#"), raw(1))},
		"subscribe 5":             {V5, packet(0x82, id, section(prop(PropSubscriptionID, 0x80, 1), userProp("", "")), text("+/+"), raw(0x2e), text("$share/g/a"), raw(1))},
		"unsubscribe 3.1.1":       {V311, packet(0xa2, id, text("#"))},
		"unsubscribe 5":           {V5, packet(0xa2, id, section(userProp("a", "b")), text("+"), text("/"))},
		"pingreq":                 {V311, raw(0xc0, 0)},
		"pingreq 5":               {V5, raw(0xc0, 0)},
		"disconnect 3.1.1":        {V311, raw(0xe0, 0)},
		"disconnect 5":            {V5, raw(0xe0, 0)},
		"disconnect 5 reason":     {V5, raw(0xe0, 1, DisconnectWithWill)},
		"disconnect 5 properties": {V5, packet(0xe0, raw(0), section(prop(PropSessionExpiry, 0, 0, 0, 9), textProp(PropReasonString, "bye")))},
	}
}

func fullConnect() []byte {
	return connect(5, 0xf6,
		section(prop(PropSessionExpiry, 0, 0, 1, 0), prop(PropReceiveMaximum, 0, 5), prop(PropMaximumPacketSize, 0, 1, 0, 0),
			prop(PropTopicAliasMaximum, 0, 7), prop(PropRequestResponse, 1), prop(PropRequestProblem, 0),
			userProp("k", "1"), userProp("k", "2")),
		text("client"),
		section(prop(PropWillDelay, 0, 0, 0, 3), prop(PropPayloadFormat, 1), prop(PropMessageExpiry, 0, 0, 0, 4),
			textProp(PropContentType, "text/plain"), textProp(PropResponseTopic, "r"), textProp(PropCorrelationData, "\xff\x00"),
			userProp("w", "x")),
		text("will/t"), text("gone"), text("user"), text("\x00\xff"))
}

func fullPublishProps() []byte {
	return section(prop(PropPayloadFormat, 1), userProp("a", "1"), prop(PropMessageExpiry, 0, 0, 1, 0), prop(PropTopicAlias, 0, 3),
		textProp(PropResponseTopic, "re/ply"), textProp(PropCorrelationData, "\x00\xff"), userProp("a", "2"), textProp(PropContentType, "json"))
}
