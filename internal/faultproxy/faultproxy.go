// Package faultproxy is a TCP proxy that misbehaves on request, for tests: it
// cuts connections, freezes them, delays what they carry, and refuses new ones.
// It forwards bytes and knows no protocol. All methods may be called concurrently.
package faultproxy

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy forwards every connection made to Addr to its target.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	target   string
	delay    time.Duration
	refuse   bool
	closed   bool
	moving   chan struct{} // closed unless frozen
	conns    map[net.Conn]struct{}
	accepted int
}

// New listens on a free port of the loopback interface and forwards to target.
func New(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, moving: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(p.moving)
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the host:port to connect to; it stays the same until Close.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted counts the connections made so far, refused ones included.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Retarget sends new connections to another address.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut resets all connections. New ones are welcome.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Refuse makes the proxy reset new connections at once, or stop doing so.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Delay holds back every byte read from now on for d, in each direction,
// without limiting how many are on their way.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Freeze stops forwarding and keeps all connections open; new ones are accepted
// and hear nothing. Thaw goes on where Freeze stopped.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.moving:
		p.moving = make(chan struct{})
	default:
	}
}

// Thaw ends Freeze.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.thaw()
}

func (p *Proxy) thaw() {
	select {
	case <-p.moving:
	default:
		close(p.moving)
	}
}

// Close resets everything and waits for the proxy's goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for c := range p.conns {
		reset(c)
	}
	p.thaw()
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		refuse := p.refuse
		p.mu.Unlock()
		if refuse || !p.add(c) {
			reset(c)
			continue
		}
		p.wg.Go(func() {
			p.join(c)
			p.remove(c)
		})
	}
}

// join connects down to the target, as soon as the proxy is not frozen.
func (p *Proxy) join(down net.Conn) {
	defer reset(down)
	<-p.gate()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	up, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	defer reset(up)
	if !p.add(up) {
		return
	}
	defer p.remove(up)
	var both sync.WaitGroup
	both.Go(func() { p.copy(up, down) })
	both.Go(func() { p.copy(down, up) })
	both.Wait()
}

// add puts c among the connections to be cut, unless the proxy is closed.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

func (p *Proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

type chunk struct {
	data []byte
	due  time.Time
}

// copy forwards one direction until either side ends. Bytes on their way wait
// in a queue, so a delay is latency and not a lower bandwidth.
func (p *Proxy) copy(dst, src net.Conn) {
	onWay := make(chan chunk, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(onWay)
		for {
			<-p.gate()
			buf := make([]byte, 16<<10)
			n, err := src.Read(buf)
			if n > 0 {
				onWay <- chunk{buf[:n], time.Now().Add(p.held())}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range onWay {
		if wait := time.Until(c.due); wait > 0 {
			time.Sleep(wait)
		}
		<-p.gate()
		if _, err := dst.Write(c.data); err != nil {
			break
		}
	}
	<-p.gate() // an end is news, too
	dst.Close()
	src.Close()
	for range onWay { // lets the reader end
	}
	reader.Wait()
}

func (p *Proxy) held() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

func (p *Proxy) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moving
}

// reset closes c with a RST, as a broken network's middle box does.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}
