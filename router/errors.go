package router

import "errors"

// What a Sink answers beside nil. Sinks wrap these; anything else counts as
// ErrUnavailable: tried again for ever.
var (
	// ErrPermanent: the consumer can never take this message. It is buried with
	// the error's text as its cause, and the next one follows.
	ErrPermanent = errors.New("permanent failure")
	// ErrRejected: the consumer saw this message and refused it. It is tried
	// again, and buried once PumpConfig.MaxAttempts such answers came.
	ErrRejected = errors.New("message rejected")
	// ErrUnavailable: nobody is there to take messages. It says nothing about the
	// message and never counts as an attempt.
	ErrUnavailable = errors.New("consumer unavailable")
)

var (
	// ErrUncommitted answers a repeated message whose first copy, still on its
	// way when the second came, could not be stored. Its sender tries again.
	ErrUncommitted = errors.New("first copy of the message was not stored")
	// ErrTooManyTargets answers a message that more queues want than the store
	// takes in one commit (store.MaxTargets): it cannot be in all of them or none.
	ErrTooManyTargets = errors.New("message goes to more queues than one commit takes")
	// ErrRules answers a batch on which the rules panicked; the log has the stack.
	ErrRules = errors.New("rules failed")
	// ErrAttached is returned by Attach for a queue that has a pump already.
	ErrAttached = errors.New("queue has a pump")
	// ErrStopped is returned by Attach after Run has ended.
	ErrStopped = errors.New("router has stopped")
)
