// Package rules decides where messages go.
//
// Rules come from YAML files and from IoT Edge route text; Compile makes one Set
// of both, or reports every mistake with file, line and column. A Set is
// immutable and safe for concurrent use; matching takes no lock, does no I/O,
// keeps nothing of a message and allocates only when its result does not fit. A
// message tries only the rules whose source can match, its body is looked into
// at most once, and only if a rule asks.
//
// A rule file:
//
//	rules:
//	  - name: hot-machines                          # unique; the ledger counts by it
//	    from: modules/sensor/outputs/temperature    # one source or a list
//	    where: body.machine.temperature > 25 && properties.alert != "false"
//	    select: {machine: body.machine.id, t: body.machine.temperature}
//	    into: modules/filter/inputs/in              # one sink or a list
//	    priority: 0                                 # 0 first … 9; without, after all others
//	    ttl: 2h                                     # or 7d, or none; without, the default
//	  - name: as-in-iot-edge
//	    route: FROM /messages/* WHERE as_number(temp) > 50 INTO $upstream
//
// Sources: modules/{module}/outputs/{output}, modules/{module}, modules/*,
// devices/{device}, devices/* (leaf devices, not modules), twin-changes, * and
// {topic: filter} or a key topic beside name, with MQTT's wildcards. Sinks:
// $upstream, modules/{module}/inputs/{input} and {topic: name}. Conditions are
// those of package rules/where, routes those of package rules/route; a plain
// topic a/b has the route source /topics/a/b. Strict and bounded: unknown keys,
// anchors, files above MaxFile and conditions above 8 KiB are refused.
package rules
