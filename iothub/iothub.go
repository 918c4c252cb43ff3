// Package iothub speaks the IoT Hub MQTT dialect: user names, topics and
// property bags, as device and module clients put them on the wire and expect
// them back (contract 2.1 to 2.4). Hubs speak it among themselves as well; what
// the dialect has no word for travels in properties whose names begin with
// "penstock-".
//
// The package is pure: it encodes and decodes, does no I/O, keeps no state and
// never looks at who is asking; whether a client may use a topic is the matter
// of package identity. What a decoder cannot take it refuses with an error that
// says why; nothing is dropped in silence. All functions may be called
// concurrently.
package iothub

import (
	"strings"

	"github.com/penstock-io/penstock/message"
)

const (
	// MaxMessage is the largest Message.Size a hub takes (contract 1.1, Ingest).
	MaxMessage = 256 << 10
	// MaxTopic is the longest topic that MQTT can carry (MQTT 5.0, 1.5.4).
	MaxTopic = 65535
	// MaxProperties bounds how many properties one bag may hold.
	MaxProperties = 1024
	// MaxID is the longest device or module id (contract 1.4).
	MaxID = 128
)

// CheckSize returns ErrTooLarge for a message above MaxMessage.
func CheckSize(m *message.Message) error {
	if n := m.Size(); n > MaxMessage {
		return tooLarge(n)
	}
	return nil
}

// ValidID reports whether s can be a device or module id: 1 to MaxID characters,
// letters, digits and - . + % _ # * ? ! ( ) , : = @ $ ' (contract 1.4).
func ValidID(s string) bool {
	if s == "" || len(s) > MaxID {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !idByte[s[i]] {
			return false
		}
	}
	return true
}

var idByte = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.+%_#*?!(),:=@$'") {
		t[c] = true
	}
	return t
}()

// AppendID appends an id as one topic level. Only the characters that a topic
// name or its decoder would misread are escaped, so that clients which do not
// encode ids (C, Python) and clients which do (Node, C#) both recognise theirs.
func AppendID(dst []byte, id string) []byte {
	for i := 0; i < len(id); i++ {
		switch c := id[i]; c {
		case '%', '+', '#', '/':
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// topicID reads an id from a topic level. An unencoded id may hold a percent
// sign; such a level is taken as it stands when decoding it gives no id.
func topicID(level string) (string, bool) {
	if strings.IndexByte(level, '%') < 0 {
		return level, ValidID(level)
	}
	if id := string(appendUnescaped(nil, level)); ValidID(id) {
		return id, true
	}
	return level, ValidID(level)
}
