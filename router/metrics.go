package router

import "github.com/prometheus/client_golang/prometheus"

// The metrics follow the names of Azure's edgeHub where it has one.
var (
	descReceived = prometheus.NewDesc("edgehub_messages_received_total", "Messages accepted into a queue by a rule.", []string{"rule", "queue"}, nil)
	descSent     = prometheus.NewDesc("edgehub_messages_sent_total", "Messages delivered from a queue.", []string{"rule", "queue"}, nil)
	descDropped  = prometheus.NewDesc("edgehub_messages_dropped_total", "Messages that left without being delivered.", []string{"reason", "rule", "queue"}, nil)
	descLength   = prometheus.NewDesc("edgehub_queue_length", "Messages waiting in a queue.", []string{"queue"}, nil)
	descOldest   = prometheus.NewDesc("edgehub_queue_oldest_age_seconds", "Age of the oldest message waiting in a queue.", []string{"queue"}, nil)
	descUnrouted = prometheus.NewDesc("edgehub_messages_unrouted_total", "Messages that no rule and no session wanted.", nil, nil)
	descRepeated = prometheus.NewDesc("edgehub_messages_duplicate_total", "Messages that repeated an earlier message id.", nil, nil)
	descRefused  = prometheus.NewDesc("edgehub_messages_refused_total", "Messages that could not be stored and were not acknowledged.", nil, nil)
)

// Describe implements prometheus.Collector.
func (r *Router) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReceived, descSent, descDropped, descLength, descOldest, descUnrouted, descRepeated, descRefused} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. The queues of sessions share one
// label: there may be as many as clients.
func (r *Router) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	rules, queues := r.labelled()
	for k, f := range rules {
		counter(descReceived, f.Accepted, k.rule, k.queue)
		counter(descSent, f.Delivered, k.rule, k.queue)
		f.Dropped["expired"] += f.Expired
		f.Dropped["buried"] += f.Buried
		for reason, n := range f.Dropped {
			counter(descDropped, n, reason, k.rule, k.queue)
		}
	}
	for queue, f := range queues {
		gauge(descLength, float64(f.Queued), queue)
		gauge(descOldest, f.OldestAgeSeconds, queue)
	}
	counter(descUnrouted, r.count.unrouted.Load())
	counter(descRepeated, r.count.duplicates.Load())
	counter(descRefused, r.count.refused.Load())
}

// labelled sums the accounts by the labels they are shown under.
func (r *Router) labelled() (rules map[accountKey]*Figures, queues map[string]*Figures) {
	rules, queues = make(map[accountKey]*Figures), make(map[string]*Figures)
	accounts := r.store.Ledger()
	for i := range accounts {
		e := entryOf(&accounts[i])
		k := accountKey{e.Queue, e.Rule}
		if isSession(k.queue) {
			k = accountKey{"session", "session"}
		}
		if rules[k] == nil {
			rules[k] = &Figures{Dropped: make(map[string]uint64)}
		}
		if queues[k.queue] == nil {
			queues[k.queue] = &Figures{Dropped: make(map[string]uint64)}
		}
		rules[k].add(&e.Figures)
		queues[k.queue].add(&e.Figures)
	}
	return rules, queues
}
