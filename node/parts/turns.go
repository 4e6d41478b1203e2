package parts

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// turns are whose piece is sent next: some at a time, and where several wait, the one of the peer that has got least since
// it began to ask. So a peer with many streams gets no more than one with a single stream.
type turns struct {
	slots func() int // at a time, now

	mu      sync.Mutex
	held    int                    // guarded by mu, as all below
	asking  map[peer.ID]*turnOwner // who waits or holds
	waiting []*turn                // in the order in which they came
}

// turnOwner is a peer that takes turns.
type turnOwner struct {
	turns int   // that wait or are held
	got   int64 // bytes that it was given, as if it had been here from the start
}

// turn is a request that waits.
type turn struct {
	who   peer.ID
	bytes int
	come  chan struct{} // closed when it is its turn
}

// take waits for a turn and holds it until release, which may be called twice.
func (t *turns) take(ctx context.Context, who peer.ID, bytes int) (release func(), err error) {
	w := &turn{who: who, bytes: bytes, come: make(chan struct{})}
	t.mu.Lock()
	t.enter(who)
	t.waiting = append(t.waiting, w)
	t.grant()
	t.mu.Unlock()
	release = sync.OnceFunc(func() { t.release(who) })
	select {
	case <-w.come:
		return release, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, w)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.leave(who)
	}
	t.mu.Unlock()
	if i < 0 {
		return release, nil // it came just now
	}
	return nil, errors.New("others are served first: ask again")
}

// enter counts a turn of a peer. A new one begins with what those have got who have got least.
func (t *turns) enter(who peer.ID) {
	o := t.asking[who]
	if o == nil {
		o = &turnOwner{got: -1}
		for _, other := range t.asking {
			if o.got < 0 || other.got < o.got {
				o.got = other.got
			}
		}
		o.got = max(o.got, 0)
		t.asking[who] = o
	}
	o.turns++
}

func (t *turns) leave(who peer.ID) {
	if t.asking[who].turns--; t.asking[who].turns == 0 {
		delete(t.asking, who)
	}
}

func (t *turns) release(who peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held--
	t.leave(who)
	t.grant()
}

// grant gives free slots to those who wait. Called with mu held.
func (t *turns) grant() {
	for len(t.waiting) > 0 && t.held < t.slots() {
		next := 0
		for i, w := range t.waiting {
			if t.asking[w.who].got < t.asking[t.waiting[next].who].got {
				next = i
			}
		}
		w := t.waiting[next]
		t.waiting = slices.Delete(t.waiting, next, next+1)
		t.asking[w.who].got += int64(w.bytes)
		t.held++
		close(w.come)
	}
}
