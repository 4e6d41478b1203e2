package client

import (
	"context"
	"errors"
)

// errBroken is why a stream has ended whose connection did.
var errBroken = errors.New("the connection to it broke")

// cutOff looks whether the connections to all hops have broken at once. Then this machine's network has failed, and none of
// them: they are reached anew before others take their places, for they have what the session has computed. It waits a moment
// for connections whose end has not been seen yet.
func (s *session) cutOff(ctx context.Context) error {
	m := &s.mind
	if len(s.hops) < 2 || m.cut {
		return nil
	}
	for broken := s.broken(); broken < len(s.hops); broken = s.broken() {
		if broken == 0 {
			return nil
		}
		err := s.meanwhile(ctx, cutOffWithin)
		switch {
		case errors.Is(err, errPause):
			return nil
		case err != nil:
			return err
		}
	}
	m.cut = true
	for i, h := range s.hops {
		s.client.bans.pardon(h.Peer)
		s.books.stats.Bans--
		m.reach[s.ids[i]] = true
	}
	return nil
}

// broken counts the hops whose connections have broken.
func (s *session) broken() (n int) {
	for _, f := range s.faults() {
		if f != nil && errors.Is(f.Err, errBroken) {
			n++
		}
	}
	return n
}
