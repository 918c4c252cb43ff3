package ingress

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/penstock-io/penstock/cloudhub/stream"
	"github.com/penstock-io/penstock/message"
)

const (
	benchBatch = 100 // messages of one Accept
	benchBody  = 256
)

// BenchmarkAccept compares, in one run on one server, what the ingress takes
// with what a bare JetStream client stores in atomic batches of the same
// messages: the difference is deduplication, headers and waiting for each other.
// One iteration is one message.
func BenchmarkAccept(b *testing.B) {
	for name, f := range map[string]func(*testing.B, *cloud){
		"ingress": benchIngress, "raw-100": rawBatches(benchBatch), "raw-1000": rawBatches(maxChunk),
	} {
		b.Run(name, func(b *testing.B) {
			c := newCloud(b)
			f(b, c)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func benchIngress(b *testing.B, c *cloud) {
	g, stop := c.ingress(c.inProcess(), Config{})
	body := make([]byte, benchBody)
	flight := make(chan struct{}, 64) // batches in flight, as from 64 connections
	done := func(_ *message.Batch, errs []error) {
		if errs != nil {
			b.Error(errs)
		}
		<-flight
	}
	b.ReportAllocs()
	b.ResetTimer()
	for seq := 0; seq < b.N; {
		ms := make([]message.Message, min(benchBatch, b.N-seq))
		for i := range ms {
			seq++
			ms[i] = message.Message{
				Device: "press-7", Accepted: 1_700_000_000_000, Body: body,
				System: []message.Property{{Name: message.SysContentType, Value: "application/json"}},
				Origin: message.Origin{Device: "edge", Epoch: "e1", Seq: uint64(seq), Floor: 1},
			}
		}
		flight <- struct{}{}
		g.Accept(&message.Batch{Messages: ms, Done: done})
	}
	for range cap(flight) {
		flight <- struct{}{}
	}
	b.StopTimer()
	stop()
}

// rawBatches publishes atomic batches of size messages, one after the other.
func rawBatches(size int) func(*testing.B, *cloud) {
	return func(b *testing.B, c *cloud) {
		nc := c.inProcess().Conn()
		body := make([]byte, benchBody)
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; {
			id, k := nuid.Next(), min(size, b.N-n)
			for i := range k {
				m := &nats.Msg{Subject: "hub.messages.press-7", Data: body, Header: nats.Header{
					headerBatchID: {id}, headerBatchSeq: {strconv.Itoa(i + 1)},
				}}
				if i < k-1 {
					if err := nc.PublishMsg(m); err != nil {
						b.Fatal(err)
					}
					continue
				}
				m.Header.Set(headerBatchEnd, "1")
				reply, err := nc.RequestMsg(m, time.Minute)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := answer(reply.Data, uint64(n+k)); err != nil {
					b.Fatal(err)
				}
			}
			n += k
		}
	}
}

// inProcess connects without a socket, as the product does.
func (c *cloud) inProcess() *stream.Stream {
	c.t.Helper()
	nc, err := stream.Connect("", c.srv.InProcess()...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	s, err := stream.Open(ctx(c.t), nc, stream.Config{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}
