package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// way is how a session's rows leave for the next hop in one epoch: on a push stream or, where that can't be had, to the
// owner, who passes them on. It belongs to the hop's goroutine.
//
// A push has no answer, so what was on its way when a stream broke may have been lost. It is sent again: the last two
// steps, and what was replayed. The next hop computes nothing twice.
type way struct {
	hop    *hop
	leg    *leg
	prev   peer.ID
	names  []protocol.Digest // for the next hop
	out    network.Stream    // nil: there is none
	lost   *atomic.Bool      // whether out has broken
	seen   chan struct{}     // closed when nobody watches out any more
	tries  int               // since something was sent for the first time
	detour bool              // by way of the owner, from now on

	replays []sent // at most maxAsked
	steps   []sent // at most stepsInFlight
}

// sent is what has been sent: of a numbered step, or of several frames that were replayed, one behind the other.
type sent struct {
	number  uint64
	from, n int
	want    protocol.Want
	newIDs  []uint32
	through peer.ID
	spent   []protocol.Spent
}

// newWay opens the way to the leg's next hop, and tells it by which names it may find pages. Without a next hop, or if it
// can't be reached, rows go to the owner.
func (h *hop) newWay(l *leg, prev peer.ID, names []protocol.Digest) *way {
	w := &way{hop: h, leg: l, prev: prev, names: names, lost: new(atomic.Bool)}
	if prev != "" {
		h.node.host.ConnManager().Protect(prev, h.tag())
	}
	if l.next == nil {
		w.detour = true
		return w
	}
	h.node.host.ConnManager().Protect(l.next.Peer, h.tag())
	if err := w.open(); err != nil {
		h.node.log.Debug("the next hop can't be reached: rows go by way of the client", "peer", l.next.Peer, "error", err)
		w.detour = true
	}
	return w
}

// tag protects the connections of the session's neighbours.
func (h *hop) tag() string { return fmt.Sprintf("%s/%v/hop", protectTag(h.books.ID.Key), h.owner()) }

// open dials the next hop and opens a push stream.
func (w *way) open() error {
	out, err := w.hop.node.pushStream(w.leg.ctx, w.hop.owner(), w.leg.next)
	if err != nil {
		return err
	}
	w.out, w.lost, w.seen = out, new(atomic.Bool), make(chan struct{})
	go w.watch(out, w.lost, w.seen)
	id := w.hop.books.ID
	return w.write(protocol.Names{Owner: id.Owner, Session: id.Key, Epoch: w.leg.epoch, Names: w.names})
}

// watch waits for the stream's end: nothing is ever said on it. One over a relay ends once there is a direct connection to
// the next hop, on which it is opened anew: a stream stays where it was opened.
func (w *way) watch(out network.Stream, lost *atomic.Bool, seen chan struct{}) {
	defer close(seen)
	var straightening sync.WaitGroup
	ctx, cancel := context.WithCancel(w.leg.ctx)
	if routing.ByRelay(out.Conn()) {
		straightening.Go(func() {
			if routing.UntilDirect(ctx, w.hop.node.host, out.Conn().RemotePeer()) == nil {
				_ = out.Reset()
			}
		})
	}
	_, _ = out.Read(make([]byte, 1))
	cancel()
	straightening.Wait()
	_ = out.Reset()
	lost.Store(true)
	w.hop.wake()
}

// hangUp ends the push stream.
func (w *way) hangUp() {
	if w.out == nil {
		return
	}
	_ = w.out.Reset()
	<-w.seen
	w.out = nil
	w.lost = new(atomic.Bool)
}

// close ends the way.
func (w *way) close() {
	w.hangUp()
	conns := w.hop.node.host.ConnManager()
	conns.Unprotect(w.prev, w.hop.tag())
	if w.leg.next != nil {
		conns.Unprotect(w.leg.next.Peer, w.hop.tag())
	}
}

// write writes a message to the next hop.
func (w *way) write(msg any) error {
	out := w.out
	if out == nil || w.lost.Load() {
		return errors.New("the push stream has ended")
	}
	stop := context.AfterFunc(w.leg.ctx, func() { _ = out.Reset() })
	defer stop()
	if err := out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if lose := w.hop.node.cfg.LosePush; lose != nil && lose() {
		return protocol.WriteMessage(torn{out}, msg)
	}
	return protocol.WriteMessage(out, msg)
}

// torn breaks a push stream in the middle of a frame, as a network may: whoever writes hears of it later.
type torn struct{ network.Stream }

func (t torn) Write(frame []byte) (int, error) {
	_, _ = t.Stream.Write(frame[:len(frame)/2])
	_ = t.Reset()
	return len(frame), nil
}

