package rules

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxFile is the size limit of one rule file, in bytes.
	MaxFile  = 8 << 20
	maxDepth = 64 // of nested YAML
)

// document is one YAML file with its text, to place faults.
type document struct {
	name  string
	lines []string
}

func (d *document) at(t *token.Token) Fault {
	return Fault{File: d.name, Line: t.Position.Line, Column: max(1, t.Position.Column)}
}

// parseYAML returns the top node of a file's only document, nil for an empty one.
func (c *compiler) parseYAML(f File) (*document, ast.Node) {
	d := &document{name: f.Name}
	whole := Fault{File: f.Name}
	if len(f.Data) > MaxFile {
		c.fault(whole, "the file is larger than %d bytes", MaxFile)
		return d, nil
	}
	text := strings.ReplaceAll(string(f.Data), "\r\n", "\n")
	d.lines = strings.Split(text, "\n")
	tokens := lexer.Tokenize(text)
	if deep := tooDeep(tokens); deep != nil {
		c.fault(d.at(deep), "nested deeper than %d levels", maxDepth)
		return d, nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		c.yamlFault(d, err)
		return d, nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			c.fault(d.at(doc.Body.GetToken()), "a second document; expected one in a file")
			return d, nil
		}
		body = doc.Body
	}
	return d, body
}

func (c *compiler) yamlFault(d *document, err error) {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		c.fault(Fault{File: d.name}, "not YAML: %v", err)
		return
	}
	text := at.GetMessage()
	if strings.Contains(text, "mapping value is not allowed") {
		text += "; a topic is written {topic: name}, and text that contains \": \" in quotes"
	}
	c.fault(d.at(at.GetToken()), "%s", text)
}

// tooDeep finds the token at which flow brackets or sequence dashes of one line
// nest too deeply for a recursive parser; deep block indentation counts too.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets, dashes, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			dashes, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			brackets++
		case token.MappingEndType, token.SequenceEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			dashes++
		}
		if brackets > maxDepth || dashes > maxDepth || t.Position.IndentLevel > maxDepth {
			return t
		}
	}
	return nil
}

// scalar is a text in a document.
type scalar struct {
	text  string
	start *token.Token
	style token.Type
}

// place finds where in the file the character at line and column of s.text stands.
func (d *document) place(s scalar) placer {
	return func(line, column int) Fault {
		c := d.cursor(s)
		at, atColumn := 1, 1
		for _, r := range s.text {
			if at > line || at == line && atColumn >= column {
				break
			}
			c.pass(r)
			atColumn++
			if r == '\n' {
				at, atColumn = at+1, 1
			}
		}
		return Fault{File: d.name, Line: c.line + 1, Column: c.column + 1}
	}
}

// cursor follows a scalar's text through the file as it was written: quoted,
// escaped, folded or indented. Lines and columns count from 0.
type cursor struct {
	lines        []string
	line, column int
	style        token.Type
	indent       int // of a block scalar
}

func (d *document) cursor(s scalar) *cursor {
	c := &cursor{lines: d.lines, line: s.start.Position.Line - 1, column: max(0, s.start.Position.Column-1), style: s.style}
	switch s.style {
	case token.SingleQuoteType, token.DoubleQuoteType:
		c.column++
	case token.LiteralType, token.FoldedType:
		c.line++
		first := c.line
		for c.line < len(c.lines)-1 && c.blank() {
			c.line++
		}
		c.indent = len(c.current()) - len([]rune(strings.TrimLeft(string(c.current()), " ")))
		c.column = c.indent
		if strings.HasPrefix(s.text, "\n") { // its blank lines belong to the text
			c.line = first
		}
	}
	return c
}

func (c *cursor) current() []rune {
	if c.line >= len(c.lines) {
		return nil
	}
	return []rune(c.lines[c.line])
}

func (c *cursor) blank() bool { return strings.TrimSpace(string(c.current())) == "" }

// pass moves behind the character r of the text.
func (c *cursor) pass(r rune) {
	line := c.current()
	if c.column >= len(line) || (r == ' ' || r == '\n') && strings.TrimSpace(string(line[c.column:])) == "" {
		c.nextLine()
		if r == ' ' || r == '\n' {
			return
		}
		line = c.current()
	}
	rest := line[min(c.column, len(line)):]
	switch {
	case c.style == token.SingleQuoteType && len(rest) > 1 && rest[0] == '\'' && rest[1] == '\'':
		c.column += 2
	case c.style == token.DoubleQuoteType && len(rest) > 1 && rest[0] == '\\':
		c.column += escapeLength(rest[1])
	case r != '\n':
		c.column++
	}
}

func (c *cursor) nextLine() {
	if c.line >= len(c.lines)-1 {
		return
	}
	c.line++
	if c.style == token.LiteralType {
		c.column = c.indent
		return
	}
	for c.line < len(c.lines)-1 && c.blank() {
		c.line++
	}
	c.column = len(c.current()) - len([]rune(strings.TrimLeft(string(c.current()), " \t")))
	if c.style == token.FoldedType {
		c.column = min(c.column, c.indent)
	}
}

// escapeLength is the length of a YAML escape that begins with a backslash and c.
func escapeLength(c rune) int {
	switch c {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	}
	return 2
}
