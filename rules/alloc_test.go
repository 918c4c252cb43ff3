//go:build !race

package rules

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/message"
)

// TestMatchAllocatesNothing: the hot path of a telemetry rule with a condition.
func TestMatchAllocatesNothing(t *testing.T) {
	s := compileText(t, strings.Replace(sample, "modules/sensor/outputs", "modules/tempSensor/outputs", 1))
	m := message.Message{Module: "tempSensor", Output: "temperature", Accepted: 1, Body: body256}
	dst := make([]message.Target, 0, 4)
	if n := testing.AllocsPerRun(200, func() { dst = s.Match(&m, dst[:0]) }); n > 0.5 || len(dst) != 1 {
		t.Errorf("%v allocations, %d targets", n, len(dst))
	}
}