// send sends a step's output on, or again.
func (w *way) send(s sent, rows kernels.Rows) {
	if w.remember(s) {
		w.tries = 0
	}
	if w.push(s, rows) != nil {
		w.repair()
	}
}

// remember keeps in mind what is sent. It says whether that is new.
func (w *way) remember(s sent) bool {
	if s.number == 0 {
		return w.rememberReplayed(s)
	}
	if slices.ContainsFunc(w.steps, func(r sent) bool { return r.number == s.number }) {
		return false
	}
	if w.steps = append(w.steps, s); len(w.steps) > stepsInFlight {
		w.steps = slices.Delete(w.steps, 0, 1)
		w.replays = nil // they have arrived long ago
	}
	return true
}

// rememberReplayed lengthens what was replayed before if the one follows the other, and else keeps both.
func (w *way) rememberReplayed(s sent) bool {
	for i := range w.replays {
		r := &w.replays[i]
		end := r.from + r.n
		more := s.from + s.n - end
		switch {
		case r.through != s.through || s.from < r.from || s.from > end:
		case more <= 0:
			return false
		default:
			told := len(r.newIDs) == r.n && len(s.newIDs) == s.n
			r.n += more
			if told {
				r.newIDs = append(slices.Clip(r.newIDs), s.newIDs[s.n-more:]...)
			} else {
				r.newIDs = nil
			}
			return true
		}
	}
	if w.replays = append(w.replays, s); len(w.replays) > maxAsked {
		w.replays = slices.Delete(w.replays, 0, 1)
	}
	return true
}

// push writes rows to the next hop, or to the owner.
func (w *way) push(s sent, rows kernels.Rows) error {
	id := w.hop.books.ID
	m := protocol.Push{
		Session: id.Key, Epoch: w.leg.epoch, Number: s.number, Position: uint32(s.from), Want: s.want, Through: s.through,
		NewIDs: s.newIDs, Spent: s.spent, N: rows.N, Width: rows.Width, Exp: rows.Exp, Half: rows.Half,
	}
	if w.detour {
		w.hop.node.metrics.pushes.WithLabelValues("client").Inc()
		w.hop.tell(m)
		return nil
	}
	m.Owner = id.Owner
	if err := w.write(m); err != nil {
		return err
	}
	w.hop.node.metrics.pushes.WithLabelValues("direct").Inc()
	return nil
}

// repair opens the stream anew and sends again what may have been lost; by way of the owner if it breaks time and again.
// Without an owner it does nothing: nobody waits for the rows, an owner who comes back opens a new epoch, and a next hop
// that has forgotten the session would be told of it again.
func (w *way) repair() {
	for w.leg.ctx.Err() == nil {
		w.hangUp()
		if w.detour || w.hop.node.controlOf(w.hop) == nil {
			return
		}
		w.tries++
		if w.tries > maxReopen || w.open() != nil {
			w.hangUp()
			w.detour = true
		}
		w.hop.node.metrics.repairs.Inc()
		if w.sendAgain() == nil {
			return
		}
	}
}

// sendAgain sends what may have been lost. What is not there any more was cut off: nobody waits for it.
func (w *way) sendAgain() error {
	for _, s := range slices.Concat(w.replays, w.steps) {
		most := s.n
		if s.number == 0 {
			most = replayRows
		}
		for at := 0; at < s.n; at += most {
			part := s
			part.from, part.n = s.from+at, min(most, s.n-at)
			if s.number == 0 {
				part.newIDs = idsOf(s, at, part.n)
			}
			rows, ok := w.hop.outputs(w.leg, part.from, part.n)
			if !ok {
				break
			}
			if err := w.push(part, rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// idsOf gives the ids that a part of what was replayed tells the last hop: all of its frames tell some, or none does.
func idsOf(s sent, at, n int) []uint32 {
	if len(s.newIDs) != s.n {
		return nil
	}
	return s.newIDs[at : at+n]
}

// outputs gives what the session's span made of tokens from..from+n-1, if it is still there in this epoch.
func (h *hop) outputs(l *leg, from, n int) (kernels.Rows, bool) {
	var rows kernels.Rows
	var held bool
	done := h.node.do(l.ctx, func(all caches) {
		h.node.mu.Lock()
		h.books.Touch(time.Now())
		valid := !h.books.Closed() && h.books.Epoch() == l.epoch && from+n <= h.books.Length()
		h.node.mu.Unlock()
		if c := all[h.books]; valid && c != nil && c.Len() >= from+n {
			rows, held = c.Outputs(kernels.Rows{}, from, n), true
		}
	})
	if !done { // rows may be written to still
		return kernels.Rows{}, false
	}
	return rows, held
}
