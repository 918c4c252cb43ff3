package reconcile

import (
	"context"
	"errors"

	cloud "github.com/penstock-io/penstock/cloudhub/client"
	edge "github.com/penstock-io/penstock/edgehub/client"
)

// upstream is the queue whose sequences the cloud knows.
const upstream = "$upstream"

// Fetch reads both hubs in the order Compare needs. A hub that never sent
// anything upstream compares as empty.
func Fetch(ctx context.Context, e *edge.Client, c *cloud.Client) (Report, error) {
	status, err := e.Status(ctx)
	if err != nil {
		return Report{}, err
	}
	before, err := sequences(ctx, e, status.Epoch)
	if err != nil {
		return Report{}, err
	}
	ledger, err := c.Ledger(ctx, status.Device)
	if err != nil {
		return Report{}, err
	}
	after, err := sequences(ctx, e, status.Epoch)
	if err != nil {
		return Report{}, err
	}
	var entry cloud.LedgerEntry
	for _, l := range ledger.Entries {
		if l.Device == status.Device && l.Epoch == status.Epoch {
			entry = l
		}
	}
	return Compare(status.Device, before, after, entry), nil
}

func sequences(ctx context.Context, e *edge.Client, epoch string) (edge.Sequences, error) {
	s, err := e.Sequences(ctx, upstream)
	if errors.Is(err, edge.ErrNotFound) {
		return edge.Sequences{Epoch: epoch, Next: 1, Floor: 1}, nil
	}
	return s, err
}
