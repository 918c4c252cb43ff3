package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"

	"github.com/penstock-io/penstock/message"
)

// ParseMessageJSON reads a message as people write it for explanations:
//
//	{
//	  "device": "edge", "module": "sensor", "output": "temperature",
//	  "topic": "plant/a/temp",            // instead: a plain MQTT message
//	  "twin_change": true,                // instead: a twin change of device and module
//	  "system": {"contentType": "application/json"},
//	  "properties": {"alert": "true", "bare": null},
//	  "body": {"machine": {"temperature": 30}},
//	  "accepted": 1700000000000, "expires": 0   // Unix milliseconds
//	}
//
// Every key may be left out; unknown keys are errors. A body that is a string
// stands for its text, any other value for its JSON.
func ParseMessageJSON(data []byte) (message.Message, error) {
	var in struct {
		Device     string             `json:"device"`
		Module     string             `json:"module"`
		Output     string             `json:"output"`
		Topic      string             `json:"topic"`
		TwinChange bool               `json:"twin_change"`
		System     map[string]*string `json:"system"`
		Properties map[string]*string `json:"properties"`
		Body       json.RawMessage    `json:"body"`
		Accepted   int64              `json:"accepted"`
		Expires    int64              `json:"expires"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return message.Message{}, fmt.Errorf("read message: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return message.Message{}, fmt.Errorf("read message: more follows the message; expected one JSON object")
	}
	m := message.Message{
		Device: in.Device, Module: in.Module, Output: in.Output, Topic: in.Topic,
		System: propertyList(in.System), Properties: propertyList(in.Properties),
		Body: in.Body, Accepted: in.Accepted, Expires: in.Expires,
	}
	var text string
	if json.Unmarshal(in.Body, &text) == nil && len(in.Body) > 0 && in.Body[0] == '"' {
		m.Body = []byte(text)
	}
	switch {
	case in.TwinChange && in.Topic != "":
		return message.Message{}, fmt.Errorf("read message: topic beside twin_change; expected one of both")
	case in.TwinChange:
		m.Kind = message.TwinChange
	case in.Topic != "":
		m.Kind = message.Plain
	}
	return m, nil
}

// propertyList is sorted by name; a null value is a property without one.
func propertyList(from map[string]*string) []message.Property {
	out := make([]message.Property, 0, len(from))
	for name, value := range from {
		p := message.Property{Name: name, Null: value == nil}
		if value != nil {
			p.Value = *value
		}
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
