package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/balsadb/balsa/transport"
)

// tryTimeout is how long a new member's peer URL may take to answer.
const tryTimeout = 2 * time.Second

// tryPeer looks who is at the peer URLs of a member that is to be added. As a rule nobody is yet, and the name may not even be known:
// the member is started once it was added. Whoever answers is somebody else: a member of this or another cluster, or no member at all.
func (m *member) tryPeer(ctx context.Context, urls []string) error {
	for _, url := range urls {
		one, cancel := context.WithTimeout(ctx, tryTimeout)
		_, err := transport.Inquire(one, transport.InquiryConfig{URL: url, ClientTLS: m.plan.peerClient}, []byte("who is there?"))
		cancel()
		var dial *net.OpError
		var name *net.DNSError
		var refused *transport.RefusedError
		switch {
		case errors.As(err, &name):
			m.logger.Warn("the name in a new member's peer URL cannot be resolved yet; correct it with `balsa ctl member update` if it is a slip", "url", url, "error", err)
		case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, context.DeadlineExceeded):
			m.logger.Info("nobody is at a new member's peer URL yet", "url", url, "error", err)
		case err == nil || errors.As(err, &refused):
			return fmt.Errorf("a member is running at %s already: stop it, or give the new one an address of its own", url)
		default:
			return fmt.Errorf("what is at %s is no balsa member: %w", url, err)
		}
	}
	return nil
}
