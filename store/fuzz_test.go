package store

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/internal/binread"
	"github.com/penstock-io/penstock/message"
)

func FuzzBlockKey(f *testing.F) {
	x := index{}
	x.add(1, 100, 5, 7)
	x.add(300, 50, 0, 6)
	f.Add(x.append(blockKey(keyBlock, 7, 3, 1<<40)))
	f.Add(blockKey(keyBlock, 7, 11, 1))
	f.Fuzz(func(t *testing.T, k []byte) {
		queue, prio, first, rest, err := parseBlockKey(k)
		if err != nil {
			return
		}
		var x index
		if x.parse(rest) != nil {
			return
		}
		again := x.append(blockKey(k[0], queue, prio, first))
		var y index
		if err := y.parse(again[blockPrefix:]); err != nil || !reflect.DeepEqual(x, y) {
			t.Fatalf("%+v became %+v: %v", x, y, err)
		}
	})
}

func FuzzBlockValue(f *testing.F) {
	key := blockKey(keyBlock, 1, 2, 3)
	e := entry{rule: 4, expires: 5, meta: []byte("m"), data: []byte("data")}
	v := e.append(e.append(make([]byte, blockHeader)))
	seal(key, v)
	f.Add(v, true)
	f.Add(pad(bytes.Clone(v)), false)
	f.Fuzz(func(t *testing.T, v []byte, reseal bool) {
		if reseal && len(v) >= blockHeader {
			v = bytes.Clone(v)
			seal(key, v)
		}
		b, err := entriesOf(key, v)
		if err != nil {
			return
		}
		r := binread.Reader{B: b}
		for len(r.B) > 0 {
			var e, e2 entry
			if e.read(&r); r.Bad {
				return
			}
			r2 := binread.Reader{B: e.append(nil)}
			if e2.read(&r2); !r2.Whole() || !reflect.DeepEqual(e, e2) {
				t.Fatalf("%+v became %+v", e, e2)
			}
		}
	})
}

// FuzzValues feeds every small value's decoder; what is accepted must survive a
// round trip.
func FuzzValues(f *testing.F) {
	o := outcomes{delivered: 1, expired: 2, buried: 3, dropped: map[string]uint64{"quota": 4, "purged": 1}}
	f.Add(o.append(nil))
	q := queueRecord{name: "q", next: 7, limit: 9, policy: DropOldest, removed: true}
	f.Add(q.append(nil))
	x := exceptions{runs: []Exception{{First: 3, Last: 9, Count: 7, Reason: "expired"}}}
	f.Add(x.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var o, o2 outcomes
		if o.parse(b) == nil {
			if err := o2.parse(o.append(nil)); err != nil || !reflect.DeepEqual(o, o2) {
				t.Fatalf("%+v became %+v: %v", o, o2, err)
			}
		}
		var q, q2 queueRecord
		if q.parse(b) == nil {
			if err := q2.parse(q.append(nil)); err != nil || q != q2 {
				t.Fatalf("%+v became %+v: %v", q, q2, err)
			}
		}
		var x, x2 exceptions
		if x.parse(b) == nil {
			if err := x2.parse(x.append(nil)); err != nil || cmp.Diff(x.runs, x2.runs) != "" {
				t.Fatalf("%+v became %+v: %v", x, x2, err)
			}
		}
	})
}

func FuzzPart(f *testing.F) {
	f.Add([]byte{0, 3, 2, 5, 3}, uint32(10), uint32(8))
	f.Fuzz(func(t *testing.T, v []byte, count, first uint32) {
		count = count%5000 + 1
		first %= count + 1
		x := index{count: count, rules: []ruleStat{{rule: 1, count: first}, {rule: 2, count: count - first}}}
		b := newOpenBlock(nil, 0, 1, &x)
		if b.loadPart(v) != nil {
			return
		}
		c := newOpenBlock(nil, 0, 1, &x)
		if err := c.loadPart(b.part()); err != nil || c.left != b.left || c.settled.len() != b.settled.len() || c.prefix != b.prefix {
			t.Fatalf("%+v became %+v: %v", b, c, err)
		}
	})
}

func FuzzLetter(f *testing.F) {
	key := seqKey(keyDead, 1, 2)
	d := DeadLetter{Cause: "c", Buried: 5}
	e := entry{rule: 1, data: message.Append(nil, &message.Message{Body: []byte("b")})}
	f.Add(d.encode(&e))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, e, err := parseLetter(key, sealed(key, b))
		if err != nil {
			return
		}
		d2, _, err := parseLetter(key, sealed(key, d.encode(&e)))
		if err != nil || d2.Cause != d.Cause || d2.Buried != d.Buried || d2.Priority != d.Priority {
			t.Fatalf("%+v became %+v: %v", d, d2, err)
		}
	})
}

func FuzzMarker(f *testing.F) {
	f.Add("penstock-store\nversion 1\nepoch ABC\nstate ready\n")
	f.Add("penstock-store\nversion 9\n")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := parseMarker(text); err == nil && (m.epoch == "" || m.state == "") {
			t.Fatalf("accepted %q", text)
		}
	})
}
