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
	errReplaced     = errors.New("replaced by a session with a new token")
)

// unavailable answers a delivery that the parent has not acknowledged; it may
// have the message or not.
func unavailable(cause error) error { return fmt.Errorf("%w: %w", router.ErrUnavailable, cause) }

// permanent answers a message that is beyond what the protocol or the parent takes.
func permanent(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{router.ErrPermanent}, args...)...)
}

// rejected answers a message that is to blame for lost connections.
func rejected(cause error) error {
	return fmt.Errorf("%w: the parent closed the connection on it time after time: %w", router.ErrRejected, cause)
}
