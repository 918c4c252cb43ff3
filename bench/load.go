package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Load is one measurement: connections that keep a window of QoS 1 publishes
// in flight for a time.
type Load struct {
	Addr   string
	Conns  int
	Window int
	Size   int // bytes of a message body
	For    time.Duration
	User   string
	Secret string
	Topic  string
	Warm   time.Duration // run this long before counting
}

// Result is what a Load measured.
type Result struct {
	Acked   uint64
	Elapsed time.Duration
	P50     time.Duration
	P99     time.Duration
}

// Rate is acknowledged messages per second.
func (r Result) Rate() float64 { return float64(r.Acked) / r.Elapsed.Seconds() }

var runs atomic.Int64

// Run publishes and counts acknowledgements. It returns the first error of any connection.
func (l Load) Run() (Result, error) {
	run := runs.Add(1)
	var (
		wg      sync.WaitGroup
		acked   atomic.Uint64
		stop    = make(chan struct{})
		mu      sync.Mutex
		first   error
		samples []time.Duration
		count   atomic.Bool
	)
	for i := range l.Conns {
		c, err := dial(l, fmt.Sprintf("load-%d-%d", run, i))
		if err != nil {
			close(stop)
			return Result{}, err
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			lat, err := c.publish(l, stop, &acked, &count)
			mu.Lock()
			defer mu.Unlock()
			samples = append(samples, lat...)
			if first == nil {
				first = err
			}
		}()
	}
	time.Sleep(l.Warm)
	count.Store(true)
	from, begin := acked.Load(), time.Now()
	time.Sleep(l.For)
	r := Result{Acked: acked.Load() - from, Elapsed: time.Since(begin)}
	close(stop)
	wg.Wait()
	if len(samples) > 0 {
		slices.Sort(samples)
		r.P50, r.P99 = samples[len(samples)/2], samples[len(samples)*99/100]
	}
	return r, first
}

type client struct {
	c  net.Conn
	br *bufio.Reader
}

// dial opens an MQTT 3.1.1 clean session.
func dial(l Load, id string) (*client, error) {
	sock, err := net.DialTimeout("tcp", l.Addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{c: sock, br: bufio.NewReaderSize(sock, 64<<10)}
	flags := byte(2)
	body := appendText(nil, "MQTT")
	if l.User != "" {
		flags |= 0xc0
	}
	body = append(body, 4, flags, 0, 60)
	body = appendText(body, id)
	if l.User != "" {
		body = appendText(appendText(body, l.User), l.Secret)
	}
	if _, err := sock.Write(packet(0x10, body)); err != nil {
		return nil, err
	}
	var ack [4]byte
	if _, err := io.ReadFull(c.br, ack[:]); err != nil {
		return nil, fmt.Errorf("connect %s: %w", l.Addr, err)
	}
	if ack[3] != 0 {
		return nil, fmt.Errorf("connect %s: refused with code %d", l.Addr, ack[3])
	}
	return c, nil
}

// publish keeps the window full until stop, then waits for what is in flight.
func (c *client) publish(l Load, stop <-chan struct{}, acked *atomic.Uint64, count *atomic.Bool) ([]time.Duration, error) {
	defer c.c.Close()
	one := publishPacket(l.Topic, body(l.Size))
	idAt := len(one) - l.Size - 2
	sent := make([]time.Time, 1<<16)
	tokens := make(chan struct{}, l.Window)
	for range l.Window {
		tokens <- struct{}{}
	}
	var lat []time.Duration
	done := make(chan error, 1)
	var total atomic.Int64
	total.Store(-1)
	go func() {
		var got int64
		for got != total.Load() {
			var a [4]byte
			if _, err := io.ReadFull(c.br, a[:]); err != nil {
				done <- err
				return
			}
			if a[0] != 0x40 || a[1] != 2 {
				done <- fmt.Errorf("unexpected packet % x", a)
				return
			}
			got++
			acked.Add(1)
			if got%16 == 0 && count.Load() {
				lat = append(lat, time.Since(sent[binary.BigEndian.Uint16(a[2:])]))
			}
			tokens <- struct{}{}
		}
		done <- nil
	}()
	var n int64
	out := make([]byte, 0, l.Window*len(one))
	id := uint16(0)
loop:
	for {
		select {
		case <-stop:
			break loop
		case err := <-done:
			return nil, err
		case <-tokens:
		}
		k := 1
		for ; k < l.Window; k++ {
			select {
			case <-tokens:
				continue
			default:
			}
			break
		}
		now := time.Now()
		out = out[:0]
		for range k {
			if id++; id == 0 {
				id = 1
			}
			sent[id] = now
			out = append(out, one...)
			binary.BigEndian.PutUint16(out[len(out)-len(one)+idAt:], id)
		}
		if _, err := c.c.Write(out); err != nil {
			return nil, err
		}
		n += int64(k)
	}
	total.Store(n)
	_ = c.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	// The reader may sit in its last read already: one more message ends it.
	if _, err := c.c.Write([]byte{0xe0, 0}); err != nil {
		return lat, nil
	}
	err := <-done
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return lat, err
}

// Subscribe leaves a persistent session with a QoS 1 subscription behind, so
// that a broker has to store what matches it.
func (l Load) Subscribe(id, filter string) error {
	sock, err := net.DialTimeout("tcp", l.Addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer sock.Close()
	body := append(appendText(nil, "MQTT"), 4, 0, 0, 60)
	if l.User != "" {
		body[7] |= 0xc0
	}
	body = appendText(body, id)
	if l.User != "" {
		body = appendText(appendText(body, l.User), l.Secret)
	}
	sub := append(appendText([]byte{0, 1}, filter), 1)
	if _, err := sock.Write(append(packet(0x10, body), packet(0x82, sub)...)); err != nil {
		return err
	}
	var answers [9]byte
	if _, err := io.ReadFull(sock, answers[:]); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	_, err = sock.Write([]byte{0xe0, 0})
	return err
}

// body is a JSON reading of exactly size bytes whose temperature passes the rule.
func body(size int) []byte {
	head := `{"machine":{"id":"press-7","temperature":31.5},"pad":"`
	b := append([]byte(head), make([]byte, size-len(head)-2)...)
	for i := len(head); i < len(b); i++ {
		b[i] = 'x'
	}
	return append(b, `"}`...)
}

func publishPacket(topic string, body []byte) []byte {
	b := append(appendText(nil, topic), 0, 0)
	return packet(0x32, append(b, body...))
}

func packet(first byte, body []byte) []byte {
	p := []byte{first}
	for n := len(body); ; {
		d := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			p = append(p, d|0x80)
			continue
		}
		p = append(p, d)
		break
	}
	return append(p, body...)
}

func appendText(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}
