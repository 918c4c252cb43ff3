package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child is a hub as a process, started again and again over the same state.
type child struct {
	t      *testing.T
	name   string // edgehub or cloudhub
	config string
	log    string
	ready  func() error

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

func newChild(t *testing.T, dir, name, config string, ready func() error) *child {
	t.Helper()
	c := &child{t: t, name: name, config: filepath.Join(dir, name+".yaml"), log: filepath.Join(dir, name+".log"), ready: ready}
	write(t, c.config, config)
	t.Cleanup(func() {
		if c.cmd != nil {
			c.signal(syscall.SIGCONT)
			c.kill()
		}
		if t.Failed() {
			t.Logf("the last lines of %s:\n%s", name, tail(c.log, 4000))
		}
	})
	return c
}

// start runs the hub and waits until it answers.
func (c *child) start() {
	c.t.Helper()
	log, err := os.OpenFile(c.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0], c.name, "--config", c.config)
	cmd.Stdout, cmd.Stderr = log, log
	if _, err := cmd.StdinPipe(); err != nil { // ends with this process, and the child with it
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	c.cmd, c.done = cmd, done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	until(c.t, c.name+" to come up", startTimeout, func() error {
		select {
		case <-done:
			c.t.Fatalf("%s ended: %s\n%s", c.name, cmd.ProcessState, tail(c.log, 2000))
		default:
		}
		return c.ready()
	})
}

// kill ends the process as kill -9 does.
func (c *child) kill() {
	c.signal(syscall.SIGKILL)
	<-c.done
}

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// stop ends the process in good order.
func (c *child) stop() {
	c.t.Helper()
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
		if !c.cmd.ProcessState.Success() {
			c.t.Errorf("%s ended with %s\n%s", c.name, c.cmd.ProcessState, tail(c.log, 2000))
		}
	case <-time.After(startTimeout):
		c.t.Errorf("%s does not stop", c.name)
	}
}

// panicked says whether a hub ever wrote a stack trace.
func (c *child) panicked() bool {
	b, err := os.ReadFile(c.log)
	if err != nil {
		c.t.Error(err)
	}
	s := string(b)
	return strings.Contains(s, "panic:") || strings.Contains(s, "DATA RACE") || strings.Contains(s, "goroutine 1 [")
}

func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-n):])
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const startTimeout = time.Minute

// until polls f until it returns nil.
func until(t *testing.T, what string, within time.Duration, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s: %v", within, what, err)
		case <-tick.C:
		}
	}
}
