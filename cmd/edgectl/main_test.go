package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/penstock-io/penstock/configs"
	"github.com/penstock-io/penstock/edgehub"
	edge "github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/internal/quickstart"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"edgectl": main})
}

// TestScripts runs the real program against real hubs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "hub": hub, "ready": ready, "clients": clients,
		},
	})
}

// exits CODE PROGRAM ARGS… runs a program that must end with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// clients N waits until so many clients are connected to $PENSTOCK_EDGE.
func clients(ts *testscript.TestScript, _ bool, args []string) {
	wait(ts, func() error {
		s, err := edge.New(ts.Getenv("PENSTOCK_EDGE")).Status(context.Background())
		if n := strconv.FormatInt(s.Broker.Connections, 10); err == nil && n != args[0] {
			err = errors.New(n + " clients are connected")
		}
		return err
	})
}

// hub FILE starts an edgehub in this process until the script ends. $PENSTOCK_EDGE
// leads to it, and $MQTT is its listener named mqtt.
func hub(ts *testscript.TestScript, _ bool, args []string) {
	dir, err := os.MkdirTemp("", "hub") // a socket's path must be short
	ts.Check(err)
	ts.Defer(func() { ts.Check(os.RemoveAll(dir)) })
	cfg, err := configs.LoadEdgeHub(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	cfg.API.Socket = filepath.Join(dir, "edgehub.sock")
	h, err := edgehub.New(cfg, slog.New(slog.DiscardHandler))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-done)
	})
	ts.Setenv("PENSTOCK_EDGE", cfg.API.Socket)
	ts.Setenv("MQTT", h.Addr("mqtt"))
	wait(ts, func() error {
		_, err := edge.New(cfg.API.Socket).Status(ctx)
		return err
	})
}

// ready waits for the quickstart in the current folder.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	socket := quickstart.EdgeSocket(ts.MkAbs(quickstart.DefaultState))
	wait(ts, func() error {
		s, err := edge.New(socket).Status(context.Background())
		if err == nil && s.Broker.Accepted == 0 {
			err = errors.New("the machine has not sent anything")
		}
		return err
	})
}

func wait(ts *testscript.TestScript, f func() error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("not within %v: %v", patience, err)
		}
	}
}
