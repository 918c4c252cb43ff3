package eval

import (
	"time"

	"github.com/penstock-io/penstock/message"
)

// SystemNames are the system properties a condition may name (contract 5.4), and
// those of MQTT 5 that have no name there.
var SystemNames = []string{
	message.SysMessageID, "cid", message.SysCorrelationID, message.SysUserID, message.SysTo, message.SysExpiry,
	"enqueuedTime", "ack", message.SysContentType, message.SysContentEncoding, message.SysSchema,
	message.SysCreationTime, "operation", "connectionDeviceId", "connectionModuleId",
	"connectionDeviceGenerationId", "connectionAuthMethod", "inputName", "outputName", "edgeMessageId",
	"edgeHubOriginInterface", message.SysMessageType, message.SysInterfaceID, "modelId", message.SysSubject,
	message.SysResponseTopic, message.SysCorrelationData, message.SysPayloadFormat,
}

// hubKnows holds, by lower-case name, the system properties that do not travel
// with the message.
var hubKnows = map[string]func(*message.Message) Value{
	"connectiondeviceid": func(m *message.Message) Value { return NonEmpty(m.Device) },
	"connectionmoduleid": func(m *message.Message) Value { return NonEmpty(m.Module) },
	"outputname":         func(m *message.Message) Value { return NonEmpty(m.Output) },
	"enqueuedtime":       enqueuedTime,
	"cid":                correlationID,
}

func enqueuedTime(m *message.Message) Value {
	if m.Accepted == 0 {
		return Value{}
	}
	return TextOf(m.AcceptedAt().UTC().Format(time.RFC3339Nano))
}

// correlationID answers $cid: the name that the property has on the wire.
func correlationID(m *message.Message) Value {
	p, ok := m.Sys(message.SysCorrelationID)
	if !ok {
		return Value{}
	}
	return ofProperty(p)
}
