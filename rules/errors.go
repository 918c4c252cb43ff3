package rules

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrInvalid is what every error of Compile, ReadDir and ParseEdgeHub about
	// the content of rules is: errors.As finds the Faults.
	ErrInvalid = errors.New("rules: do not compile")
	// ErrQueue is returned by ParseQueue for a name that no rule can produce.
	ErrQueue = errors.New("rules: not a queue of rules")
)

// Fault is one mistake in a rule. Line and Column count from 1, columns in
// characters; both are 0 where a fault concerns a whole file.
type Fault struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"` // what is wrong, and what was expected
}

func (f Fault) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Text)
}

// Faults is every mistake of a rule set, in the order of files and lines.
type Faults []Fault

// Error lists all faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Is makes errors.Is(err, ErrInvalid) true.
func (fs Faults) Is(target error) bool { return target == ErrInvalid }
