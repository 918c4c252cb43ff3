// Package ruletest runs tests of rules, written in a small language and kept
// beside the rules:
//
//	# hot machines are heard at once
//	given module sensor output temperature
//	  property alert = true
//	  body {"machine": {"id": "m1", "temperature": 30}}
//	expect hot-machines into modules/filter/inputs/in priority 0 ttl 2h
//	  body {"machine": "m1", "t": 30}
//	expect not cold-machines
//
//	given topic plant/a/temp
//	expect nothing
//
// `given` starts a message: `topic NAME` for a plain one, `device ID`, `module ID
// [output NAME]`, or `twin-change [device ID] [module ID]`; words may be combined
// (`given topic a/b device d1`). The lines below it give `property NAME = VALUE`,
// `property NAME` (without a value), `system NAME = VALUE` and `body TEXT`, where
// the body is the rest of the line or, after a lone `body """`, the lines up to
// `"""`. Values that begin or end with a space are written as JSON strings.
//
// The expectations that follow hold for that message: `expect RULE` that the rule
// matches, `into QUEUE` that it is the one that puts the message there (with that
// priority and time to live, when stated; `ttl none` for ever), a `body` line
// below it that it sends that JSON, `expect not RULE` that it does not match, and
// `expect nothing` that no rule does. A # at the beginning of a line is a comment.
package ruletest
