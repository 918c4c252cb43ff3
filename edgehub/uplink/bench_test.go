package uplink

import (
	"fmt"
	"log/slog"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/penstock-io/penstock/message"
)

type allowAll struct{ mochi.HookBase }

func (*allowAll) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*allowAll) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*allowAll) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// BenchmarkDeliver sends through one connection to a broker in this process
// that stores nothing: what the uplink itself can carry at most.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{256, 1024} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
			tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
			if server.AddHook(new(allowAll), nil) != nil || server.AddListener(tcp) != nil || server.Serve() != nil {
				b.Fatal("broker did not start")
			}
			b.Cleanup(func() { server.Close() })
			u, err := New(testConfig("mqtt://"+tcp.Address()), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = u.Run(b.Context()) }()
			<-u.Available()
			d := &message.Delivery{Message: message.Message{Kind: message.Plain, Device: "leaf-1", Topic: "plant/7/temp", Body: make([]byte, size)}, Seq: 1 << 20}
			answers := make(chan error, 1<<10)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range b.N {
					if err := <-answers; err != nil {
						b.Error(err)
					}
				}
			}()
			for range b.N {
				u.Deliver(b.Context(), d, func(err error) { answers <- err })
			}
			<-done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
