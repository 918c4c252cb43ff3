package uplink

// rejectAfter is how often in a row the parent must end the connection on one
// and the same message, alone in flight, before the message is to blame and not
// the parent. With the back-off in between that is more than a minute.
const rejectAfter = 10

// suspect finds the message on which the parent hangs up. MQTT 3.1.1 has no way
// to refuse a PUBLISH but to close the connection (MQTT 3.1.1, 3.3.5), and one
// such message would block all behind it for ever. The first message in flight
// when the parent closed goes alone the next time, until the parent acknowledges
// something. How many rejections it takes to bury a message is the queue's matter.
type suspect struct {
	seq     uint64
	strikes int
	alone   bool // only one message may be in flight
}

// blame notes the oldest message in flight when the parent closed the
// connection, 0 for none, and reports whether the message is rejected.
func (s *suspect) blame(seq uint64) (rejected bool) {
	switch {
	case seq == 0:
		return false
	case seq != s.seq:
		*s = suspect{seq: seq, alone: true}
		return false
	}
	s.strikes++
	return s.strikes >= rejectAfter
}

// clear ends the suspicion and reports whether sending was restricted.
func (s *suspect) clear() bool {
	was := s.alone
	*s = suspect{}
	return was
}
