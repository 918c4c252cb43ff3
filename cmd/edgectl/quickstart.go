package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock-io/penstock/internal/quickstart"
)

func quickstartCommand(out *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "quickstart", Short: "Run a whole pipeline on this machine and watch it", Args: noArgs,
		Long: "Starts a cloudhub and an edgehub as processes of their own, registers a device, applies\nsample rules, runs a simulated machine and a module, and shows every rule's balance.\n\nKeys: o cuts and restores the uplink, k kills the edgehub (kill -9) and starts it again,\nq quits. State is kept in --state and resumed.",
	}
	o := quickstart.Options{Addresses: quickstart.DefaultAddresses}
	s := cmd.Flags()
	s.StringVar(&o.State, "state", quickstart.DefaultState, "folder for everything it keeps")
	s.StringVar(&o.Addresses.Edge, "edge-mqtt", o.Addresses.Edge, "edgehub's MQTT listener; port 0 picks a free one, here and below")
	s.StringVar(&o.Addresses.Cloud, "cloud-mqtt", o.Addresses.Cloud, "cloudhub's MQTT listener")
	s.StringVar(&o.Addresses.API, "api", o.Addresses.API, "cloudhub's HTTP API")
	s.StringVar(&o.Addresses.NATS, "nats", o.Addresses.NATS, "the embedded NATS server, for consumers")
	s.Float64Var(&o.Rate, "rate", 20, "readings per second")
	length := s.Duration("for", 0, "run unattended so long, then print the balance and exit; 0: until q")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.Rate <= 0 || o.Rate > 10_000 {
			return usage("--rate %g: want more than 0 and at most 10000", o.Rate)
		}
		out.note("starting cloudhub and edgehub; state in %s", o.State)
		p, err := quickstart.Start(cmd.Context(), o)
		if err != nil {
			return err
		}
		defer p.Close()
		if err := watch(cmd.Context(), out, p, *length); err != nil {
			return err
		}
		out.note("stopping the machine, waiting for what is queued")
		sum, err := p.Finish(context.WithoutCancel(cmd.Context()), 15*time.Second)
		if err != nil {
			return err
		}
		if err := printSummary(out, &sum); err != nil {
			return err
		}
		if !sum.Balanced {
			return errors.New("the ledger does not balance")
		}
		return nil
	}
	return cmd
}

// watch shows the pipeline until its time is over, q is pressed or a hub is gone.
func watch(ctx context.Context, out *output, p *quickstart.Pipeline, length time.Duration) error {
	keys, restore := keyboard()
	defer restore()
	var over <-chan time.Time
	if length > 0 {
		over = time.After(length)
	}
	v := newView(out, length == 0)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			return nil
		case k := <-keys:
			switch k {
			case 'q', 3: // Ctrl-C comes as a byte while the terminal is raw
				return nil
			case 'o':
				v.say(p.ToggleUplink(ctx), "uplink toggled")
			case 'k':
				v.say(p.KillEdge(ctx), "edgehub was killed and is back")
			}
		case <-tick.C:
			if err := p.Check(); err != nil {
				return err
			}
			v.draw(ctx, p)
		}
	}
}

// keyboard gives single keys when standard input is a terminal.
func keyboard() (keys <-chan byte, restore func()) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, func() {}
	}
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, func() {}
	}
	ch := make(chan byte)
	go func() { // ends with the process: a read of the terminal cannot be interrupted
		var b [1]byte
		for {
			if n, err := os.Stdin.Read(b[:]); err != nil || n == 0 {
				return
			}
			ch <- b[0]
		}
	}()
	return ch, func() { _ = term.Restore(fd, old) }
}

func printSummary(out *output, s *quickstart.Summary) error {
	return out.print(s, func(w io.Writer) {
		row(w, "accepted", s.Accepted)
		row(w, "delivered", s.Delivered)
		row(w, "queued", s.Queued)
		row(w, "expired", s.Expired)
		row(w, "dropped", s.Dropped)
		row(w, "buried", s.Buried)
		row(w, "in the cloud", s.CloudReceived)
		row(w, "refused there as duplicates", s.CloudDuplicates)
		row(w, "balanced", yes(s.Balanced))
	})
}
