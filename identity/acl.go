package identity

import (
	"fmt"
	"slices"
	"strings"
)

// Groups that every principal belongs to besides the ones it is given.
const (
	GroupEveryone  = "everyone"  // all who have proved who they are
	GroupDevices   = "devices"   // devices and modules
	GroupUsers     = "users"     // who logged in with a user name
	GroupAnonymous = "anonymous" // and in no other group
)

// Rule grants topics to those it names: one of User, Device and Group. Rules only
// add; what no rule grants is refused. In a topic filter a level may be %u (user
// name, or device id), %d (device id) or %c (client id), and stands for nothing
// when the client has none, or one that is not a single plain level.
type Rule struct {
	User   string   `yaml:"user"`
	Device string   `yaml:"device"`
	Group  string   `yaml:"group"`
	Allow  []string `yaml:"allow"` // publish, subscribe
	Topics []string `yaml:"topics"`
}

type grant struct {
	actions Action
	filter  string
}

// Validate explains what is wrong with the rule.
func (r *Rule) Validate() error {
	named := 0
	for _, s := range []string{r.User, r.Device, r.Group} {
		if s != "" {
			named++
		}
	}
	if named != 1 {
		return fmt.Errorf("access rule names %d of user, device and group, want exactly one", named)
	}
	if len(r.Allow) == 0 || len(r.Topics) == 0 {
		return fmt.Errorf("access rule for %s needs allow and topics", r.User+r.Device+r.Group)
	}
	for _, a := range r.Allow {
		if a != "publish" && a != "subscribe" {
			return fmt.Errorf("access rule allows %q, want publish or subscribe", a)
		}
	}
	for _, t := range r.Topics {
		if !validFilter(t) {
			return fmt.Errorf("access rule: %q is no topic filter", t)
		}
		for level := range strings.SplitSeq(t, "/") {
			if strings.Contains(level, "%") && level != "%u" && level != "%d" && level != "%c" {
				return fmt.Errorf("access rule: level %q of %q, want %%u, %%d or %%c alone", level, t)
			}
		}
	}
	return nil
}

func (r *Rule) actions() (a Action) {
	if slices.Contains(r.Allow, "publish") {
		a |= Publish
	}
	if slices.Contains(r.Allow, "subscribe") {
		a |= Subscribe
	}
	return a
}

func (r *Rule) names(p *Principal, groups []string) bool {
	switch {
	case r.User != "":
		return r.User == p.User
	case r.Device != "":
		return r.Device == p.Device
	}
	return slices.Contains(groups, r.Group)
}

// grantsFor collects what rules give to p, with placeholders filled in.
func grantsFor(rules []Rule, p *Principal, groups []string) (gs []grant) {
	switch {
	case p.Method == MethodAnonymous:
		groups = []string{GroupAnonymous}
	case p.User != "":
		groups = append([]string{GroupEveryone, GroupUsers}, groups...)
	default:
		groups = append([]string{GroupEveryone, GroupDevices}, groups...)
	}
	for i := range rules {
		r := &rules[i]
		if !r.names(p, groups) {
			continue
		}
		for _, topic := range r.Topics {
			if filter, ok := fill(topic, p); ok {
				gs = append(gs, grant{r.actions(), filter})
			}
		}
	}
	return gs
}

// fill replaces placeholders. A value that is more than one plain level would
// widen the rule, so it gives no filter.
func fill(topic string, p *Principal) (string, bool) {
	if !strings.Contains(topic, "%") {
		return topic, true
	}
	levels := strings.Split(topic, "/")
	for i, level := range levels {
		var value string
		switch level {
		case "%u":
			value = p.User
			if value == "" {
				value = p.Device
			}
		case "%d":
			value = p.Device
		case "%c":
			value = p.ClientID
		default:
			continue
		}
		if value == "" || strings.ContainsAny(value, "/+#") || i == 0 && value[0] == '$' {
			return "", false
		}
		levels[i] = value
	}
	return strings.Join(levels, "/"), true
}
