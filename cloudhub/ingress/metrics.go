package ingress

import "github.com/prometheus/client_golang/prometheus"

// metrics of an ingress; Collectors hands them out for registration.
type metrics struct {
	stored, duplicates, refused, faults prometheus.Counter
	commit, batch                       prometheus.Histogram
	waiting                             prometheus.GaugeFunc
}

func newMetrics(g *Ingress) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "cloudhub_ingress_" + name, Help: help})
	}
	return &metrics{
		stored:     counter("stored_total", "Messages stored in the stream."),
		duplicates: counter("duplicates_total", "Messages acknowledged because the stream had them already."),
		refused:    counter("refused_total", "Messages not taken, for size, gaps or shutdown."),
		faults:     counter("faults_total", "Publishes or reads the stream did not answer well."),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cloudhub_ingress_commit_seconds", Help: "Time from taking up a chunk to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cloudhub_ingress_commit_messages", Help: "Messages stored by one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 6),
		}),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "cloudhub_ingress_waiting_bytes", Help: "Bytes of messages not acknowledged yet.",
		}, func() float64 { return float64(g.Status().WaitingBytes) }),
	}
}

// Collectors are the ingress's metrics.
func (g *Ingress) Collectors() []prometheus.Collector {
	m := g.metrics
	return []prometheus.Collector{m.stored, m.duplicates, m.refused, m.faults, m.commit, m.batch, m.waiting}
}
