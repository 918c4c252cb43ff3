// Package route reads IoT Edge route text: FROM … WHERE … INTO …, with the
// condition language of contract 5: static types, undefined and null, properties,
// system properties, body queries and functions.
//
// Parse splits and checks a route, Compile adds its condition's types and code.
// Differences from the reference, all on the side of accepting what was meant:
// an identifier ends before != and ||; `true AND $body.flag` compiles like its
// mirror image; is_null of a missing body field is true; $cid and $correlationId
// name the same property.
//
// The package is pure. A Route and its compiled condition are immutable.
package route
