package broker_test

import (
	"net"
	"testing"
	"time"

	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

// FuzzConnected sends arbitrary bytes after a valid CONNECT. Whatever they are,
// the broker closes or goes on, and a neighbour's messages keep coming.
func FuzzConnected(f *testing.F) {
	for _, v := range []byte{mt.V311, mt.V5} {
		f.Add(v == mt.V5, mt.Publish{Topic: "t", Payload: "x", QoS: 2, ID: 1}.Bytes(v))
		f.Add(v == mt.V5, append(mt.Publish{Topic: "t", QoS: 1, ID: 1, Retain: true}.Bytes(v), mt.Ack(v, mt.PUBREL, 1, 0)...))
		f.Add(v == mt.V5, mt.Bytes(0x82, []byte{0, 1}, mt.Field("#"), []byte{2}))
	}
	f.Add(true, mt.Bytes(0x82, []byte{0, 1, 2, 11, 1}, mt.Field("$share/g/a"), []byte{0x2d}, mt.Field("+/#"), []byte{2}))
	f.Add(true, mt.Bytes(0x82, []byte{0, 1, 0}, mt.Field("a"))) // kills the library's decoder
	f.Add(true, mt.Bytes(0xa2, []byte{0, 1, 0}, mt.Field("a")))
	f.Add(true, mt.Bytes(0xe0, []byte{4, 5, 17, 0, 0, 0, 0}))
	f.Add(true, mt.Bytes(0x30, mt.Field("a"), []byte{3, 35, 0, 1}, []byte("x")))
	f.Add(false, []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(false, []byte{0x40, 2, 0, 1, 0x50, 2, 0, 1, 0x62, 2, 0, 1, 0x70, 2, 0, 1, 0xc0, 0})

	s := simple(f)
	f.Fuzz(func(t *testing.T, v5 bool, b []byte) {
		v := mt.V311
		if v5 {
			v = mt.V5
		}
		neighbour := s.join(t, mt.V5, mt.Connect{})
		neighbour.Subscribe("neighbour/+", 1)
		c, err := net.DialTimeout("tcp", s.addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write(append(mt.Connect{}.Bytes(v), b...)) // it may be closed by now
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		sink := make([]byte, 4096)
		for err == nil {
			_, err = c.Read(sink)
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Fatal("the connection did not end after its input had")
		}
		if n := s.Stats().Panics.Load(); n != 0 {
			t.Fatalf("%d panics", n)
		}
		neighbour.Publish(mt.Publish{Topic: "neighbour/x", QoS: 1})
		for p := neighbour.Receive(); p.Topic != "neighbour/x"; {
			p = neighbour.Receive() // what the input published there
		}
	})
}
