package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/quickstart"
)

// summary is what scripts read of `edgectl quickstart -o json`; the names are a promise.
type summary struct {
	Accepted        *uint64 `json:"accepted"`
	Delivered       *uint64 `json:"delivered"`
	Queued          *uint64 `json:"queued"`
	Expired         *uint64 `json:"expired"`
	Dropped         *uint64 `json:"dropped"`
	Buried          *uint64 `json:"buried"`
	Balanced        *bool   `json:"balanced"`
	CloudReceived   *uint64 `json:"cloud_received"`
	CloudDuplicates *uint64 `json:"cloud_duplicates"`
}

// TestQuickstart runs the program twice over one state folder.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	first := unattended(t, state)
	second := unattended(t, state)
	if *first.Accepted < 20 || *second.Accepted < *first.Accepted+20 {
		t.Errorf("accepted %d, then %d: the second run does not go on from the first", *first.Accepted, *second.Accepted)
	}
	if *second.CloudReceived <= *first.CloudReceived {
		t.Errorf("the cloud had %d messages, then %d", *first.CloudReceived, *second.CloudReceived)
	}
}

func unattended(t *testing.T, state string) (s summary) {
	t.Helper()
	stdout, stderr, code := edgectlRun(t, append(freePorts, "--for", "2s", "--rate", "50", "--state", state)...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	d := json.NewDecoder(strings.NewReader(stdout))
	if err := d.Decode(&s); err != nil {
		t.Fatalf("standard output: %v\n%s", err, stdout)
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		t.Errorf("more than one JSON value on standard output: %s", stdout)
	}
	for _, p := range []*uint64{s.Accepted, s.Delivered, s.Queued, s.Expired, s.Dropped, s.Buried, s.CloudReceived, s.CloudDuplicates} {
		if p == nil {
			t.Fatalf("a key is missing: %s", stdout)
		}
	}
	if s.Balanced == nil || !*s.Balanced || *s.Accepted != *s.Delivered+*s.Queued+*s.Expired+*s.Dropped+*s.Buried || *s.CloudReceived == 0 {
		t.Errorf("it does not balance: %s", stdout)
	}
	return s
}

var freePorts = []string{"quickstart", "-o", "json", "--edge-mqtt", "127.0.0.1:0", "--cloud-mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--nats", "127.0.0.1:0"}

func edgectlRun(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, edgectl, args...)
	cmd.Dir = t.TempDir()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestQuickstartSurvivesKill: the same pipeline with kill -9 and a cut uplink in
// the middle of it.
func TestQuickstartSurvivesKill(t *testing.T) {
	t.Parallel()
	any := "127.0.0.1:0"
	p, err := quickstart.Start(t.Context(), quickstart.Options{
		State: filepath.Join(t.TempDir(), "state"), Rate: 200, Exe: []string{edgectl},
		Addresses: quickstart.Addresses{Edge: any, Cloud: any, API: any, NATS: any},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	accepted := func(atLeast uint64) uint64 {
		t.Helper()
		var got uint64
		until(t, "messages to be accepted", func() error {
			s, err := p.Summary(t.Context())
			if got = s.Accepted; err == nil && got < atLeast {
				err = fmt.Errorf("%d, want %d", got, atLeast)
			}
			return err
		})
		return got
	}
	n := accepted(50)
	if err := p.ToggleUplink(t.Context()); err != nil {
		t.Fatal(err)
	}
	n = accepted(n + 100)
	if err := p.KillEdge(t.Context()); err != nil {
		t.Fatal(err)
	}
	accepted(n + 100)
	s, err := p.Finish(t.Context(), 15*time.Second)
	if err != nil || !s.Balanced || s.Queued != 0 || s.CloudReceived != s.Upstream.Given {
		t.Errorf("after kill -9: %+v, %v", s, err)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// TestQuickstartRefuses: one clear sentence and a non-zero exit.
func TestQuickstartRefuses(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	state := func(name, version string) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(path, "version"), version)
		return path
	}
	file := filepath.Join(dir, "file")
	write(t, file, "")
	foreign := filepath.Join(state("foreign", "x"), "..")
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"port in use":       {[]string{"--state", filepath.Join(dir, "new"), "--edge-mqtt", busy.Addr().String()}, []string{busy.Addr().String(), "--edge-mqtt"}},
		"not a folder":      {[]string{"--state", filepath.Join(file, "state")}, []string{file, "not a directory"}},
		"old version":       {[]string{"--state", state("old", "0\n")}, []string{`"0"`, "--state"}},
		"somebody's folder": {[]string{"--state", foreign}, []string{"--state"}},
	} {
		stdout, stderr, code := edgectlRun(t, append(freePorts, append(c.args, "--for", "1s")...)...)
		if code == 0 || stdout != "" {
			t.Errorf("%s: exit code %d, standard output %q", name, code, stdout)
		}
		said := strings.Split(strings.TrimSpace(stderr), "\n")
		if len(said) > 2 { // progress, and the sentence
			t.Errorf("%s: %d lines:\n%s", name, len(said), stderr)
		}
		oneSentence(t, said[len(said)-1], c.says...)
	}
}
