package rules

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// maxTTL is the longest time to live that a rule may state.
const maxTTL = 10 * 365 * 24 * time.Hour

var days = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// ParseTTL reads a time to live such as 90s, 2h, 7d or 1d12h; none is 0, for ever.
func ParseTTL(text string) (time.Duration, error) {
	ttl, why := parseTTL(text)
	if why != "" {
		return 0, errors.New(why)
	}
	return ttl, nil
}

func parseTTL(text string) (ttl time.Duration, why string) {
	const expected = "; expected a duration such as 30s, 2h or 7d, or none"
	if text == "none" {
		return 0, ""
	}
	rest := text
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		ttl, rest = time.Duration(n)*24*time.Hour, m[2]
	}
	if rest != "" {
		part, err := time.ParseDuration(rest)
		if err != nil {
			return 0, strconv.Quote(text) + " is no duration" + expected
		}
		ttl += part
	}
	if ttl < time.Millisecond || ttl > maxTTL {
		return 0, strconv.Quote(text) + " is out of range; expected 1ms … 3650d, or none"
	}
	return ttl, ""
}
