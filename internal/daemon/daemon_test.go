package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/daemon"
)

// programs are the daemons' mains by name.
var programs = map[string]func(args []string, stderr io.Writer) int{
	"edgehub": daemon.EdgeHub().Main, "cloudhub": daemon.CloudHub().Main,
}

// TestMain is also the daemons' main, for the tests that need a process of their own.
func TestMain(m *testing.M) {
	if run := programs[os.Getenv("DAEMON_UNDER_TEST")]; run != nil {
		os.Exit(run(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

const edgeConfig = `device: {id: edge-1}
hub_host: penstock
state_dir: state
rules_dir: rules.d
listeners:
  - {name: mqtt, address: "127.0.0.1:0"}
`

const cloudConfig = `host: penstock
state_dir: state
listeners:
  - {name: mqtt, address: "127.0.0.1:0"}
nats: {embedded: {address: ""}}
api: {listen: "127.0.0.1:0"}
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Join(filepath.Dir(path), "rules.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodes(t *testing.T) {
	good := write(t, "edgehub.yaml", edgeConfig)
	bad := write(t, "edgehub.yaml", strings.Replace(edgeConfig, "state_dir", "state_dri", 1))
	occupied := write(t, "edgehub.yaml", strings.Replace(edgeConfig, "state_dir: state", "state_dir: edgehub.yaml/state", 1))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"version":          {[]string{"-version"}, daemon.ExitOK, `^edgehub \S+\n$`},
		"help":             {[]string{"-help"}, daemon.ExitOK, `-config`},
		"unknown flag":     {[]string{"-nosuch"}, daemon.ExitUsage, `not defined: -nosuch`},
		"argument":         {[]string{"edgehub.yaml"}, daemon.ExitUsage, `^edgehub: there is an argument "edgehub.yaml", want flags only`},
		"check":            {[]string{"-check", "-config", good}, daemon.ExitOK, `edgehub.yaml is fine`},
		"check, bad":       {[]string{"-check", "--config", bad}, daemon.ExitUsage, `edgehub.yaml:3:1: unknown field "state_dri"`},
		"bad":              {[]string{"-config", bad}, daemon.ExitUsage, `edgehub.yaml:3:1: `},
		"missing":          {[]string{"-config", good + ".not"}, daemon.ExitUsage, `^edgehub: read configuration: open .*edgehub.yaml.not: no such file`},
		"nothing to renew": {[]string{"-renew-epoch", "-config", good}, daemon.ExitFailed, `^edgehub: renew epoch of store .*\n$`},
		"cannot start":     {[]string{"-config", occupied}, daemon.ExitFailed, `^edgehub: state folder: .*\n$`},
		"a flag is bare":   {[]string{"-config"}, daemon.ExitUsage, `needs an argument`},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := daemon.EdgeHub().Main(c.args, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !regexp.MustCompile(c.says).Match(stderr.Bytes()) {
				t.Errorf("says %q, want %q", stderr.String(), c.says)
			}
		})
	}
}

// TestSignals: a daemon that is told to end ends well, and can be started again.
func TestSignals(t *testing.T) {
	for _, c := range []struct{ name, config, sign string }{
		{"edgehub", edgeConfig, "state/edgehub.sock"}, // a file that is there when it is up
		{"cloudhub", cloudConfig, "state/api.token"},
	} {
		path := write(t, c.name+".yaml", c.config)
		for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
			sign := filepath.Join(filepath.Dir(path), c.sign)
			if err := os.Remove(sign); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			t.Run(fmt.Sprint(c.name, " ", sig), func(t *testing.T) { endsWell(t, c.name, path, sign, sig) })
		}
	}
}

const patience = 30 * time.Second

func endsWell(t *testing.T, name, config, sign string, sig os.Signal) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-config", config)
	cmd.Env = append(os.Environ(), "DAEMON_UNDER_TEST="+name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	told := false
	for {
		select {
		case err := <-ended:
			if err != nil || !told || strings.Contains(stderr.String(), "level=ERROR") {
				t.Errorf("ended: %v; it said:\n%s", err, stderr.String())
			}
			return
		case <-tick.C:
			if _, err := os.Stat(sign); err == nil {
				if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Error(err)
				}
				told = true
				tick.Stop()
			}
		case <-late:
			_ = cmd.Process.Kill()
			t.Fatalf("still there after %v, then %v; it said:\n%s", patience, <-ended, stderr.String())
		}
	}
}
