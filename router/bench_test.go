package router

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/penstock/message"
	"github.com/penstock-io/penstock/rules"
	"github.com/penstock-io/penstock/store"
)

const benchRule = `rules:
  - name: hot
    from: devices/*
    where: body.machine.temperature > 25
    into: $upstream
`

func telemetry(n int, ids bool) []message.Message {
	body := fmt.Appendf(nil, `{"machine":{"id":"press-7","temperature":31.5},"pad":"%0200d"}`, 0)
	ms := make([]message.Message, n)
	for i := range ms {
		ms[i] = message.Message{Kind: message.Telemetry, QoS: 1, Device: "press-7", Body: body, Accepted: time.Now().UnixMilli()}
		if ids {
			ms[i].System = []message.Property{{Name: message.SysMessageID, Value: "0123456789abcdef"}}
		}
	}
	return ms
}

// BenchmarkAccept keeps 16 batches of 64 messages under way, as 16 connections
// with a window of 64 do; one op is one message.
func BenchmarkAccept(b *testing.B) {
	for _, ids := range []bool{false, true} {
		b.Run(fmt.Sprintf("ids=%v", ids), func(b *testing.B) {
			set, err := rules.Compile(rules.Input{Files: []rules.File{{Name: "bench.yaml", Data: []byte(benchRule)}}})
			if err != nil {
				b.Fatal(err)
			}
			r := newBench(b, Config{}, store.Config{}, nil)
			swap(b, r.Router, set)
			const size, connections = 64, 16
			idle := make(chan *message.Batch, connections)
			for range connections {
				idle <- &message.Batch{Messages: telemetry(size, ids), Done: func(done *message.Batch, errs []error) {
					if errs != nil {
						b.Error(errs)
					}
					idle <- done
				}}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				batch := <-idle
				if ids {
					rename(batch.Messages, n)
				}
				r.Accept(batch)
			}
			for range connections {
				<-idle
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			if l := r.Ledger(); l.Unrouted+l.Duplicates+l.Refused > 0 || !l.Total.Balanced {
				b.Errorf("ledger %+v", l)
			}
		})
	}
}

func rename(ms []message.Message, n int) {
	for i := range ms {
		ms[i].System[0].Value = fmt.Sprintf("%016x", n+i)
	}
}

// BenchmarkPump drains a queue into a sink that takes everything at once.
func BenchmarkPump(b *testing.B) {
	r := newBench(b, Config{}, store.Config{}, nil)
	swap(b, r.Router, to{"a"})
	batch := telemetry(1000, false)
	for n := 0; n < b.N; n += len(batch) {
		if errs := r.accept(batch...); errs != nil {
			b.Fatal(errs)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	attach(b, r.Router, "a", takeAll, PumpConfig{})
	r.run()
	eventually(b, "an empty queue", func() bool { return r.figures("a").Queued == 0 })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
