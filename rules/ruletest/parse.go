package ruletest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules"
)

// MaxFile is the size limit of a test file, in bytes.
const MaxFile = 1 << 20

// testCase is one given with its expectations.
type testCase struct {
	line    int
	title   string // the given line
	message message.Message
	expects []expectation
}

// expectation is one expect line.
type expectation struct {
	line     int
	text     string // the line as written
	rule     string // empty: nothing is expected to match
	not      bool
	queue    string
	priority *uint8
	ttl      *time.Duration
	body     []byte // nil: not stated
}

// parser reads a file line by line.
type parser struct {
	file   string
	lines  []string
	number int // of the current line, from 1
	faults rules.Faults
	cases  []testCase
}

func parse(file string, data []byte) ([]testCase, error) {
	p := &parser{file: file}
	if len(data) > MaxFile {
		return nil, rules.Faults{{File: file, Text: fmt.Sprintf("the file is larger than %d bytes", MaxFile)}}
	}
	p.lines = strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	for p.number < len(p.lines) {
		p.number++
		p.parseLine(p.lines[p.number-1])
	}
	for _, c := range p.cases {
		if len(c.expects) == 0 {
			p.faults = append(p.faults, rules.Fault{File: file, Line: c.line, Column: 1, Text: "nothing is expected of this message; expected a line beginning with expect"})
		}
	}
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	return p.cases, nil
}

// fault records a mistake at byte offset at of the current line.
func (p *parser) fault(at int, format string, args ...any) {
	line := p.lines[p.number-1]
	column := len([]rune(line[:min(at, len(line))])) + 1
	p.faults = append(p.faults, rules.Fault{File: p.file, Line: p.number, Column: column, Text: fmt.Sprintf(format, args...)})
}

func (p *parser) parseLine(line string) {
	text := strings.TrimSpace(line)
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	if text == "" || text[0] == '#' {
		return
	}
	word, rest, _ := strings.Cut(text, " ")
	at := indent + len(word) + 1
	switch word {
	case "given":
		p.given(text, words(rest, at))
	case "expect":
		p.expect(text, words(rest, at))
	case "property", "system":
		p.property(word, rest, indent)
	case "body":
		p.body(strings.TrimSpace(rest), indent)
	default:
		p.fault(indent, "unknown word %q; expected given, property, system, body or expect", word)
	}
}

// word is one word of a line and where it stands.
type word struct {
	text string
	at   int
}

// words cuts a line at white space; a word in double quotes is a JSON string.
func words(line string, at int) (out []word) {
	for {
		trimmed := strings.TrimLeft(line, " \t")
		at += len(line) - len(trimmed)
		if line = trimmed; line == "" {
			return out
		}
		size := strings.IndexAny(line, " \t")
		if size < 0 {
			size = len(line)
		}
		text := line[:size]
		if quoted, err := strconv.QuotedPrefix(line); err == nil && line[0] == '"' {
			if json.Unmarshal([]byte(quoted), &text) == nil {
				size = len(quoted)
			}
		}
		out = append(out, word{text, at})
		line, at = line[size:], at+size
	}
}

func (p *parser) given(line string, ws []word) {
	c := testCase{line: p.number, title: line}
	for len(ws) > 0 {
		key := ws[0]
		ws = ws[1:]
		if key.text == "twin-change" {
			c.message.Kind = message.TwinChange
			continue
		}
		if len(ws) == 0 {
			p.fault(key.at, "expected a name after %s", key.text)
			break
		}
		value := ws[0].text
		ws = ws[1:]
		switch key.text {
		case "topic":
			c.message.Kind, c.message.Topic = message.Plain, value
		case "device":
			c.message.Device = value
		case "module":
			c.message.Module = value
		case "output":
			c.message.Output = value
		default:
			p.fault(key.at, "unknown word %q; expected topic, device, module, output or twin-change", key.text)
		}
	}
	if line == "given" {
		p.fault(len("given"), "expected topic, device, module or twin-change after given")
	}
	p.cases = append(p.cases, c)
}

