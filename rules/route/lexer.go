package route

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

type tokenKind uint8

const (
	endToken        tokenKind = iota
	nameToken                 // property, function, keyword; text as written
	systemToken               // $name or $body.path; text without the $
	numberToken               // number
	textToken                 // text holds the unescaped string
	operatorToken             // text is the operator
	sourceToken               // what follows FROM
	unterminated              // a string without its end
	unknownToken              // a character that starts no token
	unexpectedToken           // a character that tokens contain but none starts with
)

type token struct {
	kind       tokenKind
	text       string
	number     float64
	start, end int // byte offsets
}

// is reports whether t is the keyword or operator word, keywords in any case.
func (t token) is(word string) bool {
	switch t.kind {
	case nameToken:
		return strings.EqualFold(t.text, word)
	case operatorToken:
		return t.text == word
	}
	return false
}

// lexer cuts text into tokens on demand.
type lexer struct {
	text string
	at   int
}

const operators = "?? || <> <= >= != ( ) { } , = < > + - * / %"

var operatorList = strings.Fields(operators) // the longer before their beginnings

func (l *lexer) next() token {
	l.skipSpace()
	start := l.at
	if start == len(l.text) {
		return token{kind: endToken, start: start, end: start}
	}
	c := l.text[start]
	switch {
	case c == '"' || c == '\'':
		return l.quoted(c)
	case isDigit(c) || c == '.' && start+1 < len(l.text) && isDigit(l.text[start+1]):
		return l.numeric()
	case c == '$':
		return l.system()
	case isLetter(c):
		l.at = l.identifierEnd(start)
		return token{kind: nameToken, text: l.text[start:l.at], start: start, end: l.at}
	}
	for _, op := range operatorList {
		if strings.HasPrefix(l.text[start:], op) {
			l.at += len(op)
			return token{kind: operatorToken, text: op, start: start, end: l.at}
		}
	}
	_, size := utf8.DecodeRuneInString(l.text[start:])
	l.at += size
	kind := unknownToken
	if c == '[' || c == ']' {
		kind = unexpectedToken
	}
	return token{kind: kind, text: l.text[start:l.at], start: start, end: l.at}
}

// skipSpace passes white space and comments. A comment without its end is left
// to be read as operators, which makes it a fault.
func (l *lexer) skipSpace() {
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		switch rest[0] {
		case ' ', '\t', '\r', '\n', '\f', '\v':
			l.at++
			continue
		}
		if !strings.HasPrefix(rest, "/*") {
			return
		}
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return
		}
		l.at += 2 + end + 2
	}
}

// source reads what follows FROM: everything up to the next white space. Its
// /* is no comment.
func (l *lexer) source() token {
	l.at += len(l.text[l.at:]) - len(strings.TrimLeft(l.text[l.at:], " \t\r\n\f\v"))
	start := l.at
	if n := strings.IndexAny(l.text[start:], " \t\r\n\f\v"); n >= 0 {
		l.at += n
	} else {
		l.at = len(l.text)
	}
	return token{kind: sourceToken, text: l.text[start:l.at], start: start, end: l.at}
}

// excluded are the characters that end an identifier (contract 5.1); so do
// control characters.
const excluded = "()<>@,;:\\\"/[]?={} \x7f"

func isIdentifier(c byte) bool { return c > ' ' && strings.IndexByte(excluded, c) < 0 }

// identifierEnd finds the end of an identifier; != and || end it too, so that
// a!='x' compares and a||'x' joins.
func (l *lexer) identifierEnd(at int) int {
	for at < len(l.text) && isIdentifier(l.text[at]) {
		if rest := l.text[at:]; strings.HasPrefix(rest, "!=") || strings.HasPrefix(rest, "||") {
			break
		}
		at++
	}
	return at
}

