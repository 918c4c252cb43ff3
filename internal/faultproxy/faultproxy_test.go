package faultproxy

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that returns every line.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T) *Proxy {
	t.Helper()
	p, err := New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ask(c net.Conn, within time.Duration) (string, error) {
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(within))
	return bufio.NewReader(c).ReadString('\n')
}

func TestForwardAndCut(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	if s, err := ask(c, 5*time.Second); s != "hello\n" {
		t.Fatalf("echo through the proxy: %q, %v", s, err)
	}
	p.Cut()
	if s, err := ask(c, 5*time.Second); err == nil {
		t.Fatalf("a cut connection answered %q", s)
	}
	if s, err := ask(dial(t, p), 5*time.Second); s != "hello\n" {
		t.Fatalf("a connection made after the cut: %q, %v", s, err)
	}
}

func TestFreezeKeepsBytes(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	p.Freeze()
	if s, err := ask(c, 50*time.Millisecond); err == nil {
		t.Fatalf("a frozen connection answered %q", s)
	}
	p.Thaw()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if s, err := bufio.NewReader(c).ReadString('\n'); s != "hello\n" {
		t.Fatalf("after the thaw: %q, %v", s, err)
	}
}

func TestDelayBothWays(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	p.Delay(30 * time.Millisecond)
	began := time.Now()
	if s, err := ask(c, 5*time.Second); s != "hello\n" || time.Since(began) < 60*time.Millisecond {
		t.Fatalf("answer %q, %v after %v", s, err, time.Since(began))
	}
}

func TestRefuse(t *testing.T) {
	p := start(t)
	p.Refuse(true)
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may come first
		defer c.Close()
		if s, err := ask(c, 5*time.Second); err == nil {
			t.Fatalf("a refused connection answered %q", s)
		}
	}
	p.Refuse(false)
	if s, err := ask(dial(t, p), 5*time.Second); s != "hello\n" {
		t.Fatalf("after refusing: %q, %v", s, err)
	}
}
