package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// peer is one broker under measurement, a process of its own.
type peer struct {
	name   string
	when   string // when it acknowledges
	start  func(dir, addr string) *exec.Cmd
	queued bool // needs an offline subscriber to have to store anything
	user   string
	secret string
}

func peers(edgehub string) []peer {
	return []peer{
		{name: "penstock edgehub", when: "synced to disk", start: func(dir, addr string) *exec.Cmd { return startEdgehub(edgehub, dir, addr) }},
		{name: "mosquitto", when: "in memory", queued: true, start: startMosquitto},
		{name: "mochi", when: "in memory", queued: true, start: startMochi},
	}
}

func startMosquitto(dir, addr string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 0\nlog_type error\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil
	}
	return exec.Command("mosquitto", "-c", conf)
}

func startMochi(_, addr string) *exec.Cmd {
	return exec.Command(os.Args[0], "-serve-mochi", addr)
}

// allow lets everybody do everything.
type allow struct{ mqtt.HookBase }

func (*allow) Provides(b byte) bool                                    { return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck }
func (*allow) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (*allow) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

// serveMochi is the plain library with everything allowed and nothing stored.
func serveMochi(addr string) error {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumInflight = 65535
	s := mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler)})
	if err := s.AddHook(new(allow), nil); err != nil {
		return err
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: addr})); err != nil {
		return err
	}
	if err := s.Serve(); err != nil {
		return err
	}
	select {}
}

// running starts p, waits until it answers, and gives the way to end it.
func (p peer) running(ctx context.Context) (addr string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", nil, err
	}
	addr, err = freeAddr()
	if err != nil {
		return "", nil, err
	}
	cmd := p.start(dir, addr)
	if cmd == nil {
		return "", nil, errors.New("no command")
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return addr, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s does not answer on %s", p.name, addr)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
