package edgehub

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/edgehub/client"
	"github.com/penstock-io/penstock/edgehub/uplink"
)

// Version is the release this program was built from, or the module's own.
var Version = func() string {
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" {
		return i.Main.Version
	}
	return "(devel)"
}()

// Status is what the hub says of itself.
func (h *Hub) Status() client.Status {
	st, bs := h.store.Stats(), h.broker.Stats()
	s := client.Status{
		Device: h.cfg.Device.ID, Version: Version, Epoch: h.store.Epoch(), Started: h.started, Rules: h.rules.status(),
		Store: client.Store{QueuedBytes: st.QueuedBytes, DiskBytes: st.DiskBytes, DiskFull: st.DiskFull, Commits: st.Commits},
		Broker: client.Broker{
			Connections: bs.Connections.Load(), Accepted: bs.Accepted.Load(), Delivered: bs.Delivered.Load(),
			Refused: bs.Unpublished.Load(), Malformed: bs.Malformed.Load(), Dropped: bs.Dropped.Load(),
		},
	}
	if h.uplink != nil {
		u := h.uplink.Status()
		s.Uplink = &client.Uplink{
			State: string(u.State), Address: u.Address, Since: u.Since, LastError: u.LastError,
			InFlight: u.InFlight, Sent: u.Sent, Reconnects: u.Reconnects,
		}
	}
	return s
}

// collector exports what is neither the router's nor countable by it.
type collector struct {
	h     *Hub
	descs map[string]*prometheus.Desc
}

func newCollector(h *Hub) *collector {
	c := &collector{h: h, descs: make(map[string]*prometheus.Desc)}
	for name, help := range map[string]string{
		"edgehub_connected_clients":               "MQTT clients connected now.",
		"edgehub_publishes_refused_total":         "Publishes refused: topic, authorization, size or quota.",
		"edgehub_malformed_packets_total":         "Connections ended for a packet the specification forbids.",
		"edgehub_subscriber_copies_dropped_total": "Live copies dropped because their subscriber did not read.",
		"edgehub_store_disk_bytes":                "Disk space the store takes.",
		"edgehub_store_queued_bytes":              "Bytes of the messages in all queues.",
		"edgehub_store_commits_total":             "Synced commits.",
		"edgehub_uplink_connected":                "1 while the uplink is connected.",
		"edgehub_uplink_sent_total":               "Messages the parent has acknowledged.",
	} {
		c.descs[name] = prometheus.NewDesc(name, help, nil, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.h.Status()
	emit := func(name string, kind prometheus.ValueType, v float64) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], kind, v)
	}
	emit("edgehub_connected_clients", prometheus.GaugeValue, float64(s.Broker.Connections))
	emit("edgehub_publishes_refused_total", prometheus.CounterValue, float64(s.Broker.Refused))
	emit("edgehub_malformed_packets_total", prometheus.CounterValue, float64(s.Broker.Malformed))
	emit("edgehub_subscriber_copies_dropped_total", prometheus.CounterValue, float64(s.Broker.Dropped))
	emit("edgehub_store_disk_bytes", prometheus.GaugeValue, float64(s.Store.DiskBytes))
	emit("edgehub_store_queued_bytes", prometheus.GaugeValue, float64(s.Store.QueuedBytes))
	emit("edgehub_store_commits_total", prometheus.CounterValue, float64(s.Store.Commits))
	if s.Uplink == nil {
		return
	}
	up := 0.0
	if s.Uplink.State == string(uplink.Connected) {
		up = 1
	}
	emit("edgehub_uplink_connected", prometheus.GaugeValue, up)
	emit("edgehub_uplink_sent_total", prometheus.CounterValue, float64(s.Uplink.Sent))
}
