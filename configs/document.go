package configs

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/printer"
	"github.com/goccy/go-yaml/token"
)

// Error is one mistake in a configuration.
type Error struct {
	File    string // empty if the value came from elsewhere
	Line    int    // from 1; 0 if the key is not in the file
	Column  int
	Key     string // such as uplink.order or listeners[0].address; may be empty
	Message string
	Excerpt string // the lines around it, with a mark
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	if e.Excerpt != "" {
		b.WriteString("\n" + e.Excerpt)
	}
	return b.String()
}

// maxNesting bounds brackets within brackets; the parser takes time with the
// square of it.
const maxNesting = 64

// document is a parsed file that can say where its keys are.
type document struct {
	name string
	file *ast.File
}

func parse(name string, data []byte) (d *document, err error) {
	d = &document{name: name}
	if len(data) > MaxSize {
		return nil, &Error{File: name, Message: fmt.Sprintf("larger than %d bytes", MaxSize)}
	}
	// A file must not be able to end the process through a fault of the parser.
	defer func() {
		if r := recover(); r != nil {
			err = &Error{File: name, Message: "cannot be parsed as YAML"}
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if t := tooDeep(tokens); t != nil {
		return nil, d.at(t, "", fmt.Sprintf("nested deeper than %d levels", maxNesting))
	}
	if d.file, err = parser.Parse(tokens, 0); err != nil {
		return nil, d.explain(err)
	}
	if len(d.file.Docs) > 1 {
		return nil, d.at(d.file.Docs[1].GetToken(), "", "a second document, want one per file")
	}
	return d, nil
}

func tooDeep(tokens token.Tokens) *token.Token {
	depth, line, dashes := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			if t.Position.Line != line {
				line, dashes = t.Position.Line, 0
			}
			dashes++
		}
		if depth > maxNesting || dashes > maxNesting {
			return t
		}
	}
	return nil
}

// body is the document's content; nil if there is none.
func (d *document) body() ast.Node {
	if d.file == nil || len(d.file.Docs) == 0 {
		return nil
	}
	if b := d.file.Docs[0].Body; b != nil && b.Type() != ast.NullType && b.Type() != ast.CommentType {
		return b
	}
	return nil
}

func (d *document) decode(v any) (err error) {
	body := d.body()
	if body == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = &Error{File: d.name, Message: "cannot be decoded"}
		}
	}()
	if err := yaml.NodeToValue(body, v, yaml.DisallowUnknownField()); err != nil {
		return d.explain(err)
	}
	return nil
}

// explain turns the YAML library's errors into ours, in words for who wrote the file.
func (d *document) explain(err error) error {
	var at yaml.Error
	if !errors.As(err, &at) {
		return &Error{File: d.name, Message: err.Error()}
	}
	message := at.GetMessage()
	var mismatch *yaml.TypeError
	if errors.As(err, &mismatch) {
		message = fmt.Sprintf("want %s, got %s", kindWord(mismatch.DstType), kindWord(mismatch.SrcType))
	}
	var overflow *yaml.OverflowError
	if errors.As(err, &overflow) {
		message = fmt.Sprintf("%s is out of range", overflow.SrcNum)
	}
	return d.at(at.GetToken(), "", message)
}

func kindWord(t reflect.Type) string {
	if t == nil {
		return "nothing"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a section"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

func (d *document) at(t *token.Token, key, message string) *Error {
	e := &Error{File: d.name, Key: key, Message: message}
	if t == nil || t.Position == nil {
		return e
	}
	var p printer.Printer
	e.Line, e.Column = t.Position.Line, t.Position.Column
	e.Excerpt = strings.TrimRight(p.PrintErrorToken(t, false), " \n")
	return e
}

// find returns where the value of key is written, or where its nearest parent is.
func (d *document) find(key string) *token.Token {
	for key != "" {
		if n := d.node(key); n != nil {
			return start(n)
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return nil
}

func (d *document) has(key string) bool { return d.node(key) != nil }

// node returns the value of key; nil if the file does not have it.
func (d *document) node(key string) ast.Node {
	path, err := yaml.PathString("$." + key)
	if err != nil || d.body() == nil {
		return nil
	}
	n, err := path.FilterFile(d.file)
	if err != nil {
		return nil
	}
	return n
}

// start returns a node's first token; the library gives a mapping's colon.
func start(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return start(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(n.Key)
	}
	return n.GetToken()
}

// report collects mistakes that only show when all settings are known.
type report struct {
	doc  *document
	errs []error
}

func (r *report) add(key, format string, args ...any) {
	r.errs = append(r.errs, r.doc.at(r.doc.find(key), key, fmt.Sprintf(format, args...)))
}

func (r *report) oneOf(key, value string, choices ...string) {
	for _, c := range choices {
		if value == c {
			return
		}
	}
	r.add(key, "%q, want %s", value, strings.Join(choices, " or "))
}

// within wants min <= value <= max; max 0 means no upper bound.
func (r *report) within(key string, value, low, high int64) {
	switch {
	case value < low:
		r.add(key, "%d is too small, want at least %d", value, low)
	case high > 0 && value > high:
		r.add(key, "%d is too large, want at most %d", value, high)
	}
}
