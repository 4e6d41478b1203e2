package gateway

import (
	"bytes"
	"net/http"
	"slices"
	"sync"
	"time"
)

// feed is the newest picture of a model's swarm, for all who watch it. Make it with newFeed.
type feed struct {
	wake chan struct{} // has the next look begin now

	mu       sync.Mutex
	watchers int // guarded by mu, as is all below
	peers    int
	same     []byte        // what the picture tells, but for its age
	event    []byte        // the picture as an event; nil: there is none yet
	news     chan struct{} // closed and replaced when there is another
}

func newFeed() *feed { return &feed{wake: make(chan struct{}, 1), news: make(chan struct{})} }

// watched says whether anybody watches.
func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watchers > 0
}

// pace is how often there is a look while somebody watches.
func (f *feed) pace() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(liveEvery, time.Duration(f.peers)*liveEach)
}

// look has the next look begin now.
func (f *feed) look() {
	select {
	case f.wake <- struct{}{}:
	default: // it is about to
	}
}

// tell has a picture go to all who watch, unless it is what they see already. Offers grow older without anybody being told.
func (f *feed) tell(o *swarmObject) {
	data, err := encode(o)
	ageless := *o
	ageless.Peers = slices.Clone(o.Peers)
	for i := range ageless.Peers {
		ageless.Peers[i].Age = 0
	}
	same, err2 := encode(&ageless)
	if err != nil || err2 != nil {
		panic("gateway: a picture of the swarm is no JSON") // it is strings and finite numbers
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peers = len(o.Peers)
	if bytes.Equal(same, f.same) {
		return
	}
	f.same, f.event = same, slices.Concat([]byte("data: "), data, []byte("\n"))
	close(f.news)
	f.news = make(chan struct{})
}

// latest gives the newest event, and what is closed when there is another.
func (f *feed) latest() (event []byte, news <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.event, f.news
}

// join counts somebody who watches.
func (f *feed) join(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers += n
}

// watchSwarm answers /api/swarm/events: the picture at once, and whenever it changes. Between two of them a comment tells
// whoever stands between us that the line is in use.
func (s *Server) watchSwarm(c *call) error {
	m, err := s.named(c)
	if err != nil {
		return err
	}
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return unavailable("%d pages watch the swarm, as many as this gateway tells: ask for /api/swarm now and then", cap(s.watchers))
	}
	c.release() // a key's limits are for what is computed for it
	ctx := c.r.Context()
	o, err := s.picture(ctx, m, lookAgain)
	if err != nil {
		return err
	}
	m.feed.tell(o)
	m.feed.join(1)
	defer m.feed.join(-1)
	m.feed.look() // those who watch now are told oftener
	out := stream{c: c}
	if c.r.Method == http.MethodHead {
		return out.write(nil)
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	sent, still := []byte(nil), []byte(": still here\n\n")
	for {
		event, news := m.feed.latest()
		if !bytes.Equal(event, sent) {
			if out.write(event) != nil {
				return nil // whoever watched has left
			}
			sent = event
		}
		select {
		case <-news:
		case <-beat.C:
			if out.write(still) != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		case <-s.leaving.Done():
			return nil
		}
	}
}
