// Package where compiles the conditions and projections of YAML rules: expr-lang
// read by expr's own parser, and evaluated by closures of this project.
//
// A condition sees body, properties, system, topic, device, module and output.
// expr's machine stops at a missing field and has no limit in time; here neither
// can happen:
//
//   - What is missing is nil. nil equals only nil, so `properties.alert != "false"`
//     is true without an alert property. Every other operator and function is
//     undefined when an operand is nil or of the wrong type; and, or and not follow
//     Kleene's three-valued logic, and an undefined condition does not match.
//   - Nothing repeats: predicates (all, any, map, filter, count …), ranges,
//     variables and patterns that are not constant are refused when compiling, as
//     are unknown names and operands whose types can never agree.
//
// Properties and system properties are text: compare numbers with
// float(properties.temperature) > 25. Compiled nodes are immutable.
package where
