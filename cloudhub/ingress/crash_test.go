package ingress

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

// childEnv names the state folder in the environment of a child process that
// is a cloud of its own: server and ingress in one, as in the product.
const childEnv = "PENSTOCK_INGRESS_CHILD"

// child accepts batches of sequences named on stdin, "edge from to" a line, and
// answers each on stdout once it is done.
func child() {
	dir := os.Getenv(childEnv)
	srv, err := stream.StartServer(stream.ServerConfig{Dir: dir + "/nats", Token: "t"}, quiet())
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	nc, err := stream.Connect("", srv.InProcess()...)
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	s, err := stream.Open(context.Background(), nc, stream.Config{})
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	g, err := New(context.Background(), s, Config{Snapshot: dir + "/index.snapshot", SnapshotEvery: 1}, quiet())
	if err != nil {
		fmt.Println("fault", err)
		return
	}
	go g.Run(context.Background())
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		line := in.Text()
		var edge string
		var from, to uint64
		fmt.Sscan(line, &edge, &from, &to)
		g.Accept(&message.Batch{Messages: sent(edge, "e1", from, to), Done: func(_ *message.Batch, errs []error) {
			if errs == nil {
				fmt.Println(line)
			}
		}})
	}
}

// publisher keeps the ledger of one edge: batches of ten, window of batches in
// flight, everything unacknowledged sent again after a crash, in order.
type publisher struct {
	edge          string
	acked, posted uint64 // highest sequence acknowledged, and sent in this life
}

const (
	perBatch = 10
	inFlight = 8 * perBatch
)

func (p *publisher) pump(in *bufio.Writer) error {
	for p.posted < p.acked+inFlight {
		fmt.Fprintln(in, p.edge, p.posted+1, p.posted+perBatch)
		p.posted += perBatch
	}
	return in.Flush()
}

func TestKilledInTheMiddleOfLoad(t *testing.T) {
	dir := t.TempDir()
	pubs := map[string]*publisher{"a": {edge: "a"}, "b": {edge: "b"}, "c": {edge: "c"}}
	for round := range 4 {
		life(t, dir, pubs, 400+300*round)
	}
	c := &cloud{t: t, dir: dir, addr: "127.0.0.1:0"}
	c.start()
	t.Cleanup(c.stop)
	got := map[string][]string{}
	for _, o := range holdings(t, c.open()) {
		edge, _, _ := strings.Cut(o, "/")
		got[edge] = append(got[edge], o)
	}
	for edge, p := range pubs {
		have := got[edge]
		if uint64(len(have)) < p.acked {
			t.Fatalf("edge %s: %d acknowledged, %d stored", edge, p.acked, len(have))
		}
		// What is stored beyond the acknowledged was in flight at the last kill.
		if diff := cmp.Diff(expected(edge, "e1", 1, uint64(len(have))), have); diff != "" {
			t.Errorf("edge %s is not there once and in order:\n%s", edge, diff)
		}
	}
}

// life runs the child until so many messages more are acknowledged, then kills it.
func life(t *testing.T, dir string, pubs map[string]*publisher, more int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer cmd.Process.Kill()
	in, out := bufio.NewWriter(stdin), bufio.NewScanner(stdout)
	if !out.Scan() || out.Text() != "ready" {
		t.Fatalf("child said %q", out.Text())
	}
	for _, p := range pubs {
		p.posted = p.acked
		if err := p.pump(in); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < more; got += perBatch {
		if !out.Scan() {
			t.Fatal("child ended")
		}
		var edge string
		var from, to uint64
		fmt.Sscan(out.Text(), &edge, &from, &to)
		p := pubs[edge]
		if from != p.acked+1 {
			t.Fatalf("edge %s: %d acknowledged after %d", edge, from, p.acked)
		}
		p.acked = to
		if err := p.pump(in); err != nil {
			t.Fatal(err)
		}
	}
}
