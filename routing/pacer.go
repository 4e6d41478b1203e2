package routing

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Pacer lets each peer have so much of something at once, and so much a second in the long run. Who wants more waits, and
// holds up nobody but itself. It is safe for concurrent use.
type Pacer struct {
	perSecond, atOnce float64

	mu    sync.Mutex
	spent map[peer.ID]spent // guarded by mu; of those who have not got all back
}

// spent is what a peer has had at some time, and not got back by then.
type spent struct {
	much float64
	at   time.Time
}

// left is what is spent still.
func (s spent) left(now time.Time, perSecond float64) float64 {
	return max(0, s.much-perSecond*now.Sub(s.at).Seconds())
}

// NewPacer makes a Pacer.
func NewPacer(perSecond, atOnce float64) *Pacer {
	return &Pacer{perSecond: perSecond, atOnce: atOnce, spent: make(map[peer.ID]spent)}
}

// Wait waits until a peer may have so much. It fails when ctx ends.
func (p *Pacer) Wait(ctx context.Context, id peer.ID, much float64) error {
	wait := p.take(time.Now(), id, much)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Try says whether a peer may have so much now; if not, it has had nothing.
func (p *Pacer) Try(now time.Time, id peer.ID, much float64) bool {
	if p.take(now, id, much) <= 0 {
		return true
	}
	p.take(now, id, -much)
	return false
}

// take takes it, and says how long the peer has to wait for that.
func (p *Pacer) take(now time.Time, id peer.ID, much float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spent) >= maxPaced {
		p.forget(now)
	}
	sum := p.spent[id].left(now, p.perSecond) + much
	p.spent[id] = spent{sum, now}
	return time.Duration((sum - p.atOnce) / p.perSecond * float64(time.Second))
}

// forget forgets the peers that have got all back. Called with the mutex held.
func (p *Pacer) forget(now time.Time) {
	for id, s := range p.spent {
		if s.left(now, p.perSecond) == 0 {
			delete(p.spent, id)
		}
	}
}
