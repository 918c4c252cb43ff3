package identity

import "strings"

// Covers reports whether every topic that filter matches is matched by allowed;
// a topic name is a filter that matches itself. Wildcards are those of MQTT 5.0,
// 4.7.1; a leading wildcard does not reach topics that begin with '$' (4.7.2).
func Covers(allowed, filter string) bool {
	if strings.HasPrefix(filter, "$") && (strings.HasPrefix(allowed, "+") || strings.HasPrefix(allowed, "#")) {
		return false
	}
	if filter == "#" {
		return allowed == "#" || allowed == "+/#"
	}
	for {
		a, restA, moreA := strings.Cut(allowed, "/")
		if a == "#" {
			return true
		}
		f, restF, moreF := strings.Cut(filter, "/")
		if f == "#" || a != "+" && a != f {
			return false
		}
		if !moreF {
			return !moreA || restA == "#" // a/# matches a itself
		}
		if !moreA {
			return false
		}
		allowed, filter = restA, restF
	}
}

// validFilter reports whether s is a topic filter: not empty, '#' alone in the
// last level, '+' alone in its level.
func validFilter(s string) bool {
	if s == "" || strings.IndexByte(s, 0) >= 0 {
		return false
	}
	for s != "" {
		level, rest, more := strings.Cut(s, "/")
		if strings.ContainsAny(level, "+#") && len(level) > 1 || level == "#" && more {
			return false
		}
		s = rest
	}
	return true
}

// unshare returns the filter inside $share/{group}/{filter} (MQTT 5.0, 4.8.2).
func unshare(filter string) string {
	rest, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return filter
	}
	_, inner, _ := strings.Cut(rest, "/")
	return inner
}
