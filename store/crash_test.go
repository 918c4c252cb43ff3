package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
)

// crashChild runs in a process of its own that gets killed: it appends numbered
// messages to two queues, tells its parent which are acknowledged, and consumes
// one queue with every kind of outcome.
func crashChild(dir string) {
	s, err := Open(Config{Dir: dir, ReserveBytes: 1, SettleDelay: time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go crashConsumer(s)
	var base uint64
	fmt.Sscan(os.Getenv("STORE_TEST_CRASH_FROM"), &base)
	window := make(chan struct{}, 64)
	for n := base; ; n++ {
		window <- struct{}{}
		body := binary.BigEndian.AppendUint64(nil, n)
		data := message.Append(nil, &message.Message{Body: body})
		key := fmt.Sprint(n % 50)
		s.Append(&Request{
			Items: []Item{{Data: data, Targets: []message.Target{
				{Queue: "kept", Rule: "k"}, {Queue: "consumed", Rule: fmt.Sprint("c", n%3), Priority: uint8(n % 2)},
			}}},
			Records: func([]error) []message.Record {
				return []message.Record{{Bucket: "last", Key: key, Value: body}}
			},
			Done: func(_ *Request, errs []error) {
				if errs == nil {
					os.Stdout.Write(body)
				}
				<-window
			},
		})
	}
}

func crashConsumer(s *Store) {
	q, err := s.Queue("consumed")
	if err != nil {
		panic(err)
	}
	for range q.Ready() {
		ds, err := q.Lease(nil, 100)
		if err != nil {
			panic(err)
		}
		rand.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
		for _, d := range ds {
			switch rand.IntN(20) {
			case 0:
				q.Settle(d.Seq, message.Buried, "crash test")
			case 1:
				q.Settle(d.Seq, message.Dropped, "crash test")
			case 2: // stays leased
			default:
				q.Settle(d.Seq, message.Delivered, "")
			}
		}
		q.signal()
	}
}

func TestAcknowledgedSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	acked := make(map[uint64]bool)
	var highest uint64
	for round := range 6 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "STORE_TEST_CRASH_DIR="+dir, fmt.Sprint("STORE_TEST_CRASH_FROM=", highest+1_000_000))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(out)
		kill := 500 + rand.IntN(3000)
		for n := 0; ; n++ {
			var b [8]byte
			if _, err := io.ReadFull(in, b[:]); err != nil {
				break
			}
			seq := binary.BigEndian.Uint64(b[:])
			acked[seq] = true
			highest = max(highest, seq)
			if n == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		if cmd.ProcessState.ExitCode() != -1 || len(acked) < 500*(round+1) { // -1: killed, as intended
			t.Fatalf("child: %v, %d acknowledged", err, len(acked))
		}
		crashCheck(t, dir, acked)
	}
}

// crashCheck opens the store after a kill and looks for every acknowledged message.
func crashCheck(t *testing.T, dir string, acked map[uint64]bool) {
	t.Helper()
	s := openAt(t, Config{Dir: dir})
	defer s.Close()
	balanced(t, s)
	q := queue(t, s, "kept")
	have := make(map[uint64]bool)
	var last uint64
	from := uint64(0)
	for {
		ds, err := q.Peek(from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			n := binary.BigEndian.Uint64(d.Body)
			if n <= last || d.Seq < from {
				t.Fatalf("message %d at %d after %d", n, d.Seq, last)
			}
			have[n], last, from = true, n, d.Seq+1
		}
		if len(ds) == 0 {
			break
		}
	}
	lost := 0
	for n := range acked {
		if !have[n] {
			lost++
		}
	}
	if lost > 0 {
		t.Fatalf("%d of %d acknowledged messages are lost", lost, len(acked))
	}
	var consumed uint64
	for _, a := range queue(t, s, "consumed").Ledger() {
		consumed += a.Accepted
	}
	same(t, "accepted by both queues", consumed, uint64(len(have)))
	err := s.Records("last", func(k string, v []byte) error {
		if n := binary.BigEndian.Uint64(v); fmt.Sprint(n%50) != k || !have[n] {
			return fmt.Errorf("record %s says %d", k, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
