package wire

// Fault says which rule a packet breaks and what to answer. Decoders return nil
// for a legal packet. A Fault always ends the connection.
type Fault struct {
	Code    byte   // MQTT 5.0 reason code for CONNACK or DISCONNECT
	Connack byte   // 3.1.1 CONNACK return code; 0: 3.1.1 has none, close without an answer
	Clause  string // the rule: "MQTT-3.3.2-2", or a section number where the rule has none; "3.1.1 …" where only that version has it
	Reason  string // what is wrong, in words
}

// Error makes a Fault an error. A function that returns error must not return a
// nil *Fault: that is a non-nil error.
func (f *Fault) Error() string { return f.Reason + " [" + f.Clause + "]" }

// AppendConnack appends the CONNACK that refuses a CONNECT because of f, or
// nothing where the version has no word for it: 3.1.1 (section 4.8) and
// version 0, a peer that may not speak MQTT at all, are just closed.
func (f *Fault) AppendConnack(dst []byte, version byte) []byte {
	switch {
	case version == V5:
		return AppendConnack(dst, V5, false, f.Code, f.Reason)
	case version == V311 && f.Connack != 0:
		return AppendConnack(dst, V311, false, f.Connack, "")
	}
	return dst
}

// AppendDisconnect appends the DISCONNECT that ends a connection because of f,
// at most limit bytes long (0: no limit), or nothing for 3.1.1, whose servers
// never send one.
func (f *Fault) AppendDisconnect(dst []byte, version byte, limit uint32) []byte {
	if version != V5 {
		return dst
	}
	return AppendDisconnect(dst, f.Code, f.Reason, limit)
}

func malformed(clause, reason string) *Fault {
	return &Fault{Code: MalformedPacket, Clause: clause, Reason: reason}
}

func violation(clause, reason string) *Fault {
	return &Fault{Code: ProtocolError, Clause: clause, Reason: reason}
}

func refusal(code byte, clause, reason string) *Fault {
	return &Fault{Code: code, Clause: clause, Reason: reason}
}
