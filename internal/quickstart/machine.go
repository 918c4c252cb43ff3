package quickstart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/penstock-io/penstock/identity"
	"github.com/penstock-io/penstock/internal/leaf"
	"github.com/penstock-io/penstock/iothub"
	"github.com/penstock-io/penstock/message"
)

// reading is what the simulated machine sends.
type reading struct {
	Machine struct {
		ID          string  `json:"id"`
		Temperature float64 `json:"temperature"`
		Pressure    float64 `json:"pressure"`
	} `json:"machine"`
	At time.Time `json:"at"`
}

// simulate publishes the readings of a machine until ctx ends. Its temperature
// swings through the threshold of the sample rule three times a minute.
func simulate(ctx context.Context, c *leaf.Client, perSecond float64) {
	run := time.Now().UnixNano()
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case at := <-tick.C:
			c.Publish(&message.Message{QoS: 1, Body: readingAt(at), Device: machine, System: []message.Property{
				{Name: message.SysMessageID, Value: fmt.Sprintf("%x-%d", run, n)},
				{Name: message.SysContentType, Value: "application/json"},
				{Name: message.SysContentEncoding, Value: "utf-8"},
			}})
		}
	}
}

func readingAt(at time.Time) []byte {
	var r reading
	swing := math.Sin(2 * math.Pi * float64(at.UnixMilli()%20_000) / 20_000)
	r.Machine.ID, r.At = machine, at.UTC()
	r.Machine.Temperature = math.Round((80+15*swing+rand.Float64())*10) / 10
	r.Machine.Pressure = math.Round((6.2+rand.Float64()*0.2)*1000) / 1000
	b, err := json.Marshal(r)
	if err != nil {
		return nil // plain numbers and texts always encode
	}
	return b
}

// runFilter is the pipeline's module: it takes hot readings from its input and
// sends an alert on its output for each, until the client is closed.
func runFilter(ctx context.Context, c *leaf.Client) error {
	inputs := "devices/" + edgeDevice + "/modules/" + filter + "/inputs/#"
	return c.Subscribe(ctx, inputs, 1, func(topic string, body []byte, _ bool) {
		in, ok := iothub.ParseInput(topic)
		if !ok {
			return
		}
		c.Publish(&message.Message{
			QoS: 1, Device: edgeDevice, Module: filter, Output: "alerts",
			Body:       bytes.Clone(body),
			Properties: []message.Property{{Name: "alert", Value: "hot"}, {Name: "input", Value: in.Input}},
		})
	})
}

// client logs in to the edgehub as one of the quickstart's identities.
func (p *Pipeline) client(device, module, key string) (*leaf.Client, error) {
	return leaf.New(leaf.Options{Address: p.o.Addresses.Edge, Host: hubHost, Device: device, Module: module, Key: identity.Secret(key)})
}
