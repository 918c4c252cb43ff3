package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Duration is a time.Duration written with its unit: 250ms, 30s, 1h30m, 7d, 2w.
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads a Duration. It is never negative; zero needs no unit.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is no duration, want one like 30s, 2h or 7d", s)
	rest := s
	var sum time.Duration
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		digits, tail, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || time.Duration(n) > (math.MaxInt64-sum)/u.size {
			return 0, bad
		}
		sum, rest = sum+time.Duration(n)*u.size, tail
	}
	if rest == "" && rest != s {
		return Duration(sum), nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > math.MaxInt64-sum || strings.ContainsAny(rest, "+-") {
		return 0, bad
	}
	return Duration(sum + d), nil
}

func (d Duration) String() string {
	if d > 0 && time.Duration(d)%day == 0 {
		return strconv.FormatInt(int64(time.Duration(d)/day), 10) + "d"
	}
	return time.Duration(d).String()
}

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalYAML gives errors their place in the file.
func (d *Duration) UnmarshalYAML(n ast.Node) error { return placed(n, d.UnmarshalText) }

// Bytes is a size: 512B, 64KiB, 64MiB, 2GiB, or with decimal units kB, MB, GB, TB.
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseBytes reads a Bytes; zero needs no unit.
func ParseBytes(s string) (Bytes, error) {
	digits, size := s, int64(0)
	for _, u := range byteUnits {
		if d, ok := strings.CutSuffix(s, u.name); ok {
			digits, size = strings.TrimSuffix(d, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || size == 0 && n != 0 || size > 0 && int64(n) > math.MaxInt64/size {
		return 0, fmt.Errorf("%q is no size, want one like 64MiB or 2GiB", s)
	}
	return Bytes(int64(n) * size), nil
}

func (b Bytes) String() string {
	for _, u := range byteUnits[:4] {
		if b > 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// UnmarshalText reads what ParseBytes reads.
func (b *Bytes) UnmarshalText(t []byte) (err error) {
	*b, err = ParseBytes(string(t))
	return err
}

// MarshalText writes what UnmarshalText reads.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalYAML gives errors their place in the file.
func (b *Bytes) UnmarshalYAML(n ast.Node) error { return placed(n, b.UnmarshalText) }

// placed reads a scalar and lets an error know its token: the library forgets
// where a text came from.
func placed(n ast.Node, unmarshal func([]byte) error) error {
	if _, ok := n.(ast.ScalarNode); !ok {
		return &yaml.SyntaxError{Message: "want one value with its unit", Token: n.GetToken()}
	}
	if err := unmarshal([]byte(n.GetToken().Value)); err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: n.GetToken()}
	}
	return nil
}
