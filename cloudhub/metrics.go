package cloudhub

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/broker"
)

// brokerCollectors are the broker's counters as metrics.
func brokerCollectors(s *broker.Stats) []prometheus.Collector {
	counter := func(name, help string, v *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "cloudhub_mqtt_" + name + "_total", Help: help},
			func() float64 { return float64(v.Load()) })
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cloudhub_mqtt_connections", Help: "Sessions connected now."},
			func() float64 { return float64(s.Connections.Load()) }),
		counter("accepted", "Messages handed to the ingress.", &s.Accepted),
		counter("delivered", "PUBLISH packets written to clients.", &s.Delivered),
		counter("refused_connections", "Sockets and CONNECTs refused.", &s.Refused),
		counter("malformed", "Connections ended for a packet the specification forbids.", &s.Malformed),
		counter("refused_publishes", "Publishes refused for topic, authorisation, size or quota.", &s.Unpublished),
		counter("dropped", "Live copies dropped because the subscriber did not read.", &s.Dropped),
		counter("panics", "Connections ended by a recovered panic.", &s.Panics),
	}
}
