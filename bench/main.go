// Command bench measures edgehub beside other brokers in one run on one machine
// and writes the table of docs/benchmarks.md. Peers take turns (A B C A B C …);
// each figure is the median of the rounds. Read ratios, not absolute figures.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

type scenario struct {
	name string
	load Load
}

func scenarios(d time.Duration) []scenario {
	mk := func(conns, window int) Load {
		return Load{Conns: conns, Window: window, Size: 256, For: d, Warm: d / 4, Topic: "plant/line1/temp"}
	}
	return []scenario{
		{"1 connection, window 1", mk(1, 1)},
		{"1 connection, window 64", mk(1, 64)},
		{"16 connections, window 64", mk(16, 64)},
		{"100 connections, window 64", mk(100, 64)},
	}
}

func main() {
	var (
		out    = flag.String("out", "", "write the table to this file, too")
		rounds = flag.Int("rounds", 3, "rounds per peer and scenario")
		length = flag.Duration("for", 4*time.Second, "length of one measurement")
		only   = flag.String("only", "", "measure this peer only")
		bin    = flag.String("edgehub", "", "edgehub program to measure; built from this checkout when empty")
		mochi  = flag.String("serve-mochi", "", "internal: serve plain mochi on this address")
	)
	flag.Parse()
	if *mochi != "" {
		fail(serveMochi(*mochi))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *bin == "" {
		dir, err := os.MkdirTemp("", "bench-bin-")
		fail(err)
		defer os.RemoveAll(dir)
		*bin = filepath.Join(dir, "edgehub")
		build := exec.Command("go", "build", "-o", *bin, "./cmd/edgehub")
		build.Stderr = os.Stderr
		fail(build.Run())
	}
	t := table{}
	for _, s := range scenarios(*length) {
		for round := range *rounds {
			for _, p := range peers(*bin) {
				if *only != "" && p.name != *only || ctx.Err() != nil {
					continue
				}
				r, err := measure(ctx, p, s.load)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s, %s: %v\n", p.name, s.name, err)
					continue
				}
				fmt.Fprintf(os.Stderr, "round %d: %-18s %-28s %9.0f/s  p50 %-9v p99 %v\n", round+1, p.name, s.name, r.Rate(), r.P50, r.P99)
				t.add(s.name, p.name, r)
			}
		}
	}
	t.print(os.Stdout, peers(*bin))
	if *out != "" {
		f, err := os.Create(*out)
		fail(err)
		t.print(f, peers(*bin))
		fail(f.Close())
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure gives every measurement a fresh process and an empty store.
func measure(ctx context.Context, p peer, l Load) (Result, error) {
	addr, stop, err := p.running(ctx)
	if err != nil {
		return Result{}, err
	}
	defer stop()
	l.Addr, l.User, l.Secret = addr, p.user, p.secret
	if p.queued {
		if err := l.Subscribe("offline", "plant/#"); err != nil {
			return Result{}, err
		}
	}
	return l.Run()
}

type cell struct{ scenario, peer string }

type table struct {
	order []string
	cells map[cell][]Result
}

func (t *table) add(scenario, peer string, r Result) {
	if t.cells == nil {
		t.cells = map[cell][]Result{}
	}
	if !slices.Contains(t.order, scenario) {
		t.order = append(t.order, scenario)
	}
	k := cell{scenario, peer}
	t.cells[k] = append(t.cells[k], r)
}

func (t *table) print(w io.Writer, ps []peer) {
	fmt.Fprintf(w, "# Benchmarks\n\nWritten by `make bench` on %s with %d cores, %s, on %s. Load generator and broker share the machine,\n"+
		"so read ratios, not absolute figures. 256-byte messages, QoS 1, MQTT 3.1.1, medians of the rounds, peers taking turns.\n\n"+
		"edgehub stores each message through one rule with a condition on the body (`body.machine.temperature > 25`) and acknowledges\n"+
		"after the synced commit; the others hold an offline subscriber's queue in memory and acknowledge from there.\n",
		runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), runtime.Version(), time.Now().Format("2006-01-02"))
	for _, s := range t.order {
		fmt.Fprintf(w, "\n## %s\n\n| broker | acknowledged when | messages/s | p50 | p99 | ratio to mosquitto |\n|---|---|--:|--:|--:|--:|\n", s)
		base := median(t.cells[cell{s, "mosquitto"}], Result.Rate)
		for _, p := range ps {
			rs := t.cells[cell{s, p.name}]
			if len(rs) == 0 {
				continue
			}
			rate := median(rs, Result.Rate)
			ratio := "-"
			if base > 0 {
				ratio = fmt.Sprintf("%.2f", rate/base)
			}
			fmt.Fprintf(w, "| %s | %s | %.0f | %.2f ms | %.2f ms | %s |\n", p.name, p.when, rate,
				median(rs, func(r Result) float64 { return r.P50.Seconds() * 1e3 }),
				median(rs, func(r Result) float64 { return r.P99.Seconds() * 1e3 }), ratio)
		}
	}
}

func median(rs []Result, f func(Result) float64) float64 {
	if len(rs) == 0 {
		return 0
	}
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = f(r)
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}
