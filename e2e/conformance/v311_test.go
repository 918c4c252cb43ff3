package conformance

import (
	"testing"

	mt "github.com/penstock-io/penstock/internal/mqtttest"
)

func TestMQTT311(t *testing.T) {
	runSuite(t, mt.V311, []named{
		{"test_basic", basic},
		{"test_retained_messages", retainedMessages},
		{"test_zero_length_clientid", zeroLengthClientID311},
		{"test_offline_message_queueing", offlineMessageQueueing},
		{"test_overlapping_subscriptions", overlappingSubscriptions},
		{"test_keepalive", keepAlive},
		{"test_redelivery_on_reconnect", redeliveryOnReconnect},
		{"test_subscribe_failure", subscribeFailure},
		{"test_dollar_topics", dollarTopics},
		{"test_unsubscribe", unsubscribe},
	}, 10)
}

func zeroLengthClientID311(x *test) {
	if p := x.dial().TryConnect(mt.Connect{Keep: true}); p.Code != 2 {
		x.Errorf("kept session without a client id: %s", p)
	}
	if p := x.dial().TryConnect(mt.Connect{}); p.Code != 0 {
		x.Errorf("clean session without a client id: %s", p)
	}
}
