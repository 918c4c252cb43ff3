package store

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/message"
)

// BenchmarkAppend measures synced commits of n messages of 256 bytes, one after
// the other.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 256, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openAt(b, Config{Dir: b.TempDir()})
			data := message.Append(nil, &message.Message{Kind: message.Plain, Topic: "sensors/kitchen/temp", Body: make([]byte, 256)})
			targets := []message.Target{{Queue: "q", Rule: "r"}}
			items := make([]Item, n)
			for i := range items {
				items[i] = Item{Data: data, Accepted: 1, Targets: targets}
			}
			done := make(chan []error, 1)
			r := &Request{Items: items, Done: func(_ *Request, errs []error) { done <- errs }}
			b.ReportAllocs()
			for b.Loop() {
				s.Append(r)
				if errs := <-done; errs != nil {
					b.Fatal(errs)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkConsume measures lease and settlement of a backlog on disk.
func BenchmarkConsume(b *testing.B) {
	for _, batch := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("commits of ", batch), func(b *testing.B) {
			s := openAt(b, Config{Dir: b.TempDir(), CacheBytes: 1})
			total := 0
			for b.Loop() {
				b.StopTimer()
				fill(b, s, "q", 10_000, 256, batch)
				b.StartTimer()
				total += drain(b, queue(b, s, "q"))
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
