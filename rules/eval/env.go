package eval

import (
	"strings"
	"unsafe"

	"github.com/penstock-io/penstock/message"
)

// Env is one message as conditions see it.
type Env struct {
	msg    *message.Message
	json   string // the body as valid UTF-8 JSON
	looked looked
	round  uint32
	fields []cached // by Field.number; valid when its round is the Env's
}

type looked uint8

const (
	notYet looked = iota
	isJSON
	notJSON
)

type cached struct {
	value Value
	round uint32
}

// NewEnv returns an Env for conditions compiled with fields.
func NewEnv(fields *Fields) *Env { return &Env{fields: make([]cached, fields.Len())} }

// Reset makes e look at m, which must not change until Release.
func (e *Env) Reset(m *message.Message) {
	e.msg, e.json, e.looked = m, "", notYet
	if e.round++; e.round == 0 { // wrapped: old rounds would look new
		clear(e.fields)
		e.round = 1
	}
}

// Release lets go of the message.
func (e *Env) Release() {
	e.msg, e.json, e.looked = nil, "", notYet
}

// Message is what e looks at.
func (e *Env) Message() *message.Message { return e.msg }

// JSON returns the body as valid UTF-8 JSON; false when it is something else.
// The contentEncoding utf-16 or utf-32 is honoured, anything else is read as UTF-8.
func (e *Env) JSON() (string, bool) {
	if e.looked == notYet {
		e.looked = notJSON
		enc, _ := e.msg.Sys(message.SysContentEncoding)
		text, ok := decode(e.msg.Body, enc.Value)
		if ok && validJSON(text) {
			e.json, e.looked = text, isJSON
		}
	}
	return e.json, e.looked == isJSON
}

// Field returns the value of a body field, Undefined when the field is missing
// or the body is not JSON.
func (e *Env) Field(f *Field) Value {
	c := &e.fields[f.number]
	if c.round != e.round {
		c.round, c.value = e.round, Value{}
		if json, ok := e.JSON(); ok {
			c.value = f.path.Get(json)
		}
	}
	return c.value
}

// Property returns an application property by its exact name, or in any case.
func (e *Env) Property(name string, fold bool) Value {
	if p, ok := e.msg.Prop(name); ok {
		return ofProperty(p)
	}
	if fold {
		for _, p := range e.msg.Properties {
			if strings.EqualFold(p.Name, name) {
				return ofProperty(p)
			}
		}
	}
	return Value{}
}

// System returns a system property by its name without case: one that the
// publisher sent, or what the hub knows of every message.
func (e *Env) System(name string) Value {
	if p, ok := e.msg.Sys(name); ok {
		return ofProperty(p)
	}
	if known := hubKnows[strings.ToLower(name)]; known != nil {
		return known(e.msg)
	}
	return Value{}
}

func ofProperty(p message.Property) Value {
	if p.Null {
		return NullValue()
	}
	return TextOf(p.Value)
}

// NonEmpty is the text s, or Undefined for "".
func NonEmpty(s string) Value {
	if s == "" {
		return Value{}
	}
	return TextOf(s)
}

// view reads b as a string without copying; nobody changes an accepted body.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
