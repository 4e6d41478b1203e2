package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client/chain"
	"github.com/baichuan-node/baichuan-node/protocol"
)

// link carries out what a chain.Chain decides, over one stream to each hop. Its methods are called by one goroutine at
// a time; two goroutines a hop write and read, close waits for them.
type link struct {
	host  host.Host
	lim   protocol.Limits
	chain *chain.Chain
	hops  map[int]*hop // by the IDs that the chain knows them by
	last  int          // ID of the newest
	tag   string       // protects the connections
	start time.Time

	events chan event
	gone   context.Context // done: the streams are to be reset
	drop   context.CancelFunc
	wg     sync.WaitGroup
	bytes  atomic.Int64 // read and written
}

// newLink makes the link of a session that has no hops yet.
func newLink(h host.Host, lim protocol.Limits, cfg chain.Config) *link {
	l := &link{
		host: h, lim: lim, chain: chain.New(cfg), hops: make(map[int]*hop), start: time.Now(),
		tag: "session/" + hex.EncodeToString(cfg.Session[:]), events: make(chan event, queueEvents),
	}
	l.gone, l.drop = context.WithCancel(context.Background())
	return l
}

func (l *link) now() time.Duration { return time.Since(l.start) }

// add starts connecting to a peer, and gives the ID of the hop that it will be.
func (l *link) add(info peer.AddrInfo) int {
	l.last++
	h := newHop(l, l.last, info)
	l.hops[h.id] = h
	l.host.ConnManager().Protect(info.ID, l.tag)
	l.wg.Go(h.write)
	return h.id
}

// keep ends the streams to all hops but those of some IDs. Peers that have not failed, and serve the session no more, get
// a goodbye.
func (l *link) keep(ids map[int]bool) {
	stays := make(map[peer.ID]bool)
	for id := range ids {
		if h := l.hops[id]; h != nil {
			stays[h.info.ID] = true
		}
	}
	for id, h := range l.hops {
		if ids[id] {
			continue
		}
		delete(l.hops, id)
		if h.failed || stays[h.info.ID] || !h.goodbye(l.chain.Close()[0].(chain.Send).Message) {
			h.leave()
		}
		if !stays[h.info.ID] {
			l.host.ConnManager().Unprotect(h.info.ID, l.tag)
		}
	}
}

// errPause ends a drive whose time is over.
var errPause = errors.New("the time is over")

// drive carries out actions and what follows from them, until take says that an action was the last one: then those that
// came with it are carried out as well. Its errors are the context's, take's, and errPause at the end of limit, if that
// is not 0.
func (l *link) drive(ctx context.Context, limit time.Duration, actions []chain.Action, take func(chain.Action) (last bool, err error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	end := l.now() + limit
	for {
		done := false
		for len(actions) > 0 {
			a := actions[0]
			actions = actions[1:]
			if s, ok := a.(chain.Send); ok {
				actions = append(actions, l.send(s)...)
				continue
			}
			last, err := take(a)
			if err != nil {
				return err
			}
			done = done || last
		}
		if done {
			return nil
		}
		select {
		case e := <-l.events: // what has come counts before what has not
			actions = l.apply(e)
			continue
		default:
		}
		at, waits := l.chain.Deadline()
		if !waits {
			at = l.now() + time.Hour
		}
		if limit > 0 {
			at = min(at, end)
		}
		timer.Reset(at - l.now())
		select {
		case e := <-l.events:
			actions = l.apply(e)
		case <-timer.C:
			if limit > 0 && l.now() >= end {
				return errPause
			}
			l.listen()
			actions = l.chain.Tick(l.now())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send queues a message for a hop.
func (l *link) send(s chain.Send) []chain.Action {
	h := l.hops[s.Hop]
	if h == nil || h.queued(s.Message) {
		return nil
	}
	h.failed = true
	return l.chain.Lost(s.Hop, protocol.Elsewhere, fmt.Errorf("it takes nothing: %d frames wait", queueFrames))
}

// apply tells the chain what has happened.
func (l *link) apply(e event) []chain.Action {
	now := l.now()
	h := l.hops[e.hop]
	switch {
	case h == nil:
		return nil
	case e.err != nil:
		h.failed = true
		return l.chain.Lost(e.hop, e.class, e.err)
	case e.sent != nil:
		l.chain.Sent(now, e.hop, e.sent)
		return nil
	}
	h.noticed = h.received.Load()
	return l.chain.Handle(now, e.hop, e.message)
}

// listen tells the chain of hops whose frames are still arriving.
func (l *link) listen() {
	for id, h := range l.hops {
		if n := h.received.Load(); n != h.noticed {
			h.noticed = n
			l.chain.Heard(l.now(), id)
		}
	}
}

// close says goodbye to the hops, ends the streams and waits until nothing of the link runs.
func (l *link) close() {
	open := make([]*hop, 0, len(l.hops))
	for _, a := range l.chain.Close() {
		s := a.(chain.Send)
		if h := l.hops[s.Hop]; h != nil && (h.failed || !h.goodbye(s.Message)) {
			h.leave()
		}
	}
	for _, h := range l.hops {
		open = append(open, h)
	}
	timer := time.AfterFunc(closeLimit, l.drop)
	defer timer.Stop()
	for _, h := range open {
		for waiting := true; waiting; {
			select {
			case <-h.done:
				waiting = false
			case <-l.events: // nobody else listens any more
			}
		}
	}
	l.drop()
	l.wg.Wait()
	for _, h := range open {
		l.host.ConnManager().Unprotect(h.info.ID, l.tag)
	}
}
