// Package stream is the cloud's log of received messages: one NATS JetStream
// stream, the server that keeps it (embedded, or an external cluster), and the
// form in which a message stands there, so that a NATS consumer in any language
// can read it.
//
// # Subjects
//
//	hub.messages.<device>                        a device's telemetry
//	hub.messages.<device>.<module>               a module's telemetry
//	hub.messages.<device>.<module>.<output>      a module's telemetry on a named output
//	hub.messages.<device>.$topic.<level>…        a plain MQTT topic, level by level
//	hub.messages.<device>[.<module>].$twin       a twin change
//
// In every token each byte outside A–Z, a–z, 0–9, '-' and '_' is written %XX,
// so that '.', '*', '>' and '$' in an id cannot change the subject's shape; the
// empty string (an anonymous publisher, an empty topic level) is written %00. A
// subject longer than MaxSubject bytes ends early with the token $more: the
// headers hold the whole of it.
//
// # Headers
//
//	Penstock-Kind        telemetry, plain or twin-change
//	Penstock-Device      the publisher's device id
//	Penstock-Module      the publisher's module id, if any
//	Penstock-Output      the module's output, if any
//	Penstock-Topic       the topic of a plain message
//	Penstock-Accepted    when the hub accepted it, RFC 3339 with milliseconds, UTC
//	Penstock-Expires     when it expires, in the same form, if it does
//	Penstock-Origin      edge/epoch/sequence given by the edge hub, if one did
//	Penstock-Floor       no sequence below it will come again from that edge and epoch
//	Penstock-System      system properties, a bag
//	Penstock-Properties  application properties, a bag
//	Penstock-Body        bytes of the body, when headers stand behind it
//	Penstock-Digest      recognises a message whose headers stand behind its body
//	Penstock-Commit      names the publish, for a message published alone;
//	                     Nats-Batch-Id and Nats-Batch-Sequence do so otherwise
//
// In values each byte outside 0x21–0x7E, and '%', is written %XX (in Origin also
// '/'). A bag is a query string: name=value joined by '&', a bare name for a
// null value, with '&', '=' and '+' inside names and values written %XX; order
// and repetitions are kept. The body is the payload, byte for byte.
//
// JetStream takes at most 65,535 bytes of headers, MQTT more. Of a message beyond
// MaxHeader the header values longer than 4,096 bytes stand behind the body:
// Penstock-Body says how many bytes of the payload are the body, and the rest is
// one line "Name: value", ended by CR LF, for each header that is missing. A
// message in this form has device and topic in its subject like any other. QoS and the
// retain flag belong to one hop and are not kept.
//
// The package's functions are pure or safe for concurrent use, and it starts no
// goroutine of its own beside those of the embedded server and the NATS client.
package stream
