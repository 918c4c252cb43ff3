package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/penstock-io/penstock/internal/quickstart"
)

// view is the quickstart's live table, drawn over itself on a terminal and once
// every few seconds elsewhere.
type view struct {
	out   *output
	live  bool // standard error is a terminal
	keys  bool
	said  string
	drawn time.Time
}

const plainEvery = 5 * time.Second

func newView(out *output, keys bool) *view {
	live := term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == ""
	return &view{out: out, live: live, keys: keys}
}

// say keeps one line below the table.
func (v *view) say(err error, done string) {
	v.said = done
	if err != nil {
		v.said = err.Error()
	}
}

func (v *view) draw(ctx context.Context, p *quickstart.Pipeline) {
	if !v.live && time.Since(v.drawn) < plainEvery {
		return
	}
	v.drawn = time.Now()
	text := v.text(ctx, p)
	if v.live {
		// Home, then each line clears its rest, then all below: no flicker.
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\r\n") + "\x1b[J"
	}
	fmt.Fprint(v.out.progress, text)
}

func (v *view) text(ctx context.Context, p *quickstart.Pipeline) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var b bytes.Buffer
	s, err := p.Summary(ctx)
	if err != nil {
		return fmt.Sprintf("no figures now: %v\n", err)
	}
	st, err := p.Status(ctx)
	if err != nil {
		return fmt.Sprintf("no figures now: %v\n", err)
	}
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row(w, "RULE", "QUEUE", "ACCEPTED", "DELIVERED", "QUEUED", "EXPIRED", "DROPPED", "BURIED", "RATE", "OLDEST")
	for _, e := range s.Rules {
		row(w, e.Rule, e.Queue, e.Accepted, e.Delivered, e.Queued, e.Expired, e.DroppedTotal(), e.Buried, fmt.Sprintf("%.1f/s", e.Rate), age(&e.Figures))
	}
	_ = w.Flush() // into memory
	fmt.Fprintf(&b, "\nuplink   %s\n", v.uplink(st.Uplink.State))
	fmt.Fprintf(&b, "cloud    %d messages, %d duplicates refused\n", s.CloudReceived, s.CloudDuplicates)
	fmt.Fprintf(&b, "ledger   %s\n", v.balance(s.Balanced))
	for _, e := range st.Rules.Errors {
		fmt.Fprintf(&b, "rules    %s\n", e)
	}
	if v.keys && v.live {
		fmt.Fprintf(&b, "\no uplink  k kill edgehub  q quit   %s\n", v.said)
	}
	return b.String()
}

func (v *view) uplink(state string) string {
	if state == "connected" {
		return v.colour(32, state)
	}
	return v.colour(33, state)
}

func (v *view) balance(ok bool) string {
	if ok {
		return v.colour(32, "balanced")
	}
	return v.colour(31, "DOES NOT BALANCE")
}

func (v *view) colour(code int, text string) string {
	if v.out.noColor || !v.live {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", code, text)
}
