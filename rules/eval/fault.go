package eval

import "fmt"

// Fault is a mistake at one place of a condition's text. Lines and columns count
// from 1, columns in characters; End is behind the last character.
type Fault struct {
	Line, Column       int
	EndLine, EndColumn int
	Text               string
}

func (f Fault) Error() string { return fmt.Sprintf("%d:%d: %s", f.Line, f.Column, f.Text) }

// Faults are all mistakes found in one text, in the order they were found.
type Faults []Fault

func (fs Faults) Error() string {
	if len(fs) == 0 {
		return "no faults"
	}
	if len(fs) == 1 {
		return fs[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", fs[0].Error(), len(fs)-1)
}

// Position turns a character offset in text into line and column.
func Position(text string, offset int) (line, column int) {
	line, column = 1, 1
	for _, r := range text {
		if offset == 0 {
			break
		}
		offset--
		if r == '\n' {
			line, column = line+1, 1
		} else {
			column++
		}
	}
	return line, column
}
