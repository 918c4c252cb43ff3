package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// maxRanges bounds the ranges that Ledger collects of one entry.
const maxRanges = 8 << 20

// ErrScattered: the ledger of an epoch has more ranges than Ledger collects.
// That passes when the edge hub has delivered what waits between them.
var ErrScattered = errors.New("ledger has too many ranges")

// Ledger reports what came in from one edge device, or from all for "". Ranges
// that the API gives page by page are complete in what it returns; what came in
// meanwhile may be among them or not.
func (c *Client) Ledger(ctx context.Context, device string) (l Ledger, err error) {
	if l, err = c.ledger(ctx, url.Values{"device": {device}}); err != nil {
		return l, err
	}
	for i := range l.Entries {
		if err := c.complete(ctx, &l.Entries[i]); err != nil {
			return Ledger{}, err
		}
	}
	return l, nil
}

func (c *Client) ledger(ctx context.Context, v url.Values) (l Ledger, err error) {
	if v.Get("device") == "" {
		v.Del("device")
	}
	return l, c.do(ctx, http.MethodGet, "/api/v1/ledger?"+v.Encode(), nil, &l)
}

// complete adds the pages behind the first to e.
func (c *Client) complete(ctx context.Context, e *LedgerEntry) error {
	for e.More != 0 {
		if len(e.Ranges) > maxRanges {
			return fmt.Errorf("read ledger of %s, epoch %s: %w", e.Device, e.Epoch, ErrScattered)
		}
		l, err := c.ledger(ctx, url.Values{"device": {e.Device}, "epoch": {e.Epoch}, "from": {strconv.FormatUint(e.More, 10)}})
		if err != nil {
			return err
		}
		if len(l.Entries) != 1 {
			return fmt.Errorf("read ledger of %s, epoch %s: it has gone meanwhile", e.Device, e.Epoch)
		}
		e.add(&l.Entries[0])
	}
	return nil
}

// add appends the page that follows e. When the cloud has given up ranges
// between the pages, only their number is known from then on.
func (e *LedgerEntry) add(page *LedgerEntry) {
	rs := page.Ranges
	if n := len(e.Ranges); n > 0 && len(rs) > 0 && e.Ranges[n-1].To+1 == rs[0].From {
		e.Ranges[n-1].To, rs = rs[0].To, rs[1:]
	}
	all := e.Ranges
	all = append(all, rs...)
	if page.Collapsed > e.Collapsed {
		all = above(all, page.Collapsed)
	}
	*e = *page
	e.Ranges = all
}

func above(rs []Range, seq uint64) []Range {
	for len(rs) > 0 && rs[0].To <= seq {
		rs = rs[1:]
	}
	if len(rs) > 0 {
		rs[0].From = max(rs[0].From, seq+1)
	}
	return rs
}