// current is the case that a line belongs to; nil, with a fault, before the first given.
func (p *parser) current(indent int) *testCase {
	if len(p.cases) == 0 {
		p.fault(indent, "expected a line beginning with given before this one")
		return nil
	}
	return &p.cases[len(p.cases)-1]
}

// property reads NAME = VALUE or NAME.
func (p *parser) property(kind, rest string, indent int) {
	c := p.current(indent)
	if c == nil {
		return
	}
	if len(c.expects) > 0 {
		p.fault(indent, "%s after expect; expected it below given", kind)
		return
	}
	name, value, has := strings.Cut(rest, "=")
	prop := message.Property{Name: unquote(name), Value: unquote(value), Null: !has}
	if prop.Name == "" {
		p.fault(indent, "expected a name after %s", kind)
		return
	}
	if kind == "system" {
		c.message.System = append(c.message.System, prop)
		return
	}
	c.message.Properties = append(c.message.Properties, prop)
}

// unquote trims s and takes a JSON string apart.
func unquote(s string) string {
	s = strings.TrimSpace(s)
	var text string
	if len(s) > 1 && s[0] == '"' && json.Unmarshal([]byte(s), &text) == nil {
		return text
	}
	return s
}

// body reads the body of the message, or the one that the last expectation wants.
func (p *parser) body(rest string, indent int) {
	c := p.current(indent)
	if c == nil {
		return
	}
	if rest == `"""` {
		text, ok := p.block()
		if !ok {
			p.fault(indent, `the body has no end; expected """ alone on a line`)
			return
		}
		rest = text
	}
	if len(c.expects) == 0 {
		c.message.Body = []byte(rest)
		return
	}
	e := &c.expects[len(c.expects)-1]
	switch {
	case e.rule == "" || e.not:
		p.fault(indent, "a body below %q; expected it below expect with a rule", e.text)
	case !json.Valid([]byte(rest)):
		p.fault(indent, "the expected body is not JSON")
	}
	e.body = []byte(rest)
}

// block reads the lines up to """.
func (p *parser) block() (string, bool) {
	for end := p.number; end < len(p.lines); end++ {
		if strings.TrimSpace(p.lines[end]) == `"""` {
			text := strings.Join(p.lines[p.number:end], "\n")
			p.number = end + 1
			return text, true
		}
	}
	return "", false
}

func (p *parser) expect(line string, ws []word) {
	c := p.current(0)
	if c == nil {
		return
	}
	e := expectation{line: p.number, text: line}
	if len(ws) > 0 && ws[0].text == "not" {
		e.not, ws = true, ws[1:]
	}
	if len(ws) == 0 {
		p.fault(len(p.lines[p.number-1]), "expected a rule's name, not or nothing after expect")
		return
	}
	if e.rule = ws[0].text; e.rule == "nothing" && !e.not {
		e.rule = ""
	}
	ws = ws[1:]
	for len(ws) > 0 {
		if len(ws) == 1 || e.rule == "" || e.not {
			p.fault(ws[0].at, "unexpected %q", ws[0].text)
			break
		}
		p.detail(&e, ws[0], ws[1])
		ws = ws[2:]
	}
	c.expects = append(c.expects, e)
}

// detail reads one of into, priority and ttl.
func (p *parser) detail(e *expectation, key, value word) {
	switch key.text {
	case "into":
		e.queue = value.text
		if _, err := rules.ParseQueue(e.queue); err != nil {
			p.fault(value.at, "%q is no queue; expected $upstream, modules/{module}/inputs/{input} or topic/{name}", e.queue)
		}
	case "priority":
		n, err := strconv.ParseUint(value.text, 10, 8)
		if err != nil || n > 9 {
			p.fault(value.at, "the priority %q is out of range; expected 0 … 9", value.text)
			return
		}
		priority := uint8(n)
		e.priority = &priority
	case "ttl":
		ttl, err := rules.ParseTTL(value.text)
		if err != nil {
			p.fault(value.at, "%v", err)
			return
		}
		e.ttl = &ttl
	default:
		p.fault(key.at, "unknown word %q; expected into, priority or ttl", key.text)
	}
}
