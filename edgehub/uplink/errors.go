package uplink

import (
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/router"
)

// ErrCredentials: the parent refused the device's token or certificate. The next
// attempt makes a new token by the clock of that time.
var ErrCredentials = errors.New("parent refused the credentials")

// Why a session ended, other than by the network.
var (
	errNoConnection = errors.New("not connected to the parent")
	errCut          = errors.New("uplink cut by the operator")
	errStopped      = errors.New("uplink stopped")
	errSilent       = errors.New("parent is silent")
	errHungUp       = errors.New("parent closed the connection")
	errReplaced     = errors.New("replaced by a session with a new token")
)

// unavailable answers a delivery that the parent has not acknowledged; it may
// have the message or not.
func unavailable(cause error) error { return fmt.Errorf("%w: %w", router.ErrUnavailable, cause) }

// permanent answers a message that is beyond what the protocol or the parent takes.
func permanent(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{router.ErrPermanent}, args...)...)
}

// hangsUp answers a message on which the parent closes the connection while it
// takes others.
func hangsUp(cause error) error {
	return permanent("the parent hangs up on this message and takes others: %w", cause)
}
