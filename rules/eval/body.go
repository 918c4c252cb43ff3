package eval

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxDepth is how deep a body may nest: validation recurses once per level.
const maxDepth = 512

// decode returns the text of body in UTF-8, without copying where it is already.
func decode(body []byte, encoding string) (string, bool) {
	switch {
	case strings.EqualFold(encoding, "utf-16"):
		return decodeUTF16(body)
	case strings.EqualFold(encoding, "utf-32"):
		return decodeUTF32(body)
	}
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	return view(body), utf8.Valid(body)
}

// decodeUTF16 reads little-endian text unless a byte order mark says otherwise.
func decodeUTF16(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(b, []byte{0xFE, 0xFF}) {
		order = binary.BigEndian
	}
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) > 0; b = b[2:] {
		units = append(units, order.Uint16(b))
	}
	if len(units) > 0 && units[0] == 0xFEFF {
		units = units[1:]
	}
	return string(utf16.Decode(units)), true
}

// decodeUTF32 reads little-endian text unless a byte order mark says otherwise.
func decodeUTF32(b []byte) (string, bool) {
	if len(b)%4 != 0 {
		return "", false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(b, []byte{0, 0, 0xFE, 0xFF}) {
		order = binary.BigEndian
	}
	var text strings.Builder
	for i := 0; i < len(b); i += 4 {
		c := order.Uint32(b[i:])
		if c > utf8.MaxRune || !utf8.ValidRune(rune(c)) {
			return "", false
		}
		if i > 0 || c != 0xFEFF {
			text.WriteRune(rune(c))
		}
	}
	return text.String(), true
}

// validJSON checks syntax once, so that paths may then be searched unchecked.
func validJSON(text string) bool {
	if strings.Count(text, "[")+strings.Count(text, "{") > maxDepth && depth(text) > maxDepth {
		return false
	}
	return gjson.Valid(text)
}

// depth counts the deepest nesting of brackets outside strings.
func depth(text string) int {
	level, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			level++
			deepest = max(deepest, level)
		case c == ']' || c == '}':
			level--
		}
	}
	return deepest
}
