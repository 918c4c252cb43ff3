// Package replay turns recorded series, as CSV files or tables separated by
// blanks, into JSON messages. Rows are read one at a time; a file may be larger
// than memory.
package replay

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rows reads one table. Not safe for concurrent use.
type Rows struct {
	names  []string
	next   func() ([]string, error)
	number int
	first  []string // a row that was read to count columns
}

// maxLine bounds one row of a file, in bytes.
const maxLine = 1 << 20

// Open looks at the first line and decides how the table is written: with
// commas, semicolons or tabs and a line of column names, or with blanks and
// none; then the columns are c1, c2, ….
func Open(r io.Reader) (*Rows, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line, _, _ := strings.Cut(string(head), "\n")
	for _, comma := range ";,\t" {
		if strings.ContainsRune(line, comma) {
			return openCSV(br, comma)
		}
	}
	return openBlanks(br)
}

// bounded gives out so many bytes until it is renewed: a quote that is never
// closed must not read a whole file into memory.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("longer than %d bytes: is a quote not closed?", maxLine)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func openCSV(r io.Reader, comma rune) (*Rows, error) {
	b := &bounded{r: r, left: maxLine}
	c := csv.NewReader(b)
	c.Comma, c.ReuseRecord = comma, true
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("read column names: %w", err)
	}
	rows := &Rows{next: func() ([]string, error) {
		b.left = maxLine
		return c.Read()
	}}
	seen := map[string]bool{}
	for _, name := range head {
		name = strings.TrimPrefix(name, "\ufeff")
		if name == "" || seen[name] || !utf8.ValidString(name) {
			return nil, fmt.Errorf("line 1: column name %q is empty, not text, or there twice", name)
		}
		seen[name] = true
		rows.names = append(rows.names, strings.Clone(name))
	}
	return rows, nil
}

func openBlanks(r io.Reader) (*Rows, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	rows := &Rows{}
	rows.next = func() ([]string, error) {
		for s.Scan() {
			if f := strings.Fields(s.Text()); len(f) > 0 {
				return f, nil
			}
		}
		if err := s.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	first, err := rows.next()
	if errors.Is(err, io.EOF) {
		return rows, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range first {
		rows.names = append(rows.names, "c"+strconv.Itoa(i+1))
	}
	rows.first = first
	return rows, nil
}

// Next returns the next row as a JSON object in the order of the columns, and its
// number from 1. Cells that are numbers become numbers, empty ones null, others
// text. At the end it returns io.EOF.
func (r *Rows) Next() (body []byte, number int, err error) {
	row := r.first
	r.first = nil
	if row == nil {
		row, err = r.next()
		if errors.Is(err, io.EOF) {
			return nil, 0, io.EOF
		}
		if err != nil {
			return nil, 0, fmt.Errorf("row %d: %w", r.number+1, err)
		}
	}
	r.number++
	if len(row) != len(r.names) {
		return nil, 0, fmt.Errorf("row %d has %d columns, want %d", r.number, len(row), len(r.names))
	}
	body = append(body, '{')
	for i, cell := range row {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendText(body, r.names[i])
		body = append(body, ':')
		body = appendCell(body, strings.TrimSpace(cell))
	}
	return append(body, '}'), r.number, nil
}

func appendCell(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		if json.Valid([]byte(s)) {
			return append(dst, s...) // the digits as recorded
		}
		return strconv.AppendFloat(dst, f, 'g', -1, 64)
	}
	return appendText(dst, s)
}

func appendText(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return append(dst, "null"...) // a string always encodes
	}
	return append(dst, b...)
}
