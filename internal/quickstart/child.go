package quickstart

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is one hub as a process of its own.
type child struct {
	name string
	exe  []string // program and its first arguments
	dir  string   // its configuration's folder; the log goes there, too

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	err  error         // why, valid after done
}

func (c *child) config() string  { return filepath.Join(c.dir, c.name+".yaml") }
func (c *child) logFile() string { return filepath.Join(c.dir, c.name+".log") }

// start runs the process, whose log is begun anew (O_TRUNC) or continued
// (O_APPEND). It dies with this one, however this one dies, where the system has
// a way to say so.
func (c *child) start(mode int) error {
	log, err := os.OpenFile(c.logFile(), os.O_WRONLY|os.O_CREATE|mode, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	defer log.Close()
	args := append(append([]string(nil), c.exe[1:]...), c.name, "--config", c.config())
	cmd := exec.Command(c.exe[0], args...) //nolint:noctx // it is stopped in order, see stop
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	done := make(chan struct{})
	c.mu.Lock()
	c.cmd, c.done = cmd, done
	c.mu.Unlock()
	go func() {
		err := cmd.Wait()
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		close(done)
	}()
	return nil
}

// ended returns why the process is gone, nil while it runs.
func (c *child) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		how := "exit status 0"
		if c.err != nil {
			how = c.err.Error()
		}
		return fmt.Errorf("%s ended (%s): %s; all it said is in %s", c.name, how, c.lastWords(), c.logFile())
	default:
		return nil
	}
}

// kill ends the process as a power cut would.
func (c *child) kill() { c.stop(syscall.SIGKILL, time.Minute) }

// stop signals the process and waits for its end; after the patience it is killed.
func (c *child) stop(sig os.Signal, patience time.Duration) {
	c.mu.Lock()
	cmd, done := c.cmd, c.done
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = cmd.Process.Kill() // it has ended meanwhile, or cannot be signalled at all
	}
	select {
	case <-done:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		<-done
	}
}

// lastWords is the line in which a process that failed says why: the last one
// that is an error of the daemon's or the runtime's, else the last one.
func (c *child) lastWords() string {
	text, err := tail(c.logFile())
	if err != nil {
		return err.Error()
	}
	words := "it said nothing"
	why := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		is := strings.HasPrefix(line, c.name+": ") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
		if line != "" && (is || !why) {
			words, why = line, is
		}
	}
	return words
}

const maxTail = 16 << 10

func tail(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxTail {
		_, _ = f.Seek(-maxTail, io.SeekEnd) // if not, the first part will do
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTail))
	return string(b), err
}
