package binread

import (
	"encoding/binary"
	"testing"
)

func TestReadsWhatWasAppended(t *testing.T) {
	b := Append(binary.AppendUvarint([]byte{7}, 1<<40), "text")
	b = Append(b, []byte{1, 2})
	r := Reader{B: b}
	if r.Byte() != 7 || r.Uvarint() != 1<<40 || r.View() != "text" || string(r.Bytes()) != "\x01\x02" || !r.Whole() {
		t.Errorf("left %x, bad %v", r.B, r.Bad)
	}
}

func TestFaultsStay(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": {}, "cut": {5, 'a'}, "endless varint": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		r := Reader{B: b}
		if r.String() != "" || !r.Bad || r.Uvarint() != 0 || r.Whole() {
			t.Errorf("%s: not noticed", name)
		}
	}
	r := Reader{B: binary.AppendUvarint(nil, 1<<33)}
	if r.Uint32() != 0 || !r.Bad {
		t.Error("a number above 32 bits was taken")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{3, 'a', 'b', 'c', 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Reader{B: b}
		for range 64 {
			if n := len(r.Bytes()) + len(r.String()); n > len(b) {
				t.Fatalf("%d bytes out of %d", n, len(b))
			}
			r.Byte()
		}
	})
}
