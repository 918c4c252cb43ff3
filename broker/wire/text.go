package wire

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainTopic tells whether t is ASCII without U+0000, '+' and '#', eight bytes
// at a time. A false answer means "look closely", not "wrong".
func plainTopic(t []byte) bool {
	for len(t) >= 8 {
		v := binary.LittleEndian.Uint64(t)
		// '+' and '#' differ in one bit: without it, both are 0x23.
		w := v&^(ones*0x08) ^ ones*0x23
		if (v|(v-ones)|(w-ones)&^w)&highs != 0 {
			return false
		}
		t = t[8:]
	}
	for _, c := range t {
		if c-1 >= 0x7f || c == '+' || c == '#' {
			return false
		}
	}
	return true
}

// topicFault checks a topic name: UTF-8, no wildcards. Empty is left to the caller.
func topicFault(t []byte) *Fault {
	if plainTopic(t) {
		return nil
	}
	if f := textFault(t); f != nil {
		return f
	}
	if hasWildcard(t) {
		return refusal(TopicNameInvalid, "MQTT-3.3.2-2", "topic name contains a wildcard")
	}
	return nil
}

// textFault checks the rules for UTF-8 strings of section 1.5.4. Surrogates are
// ill-formed UTF-8; control and non-characters are allowed.
func textFault(s []byte) *Fault {
	if !utf8.Valid(s) {
		return malformed("MQTT-1.5.4-1", "string is not well-formed UTF-8")
	}
	if bytes.IndexByte(s, 0) >= 0 {
		return malformed("MQTT-1.5.4-2", "string contains U+0000")
	}
	return nil
}

func hasWildcard(t []byte) bool {
	return bytes.IndexByte(t, '+') >= 0 || bytes.IndexByte(t, '#') >= 0
}

// VetTopic checks a topic name a client may publish to (section 4.7): not
// empty, UTF-8, without wildcards.
func VetTopic(topic []byte) *Fault {
	if len(topic) == 0 {
		return violation("MQTT-4.7.3-1", "topic name is empty")
	}
	return topicFault(topic)
}

const sharePrefix = "$share"

// VetFilter checks a topic filter (sections 4.7 and 4.8.2) and tells whether it
// is a shared subscription. The prefix is recognised in any case and in both
// versions, because the engine behind takes it so.
func VetFilter(filter []byte) (shared bool, f *Fault) {
	if len(filter) == 0 {
		return false, malformed("MQTT-4.7.3-1", "topic filter is empty")
	}
	if f := textFault(filter); f != nil {
		return false, f
	}
	first, rest, more := bytes.Cut(filter, []byte{'/'})
	if !bytes.EqualFold(first, []byte(sharePrefix)) {
		return false, levelsFault(filter)
	}
	if !more {
		return true, malformed("MQTT-4.8.2-2", "shared subscription without a share name")
	}
	name, rest, more := bytes.Cut(rest, []byte{'/'})
	switch {
	case len(name) == 0:
		return true, malformed("MQTT-4.8.2-1", "share name is empty")
	case hasWildcard(name):
		return true, malformed("MQTT-4.8.2-2", "share name contains a wildcard")
	case !more || len(rest) == 0:
		return true, malformed("MQTT-4.8.2-2", "shared subscription without a topic filter")
	}
	return true, levelsFault(rest)
}

// levelsFault checks where the wildcards of a topic filter stand.
func levelsFault(filter []byte) *Fault {
	for i, c := range filter {
		first := i == 0 || filter[i-1] == '/'
		last := i == len(filter)-1
		switch {
		case c == '#' && !(first && last):
			return malformed("MQTT-4.7.1-1", "# is not a whole level at the end of the topic filter")
		case c == '+' && !(first && (last || filter[i+1] == '/')):
			return malformed("MQTT-4.7.1-2", "+ is not a whole level of the topic filter")
		}
	}
	return nil
}
