package broker_test

import (
	"fmt"
	"testing"

	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

func TestEveryQoSArrivesInOrder(t *testing.T) {
	bothVersions(t, func(t *testing.T, v byte) {
		s := simple(t)
		sub, pub := s.join(t, v, mt.Connect{ClientID: "sub"}), s.join(t, v, mt.Connect{ClientID: "pub"})
		sub.Subscribe("a/#", 2)
		for qos := byte(0); qos < 3; qos++ {
			for i := range 100 {
				pub.Publish(mt.Publish{Topic: "a/b", Payload: fmt.Sprint(i), QoS: qos})
			}
			for i := range 100 {
				p := sub.Receive()
				if p.Topic != "a/b" || string(p.Payload) != fmt.Sprint(i) || p.QoS != qos || p.Dup || p.Retain {
					t.Fatalf("message %d of QoS %d: %s", i, qos, p)
				}
			}
		}
		sub.Disconnect()
	})
}

func TestRetainedMessageIsThereAtOnce(t *testing.T) {
	for qos := byte(0); qos < 3; qos++ {
		s := simple(t)
		c := s.join(t, mt.V5, mt.Connect{ClientID: "c"})
		// No wait for an acknowledgement in between.
		c.Send(mt.Publish{Topic: "r", Payload: "x", QoS: qos, Retain: true, ID: 1}.Bytes(mt.V5)...)
		c.Subscribe("r", 2)
		c.Ping()
		for {
			p, err := c.Read()
			if err != nil {
				t.Fatalf("QoS %d: %v", qos, err)
			}
			if p.Type == mt.PUBLISH {
				if !p.Retain || p.QoS != qos {
					t.Errorf("got %s", p)
				}
				break
			}
		}
	}
}
