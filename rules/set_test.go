package rules

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/message"
)

// compileText compiles one file and stops the test if it does not.
func compileText(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Compile(Input{Files: []File{{Name: "rules.yaml", Data: []byte(text)}}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const sample = `rules:
  - name: hot-machines
    from: modules/sensor/outputs/temperature
    where: body.machine.temperature > 25 && properties.alert != "false"
    select: {machine: body.machine.id, t: body.machine.temperature, gone: body.gone}
    into: modules/filter/inputs/in
    priority: 0
    ttl: 2h
`

func TestTheSampleOfTheManual(t *testing.T) {
	s := compileText(t, sample)
	m := &message.Message{
		Device: "edge", Module: "sensor", Output: "temperature", Accepted: 1_000_000,
		Body: []byte(`{"machine":{"id":"m1","temperature":30.10}}`),
	}
	got := s.Match(m, nil)
	want := []message.Target{{Queue: "modules/filter/inputs/in", Rule: "hot-machines", Priority: 0, Expires: 1_000_000 + 2*3600*1000}}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	body, ok := s.Project(&got[0], m)
	if want := `{"machine":"m1","t":30.10,"gone":null}`; !ok || string(body) != want {
		t.Errorf("body %s, want %s", body, want)
	}
	m.Properties = []message.Property{{Name: "alert", Value: "false"}}
	if got := s.Match(m, nil); len(got) != 0 {
		t.Errorf("alert=false: %v", got)
	}
}

func TestSampleConfigurationCompiles(t *testing.T) {
	files, err := ReadDir(os.DirFS("../configs"), "rules.d")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(Input{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() < 3 {
		t.Errorf("%d rules", s.Len())
	}
}
