package eval

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Step is one part of a Path: a member's name or an element's index.
type Step struct {
	Name    string
	Index   int // counted from the end when negative
	IsIndex bool
}

// Path leads to one field of a JSON document. The empty path is the document.
type Path struct {
	steps   []Step
	escaped []string // for each step its gjson form
	plain   string   // the whole path in gjson's form, when that says the same
}

// NewPath returns the path of steps.
func NewPath(steps []Step) *Path {
	p := &Path{steps: steps, escaped: make([]string, len(steps))}
	plain := len(steps) > 0
	for i, s := range steps {
		if s.IsIndex {
			p.escaped[i], plain = strconv.Itoa(s.Index), false
			continue
		}
		p.escaped[i] = gjson.Escape(s.Name)
		plain = plain && isPlain(s.Name)
	}
	if plain {
		p.plain = strings.Join(p.escaped, ".")
	}
	return p
}

// isPlain tells names that gjson can mistake for nothing else: with a letter (so
// no index) and without any of its operators.
func isPlain(name string) bool {
	letter := false
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
			letter = true
		case '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return letter
}

// Get finds the path's value in valid JSON; Undefined when it is not there. Of
// members with the same name the first counts.
func (p *Path) Get(json string) Value {
	if p.plain != "" {
		return FromJSON(gjson.Get(json, p.plain))
	}
	r := gjson.Parse(json)
	for i, s := range p.steps {
		switch {
		case s.IsIndex && !r.IsArray(), !s.IsIndex && !r.IsObject():
			return Value{}
		case s.IsIndex && s.Index < 0:
			r = fromEnd(r, s.Index)
		case !s.IsIndex && s.Name == "":
			r = emptyName(r)
		default:
			r = gjson.Get(r.Raw, p.escaped[i])
		}
		if !r.Exists() {
			return Value{}
		}
	}
	return FromJSON(r)
}

func fromEnd(r gjson.Result, index int) gjson.Result {
	all := r.Array()
	if index += len(all); index < 0 {
		return gjson.Result{}
	}
	return all[index]
}

// emptyName finds the member "", which gjson paths cannot say.
func emptyName(r gjson.Result) (found gjson.Result) {
	r.ForEach(func(key, value gjson.Result) bool {
		if key.Str == "" {
			found = value
			return false
		}
		return true
	})
	return found
}

// key identifies the path among others.
func (p *Path) key() string {
	var b strings.Builder
	for i, s := range p.steps {
		b.WriteByte('.')
		if s.IsIndex {
			b.WriteByte('[')
		}
		b.WriteString(p.escaped[i])
	}
	return b.String()
}

// Field is a path that an Env remembers the value of. Conditions of one set that
// read the same path share one Field.
type Field struct {
	path   *Path
	number int
}

// Fields numbers the body fields that the conditions of one set read. It is
// filled while compiling, by one goroutine.
type Fields struct{ byKey map[string]*Field }

// Field returns the field of path, the same for equal paths.
func (fs *Fields) Field(path *Path) *Field {
	key := path.key()
	if f := fs.byKey[key]; f != nil {
		return f
	}
	if fs.byKey == nil {
		fs.byKey = map[string]*Field{}
	}
	f := &Field{path: path, number: len(fs.byKey)}
	fs.byKey[key] = f
	return f
}

// Len is how many fields there are.
func (fs *Fields) Len() int { return len(fs.byKey) }
