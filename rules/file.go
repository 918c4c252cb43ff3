package rules

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// ReadDir reads the rule files (*.yaml, *.yml) of a folder, in the order of their
// names. A folder that is not there is fs.ErrNotExist.
func ReadDir(fsys fs.FS, dir string) ([]File, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	var files []File
	for _, e := range entries {
		if ext := path.Ext(e.Name()); e.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		name := path.Join(dir, e.Name())
		if info, err := e.Info(); err == nil && info.Size() > MaxFile {
			return nil, Faults{{File: name, Text: fmt.Sprintf("the file is larger than %d bytes", MaxFile)}}
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		files = append(files, File{Name: name, Data: data})
	}
	return files, nil
}

// file compiles the rules of one file.
func (c *compiler) file(f File) {
	d, top := c.parseYAML(f)
	if top == nil {
		return
	}
	r := reader{compiler: c, document: d}
	before := len(c.faults)
	defer func() { slices.SortStableFunc(c.faults[before:], byPlace) }()
	for key, value := range r.members(top, "a file of rules, beginning with rules:") {
		if key.text != "rules" {
			c.fault(d.at(key.start), "unknown key %q; expected rules", key.text)
			continue
		}
		for _, item := range r.items(value, "a list of rules") {
			r.rule(item)
		}
	}
}

func byPlace(a, b Fault) int {
	return cmp.Or(a.Line-b.Line, a.Column-b.Column)
}

// reader reads the rules of one document.
type reader struct {
	*compiler
	document *document
}

const ruleKeys = "name, from, topic, where, select, into, route, priority, ttl"

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func (r *reader) rule(n ast.Node) {
	before := len(r.faults)
	out := rule{place: r.document.at(firstToken(n)), priority: defaultPriority, ttl: r.ttl.Milliseconds()}
	has := map[string]Fault{}
	for key, value := range r.members(n, "a rule with "+ruleKeys) {
		at := r.document.at(key.start)
		has[key.text] = at
		r.key(&out, key.text, at, value)
	}
	if len(has) > 0 || len(r.faults) == before {
		r.complete(&out, has)
	}
	if len(r.faults) == before {
		r.set.rules = append(r.set.rules, out)
	}
}

// key reads one key of a rule.
func (r *reader) key(out *rule, key string, at Fault, value ast.Node) {
	switch key {
	case "name":
		r.name(out, value)
	case "from":
		for _, item := range r.oneOrMore(value) {
			r.from(out, item)
		}
	case "topic":
		if s, ok := r.scalar(value, "a filter of topics"); ok {
			r.source(out, "topic:"+s.text, s)
		}
	case "where":
		if s, ok := r.scalar(value, "a condition"); ok {
			out.where = r.condition(s.text, r.document.place(s))
		}
	case "select":
		r.selection(out, value)
	case "into":
		for _, item := range r.oneOrMore(value) {
			r.into(out, item)
		}
	case "route":
		if s, ok := r.scalar(value, "a route, FROM … WHERE … INTO …"); ok {
			r.route(out, s.text, r.document.place(s))
		}
	case "priority":
		r.priority(out, value)
	case "ttl":
		if s, ok := r.scalar(value, "a duration"); ok {
			ttl, why := parseTTL(s.text)
			if why != "" {
				r.fault(r.document.at(s.start), "%s", why)
			}
			out.ttl = ttl.Milliseconds()
		}
	default:
		r.fault(at, "unknown key %q; expected one of %s", key, ruleKeys)
	}
}

// complete checks what a rule must have and must not have together.
func (r *reader) complete(out *rule, has map[string]Fault) {
	if _, ok := has["name"]; !ok {
		r.fault(out.place, "the rule has no name; expected name: followed by a name of its own")
	}
	if _, ok := has["route"]; ok {
		for _, key := range []string{"from", "topic", "where", "into"} {
			if at, ok := has[key]; ok {
				r.fault(at, "%s beside route, which says it too; expected one of both", key)
			}
		}
		return
	}
	_, from := has["from"]
	at, topic := has["topic"]
	switch {
	case from && topic:
		r.fault(at, "topic beside from; expected one of both, or from: with {topic: filter} in its list")
	case !from && !topic:
		r.fault(out.place, "the rule has no from; expected %s", sourceForms)
	}
	if _, ok := has["into"]; !ok {
		r.fault(out.place, "the rule has no into; expected %s", sinkForms)
	}
}

func (r *reader) name(out *rule, value ast.Node) {
	s, ok := r.scalar(value, "a name")
	if !ok {
		return
	}
	at := r.document.at(s.start)
	if !namePattern.MatchString(s.text) {
		r.fault(at, "%q is no name; expected up to 128 letters, digits, _ . and -", s.text)
		return
	}
	r.takeName(s.text, at)
	out.name = s.text
}

func (r *reader) priority(out *rule, value ast.Node) {
	s, ok := r.scalar(value, "a number 0 … 9")
	if !ok {
		return
	}
	n, err := strconv.ParseUint(s.text, 10, 8)
	if err != nil || n > 9 {
		r.fault(r.document.at(s.start), "the priority %q is out of range; expected 0 (first) … 9", s.text)
		return
	}
	out.priority = uint8(n)
}

// from reads one source: text, or a map such as {topic: plant/+/temp}.
func (r *reader) from(out *rule, value ast.Node) {
	if !isMapping(value) {
		if s, ok := r.scalar(value, "a source"); ok {
			r.source(out, s.text, s)
		}
		return
	}
	var module, output, text string
	var last scalar
	for key, value := range r.members(value, "a source") {
		s, ok := r.scalar(value, "a name")
		if !ok {
			return
		}
		last = s
		switch key.text {
		case "topic":
			text = "topic:" + s.text
		case "device":
			text = "devices/" + s.text
		case "module":
			module = s.text
		case "output":
			output = s.text
		default:
			r.fault(r.document.at(key.start), "unknown key %q; expected topic, device, or module and output", key.text)
			return
		}
	}
	switch {
	case last.start == nil:
		r.fault(r.document.at(firstToken(value)), "an empty source; expected %s", sourceForms)
		return
	case text != "" && module+output != "", output != "" && module == "":
		r.fault(r.document.at(firstToken(value)), "expected topic, device, or module and output")
		return
	case module != "" && output != "":
		text = "modules/" + module + "/outputs/" + output
	case module != "":
		text = "modules/" + module
	}
	r.source(out, text, last)
}

func (r *reader) source(out *rule, text string, s scalar) {
	src, why := parseSource(text)
	if why != "" {
		r.fault(r.document.at(s.start), "%s", why)
		return
	}
	out.sources = append(out.sources, src)
}

// into reads one sink: text, or {topic: name}.
func (r *reader) into(out *rule, value ast.Node) {
	if !isMapping(value) {
		if s, ok := r.scalar(value, "a sink"); ok {
			r.sink(out, s.text, s)
		}
		return
	}
	for key, value := range r.members(value, "a sink") {
		if key.text != "topic" {
			r.fault(r.document.at(key.start), "unknown key %q; expected %s", key.text, sinkForms)
			continue
		}
		if s, ok := r.scalar(value, "the name of a topic"); ok {
			r.sink(out, "topic:"+s.text, s)
		}
	}
}

func (r *reader) sink(out *rule, text string, s scalar) {
	sink, why := parseSink(text)
	if why != "" {
		r.fault(r.document.at(s.start), "%s", why)
		return
	}
	q := r.queue(sink)
	for _, have := range out.into {
		if have == q {
			r.fault(r.document.at(s.start), "the sink %s is named twice", text)
			return
		}
	}
	out.into = append(out.into, q)
}

// selection reads the names and expressions of the new body.
func (r *reader) selection(out *rule, value ast.Node) {
	out.project = &projection{}
	before := len(r.faults)
	for key, value := range r.members(value, "names and expressions, such as {t: body.temperature}") {
		if s, ok := r.scalar(value, "an expression"); ok {
			out.project.add(key.text, r.expression(s.text, r.document.place(s)))
		}
	}
	if len(out.project.names) == 0 && len(r.faults) == before {
		r.fault(r.document.at(firstToken(value)), "an empty selection; expected names and expressions, such as {t: body.temperature}")
	}
}