// system reads $name. A body query may also have indexes: $body.a[0].b.
func (l *lexer) system() token {
	start := l.at
	end := l.identifierEnd(start + 1)
	if isBodyQuery(l.text[start+1 : end]) {
		for end < len(l.text) && (l.text[end] == '[' || l.text[end] == ']') {
			end = l.identifierEnd(end + 1)
		}
	}
	l.at = end
	if end == start+1 {
		return token{kind: unknownToken, text: "$", start: start, end: end}
	}
	return token{kind: systemToken, text: l.text[start+1 : end], start: start, end: end}
}

const bodyPrefix = "body."

func isBodyQuery(name string) bool {
	return len(name) >= len(bodyPrefix) && strings.EqualFold(name[:len(bodyPrefix)], bodyPrefix)
}

func (l *lexer) numeric() token {
	start := l.at
	if rest := l.text[start:]; len(rest) > 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X') {
		l.at += 2
		l.skip(isHex)
		return l.number(start, hexadecimal(l.text[start+2:l.at]))
	}
	l.skip(isDigit)
	if l.at < len(l.text) && l.text[l.at] == '.' {
		l.at++
		l.skip(isDigit)
	}
	if rest := l.text[l.at:]; len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		sign := len(rest) > 2 && (rest[1] == '+' || rest[1] == '-') && isDigit(rest[2])
		if sign || len(rest) > 1 && isDigit(rest[1]) {
			l.at += 2
			l.skip(isDigit)
		}
	}
	f, _ := strconv.ParseFloat(l.text[start:l.at], 64) // out of range is infinite
	return l.number(start, f)
}

// number ends a number, which no identifier may follow immediately.
func (l *lexer) number(start int, f float64) token {
	if end := l.at; end < len(l.text) && isLetter(l.text[end]) || l.at == start+2 && isHexPrefix(l.text[start:]) {
		l.at = max(l.identifierEnd(end), end)
		return token{kind: unexpectedToken, text: l.text[start:l.at], start: start, end: l.at}
	}
	return token{kind: numberToken, number: f, start: start, end: l.at}
}

func isHexPrefix(s string) bool { return strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") }

func hexadecimal(digits string) float64 {
	f := 0.0
	for i := range len(digits) {
		d, _ := strconv.ParseUint(digits[i:i+1], 16, 8)
		f = f*16 + float64(d)
	}
	return f
}

func (l *lexer) skip(class func(byte) bool) {
	for l.at < len(l.text) && class(l.text[l.at]) {
		l.at++
	}
}

// quoted reads a string; it ends on its own line.
func (l *lexer) quoted(quote byte) token {
	start := l.at
	var text strings.Builder
	for at := start + 1; at < len(l.text) && l.text[at] != '\n'; {
		switch c := l.text[at]; c {
		case quote:
			l.at = at + 1
			return token{kind: textToken, text: text.String(), start: start, end: l.at}
		case '\\':
			r, size := unescape(l.text[at:])
			if size == 0 {
				l.at = min(at+2, len(l.text))
				return token{kind: unexpectedToken, text: l.text[at:l.at], start: at, end: l.at}
			}
			text.WriteString(r)
			at += size
		default:
			text.WriteByte(c)
			at++
		}
	}
	l.at = len(l.text)
	return token{kind: unterminated, start: start, end: l.at}
}

// unescape reads one escape: \" \' \\ or \uXXXX, where two of the latter may be
// a surrogate pair. The size is 0 for anything else.
func unescape(s string) (text string, size int) {
	if len(s) < 2 {
		return "", 0
	}
	switch s[1] {
	case '"', '\'', '\\':
		return s[1:2], 2
	case 'u':
		r, ok := hexRune(s)
		if !ok {
			return "", 0
		}
		if utf16.IsSurrogate(r) {
			if low, ok := hexRune(s[6:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
				return string(utf16.DecodeRune(r, low)), 12
			}
		}
		return string(r), 6
	}
	return "", 0
}

func hexRune(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// isLetter tells what an identifier may begin with; bytes of other alphabets too.
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
