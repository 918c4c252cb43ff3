package router

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-io/penstock/rules"
	"github.com/penstock-io/penstock/store"
)

var (
	_ Rules     = (*rules.Set)(nil)
	_ Projector = (*rules.Set)(nil)
)

const realRules = `rules:
  - name: hot
    from: "topic: plant/+/temp"
    where: body.machine.temperature > 25
    select: {machine: body.machine.id, t: body.machine.temperature, humidity: body.humidity}
    into: modules/filter/inputs/in
    priority: 1
  - name: everything
    from: "topic: plant/#"
    into: [$upstream, modules/filter/inputs/in]
    priority: 5
    ttl: 2h
`

func TestRealRules(t *testing.T) {
	set, err := rules.Compile(rules.Input{Files: []rules.File{{Name: "rules.yaml", Data: []byte(realRules)}}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Config{}, store.Config{}, nil)
	swap(t, b.Router, set)
	hot := plain("plant/7/temp", `{"machine":{"id":"press-7","temperature":31.5}}`)
	cold := plain("plant/7/temp", `{"machine":{"id":"press-7","temperature":3}}`)
	if errs := b.accept(hot, cold, plain("plant/7/log", "not JSON"), plain("other", "{}")); errs != nil {
		t.Fatal(errs)
	}
	up, err := rules.ParseQueue("$upstream")
	if err != nil || up.Kind != rules.SinkUpstream {
		t.Fatalf("$upstream is %+v, %v", up, err)
	}
	want := []string{string(hot.Body), string(cold.Body), "not JSON"}
	if diff := cmp.Diff(want, b.bodies("$upstream")); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
	type sent struct {
		Body, Rule string
		Priority   uint8
		Expires    bool
	}
	var got []sent
	for _, d := range b.waiting("modules/filter/inputs/in") {
		got = append(got, sent{string(d.Body), d.Rule, d.Priority, d.Expire != 0})
	}
	wantModule := []sent{
		{`{"machine":"press-7","t":31.5,"humidity":null}`, "hot", 1, false},
		{string(cold.Body), "everything", 5, true},
		{"not JSON", "everything", 5, true},
	}
	if diff := cmp.Diff(wantModule, got); diff != "" {
		t.Errorf("module input (-want +got):\n%s", diff)
	}
	if l := b.Ledger(); l.Unrouted != 1 || !l.Total.Balanced {
		t.Errorf("ledger %+v", l)
	}
}
