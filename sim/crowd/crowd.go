package crowd

import (
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// Trial is a crowd of clients that come to a swarm within seconds.
type Trial struct {
	Seed            uint64
	Servers, Layers int
	Clients         int
	Within          time.Duration // they all have come then

	// Rounds is how often a client asks the peers of its chain how busy they are and plans again; 0: it goes by offers alone.
	Rounds int

	// Oracle has clients know how busy all peers are at the moment in which they plan.
	Oracle bool

	// Settle has clients go over to better chains whenever they know of one, at once and for nothing.
	Settle bool
}

// How long is looked at, once all have come.
const (
	settling = 4 * time.Second
	watching = 12 * time.Second

	settleEach = 8 // tokens after which a client that settles looks again
)

// TokensPerSecond is what all clients together get.
func (t Trial) TokensPerSecond() float64 {
	w := newWorld(t.Seed, t.Servers, t.Layers)
	all := make([]*session, t.Clients)
	w.run(20 * time.Second) // until there are offers
	for i := range all {
		s := &session{spot: w.somewhere()}
		all[i] = s
		w.after(time.Duration(w.rng.Int64N(int64(t.Within))), func() { t.come(w, s) })
	}
	w.run(w.now + t.Within + settling)
	before := tokens(all)
	w.run(w.now + watching)
	return float64(tokens(all)-before) / watching.Seconds()
}

func tokens(all []*session) (sum int) {
	for _, s := range all {
		sum += s.tokens
	}
	return sum
}

// come has a client plan, open its chain, and repair it.
func (t Trial) come(w *world, s *session) {
	offers, m := w.view(s)
	if t.Oracle {
		for _, id := range w.order {
			m.Busy[id] = w.busy(w.servers[id], s)
		}
	}
	if t.Settle {
		s.between = func() { w.settle(s) }
	}
	hops, err := routing.Plan(offers, m, w.layers)
	if err != nil {
		panic(err) // all layers are served
	}
	r := routing.NewRepair(offers, m, w.layers, hops)
	rounds := 0
	var open func(hops []routing.Hop)
	open = func(hops []routing.Hop) {
		w.open(s, hops)
		far := time.Duration(0)
		for _, h := range hops {
			far = max(far, s.spot.rtt(w.servers[h.Peer].spot))
		}
		busy := make(map[protocol.PeerID]uint32, len(hops))
		w.after(far/2, func() {
			for _, h := range hops {
				busy[h.Peer] = w.busy(w.servers[h.Peer], s)
			}
		})
		w.after(far, func() {
			if rounds < t.Rounds {
				rounds++
				if next := r.Next(busy); next != nil {
					open(next)
					return
				}
			}
			w.token(s)
		})
	}
	open(hops)
}

// open has a session at these hops and at no others.
func (w *world) open(s *session, hops []routing.Hop) {
	for _, h := range s.hops {
		delete(w.servers[h.Peer].sessions, s)
	}
	s.hops = hops
	for _, h := range hops {
		w.servers[h.Peer].sessions[s] = &visit{opened: w.now}
	}
}

// view is what a client knows: offers as they were some seconds ago, and its own round trips.
func (w *world) view(s *session) (offers []protocol.Offer, m routing.Measures) {
	m = routing.Measures{RTT: make(map[protocol.PeerID]time.Duration), Busy: make(map[protocol.PeerID]uint32)}
	for _, id := range w.order {
		x := w.servers[id]
		o := x.offer
		heard := w.now - time.Duration(w.rng.Int64N(int64(mostLate)))
		for _, t := range x.told {
			if t.at <= heard {
				o.Busy = t.busy
			}
		}
		offers = append(offers, o)
		m.RTT[id] = s.spot.rtt(x.spot)
	}
	return offers, m
}

// settle has a client go over to the best chain there is, if it is better by a margin, knowing all there is to know.
func (w *world) settle(s *session) {
	if s.tokens%settleEach != 0 {
		return
	}
	offers, m := w.view(s)
	for _, id := range w.order {
		m.Busy[id] = w.busy(w.servers[id], s)
	}
	hops, err := routing.Plan(offers, m, w.layers)
	if err != nil {
		panic(err)
	}
	now, then := routing.Predict(s.hops, m), routing.Predict(hops, m)
	if then.Total() < now.Total()*19/20 {
		w.open(s, hops)
	}
}

// Prediction has one more client come to a swarm in which clients are at work, and compares what a token was to take with
// what it takes.
func (t Trial) Prediction() (predicted, took time.Duration) {
	w := newWorld(t.Seed, t.Servers, t.Layers)
	w.run(20 * time.Second)
	for range t.Clients {
		s := &session{spot: w.somewhere()}
		w.after(time.Duration(w.rng.Int64N(int64(t.Within)+1)), func() { t.come(w, s) })
	}
	w.run(w.now + t.Within + settling + shareOver)
	s := &session{spot: w.somewhere()}
	t.come(w, s)
	w.run(w.now + settling)
	_, m := w.view(s)
	for _, h := range s.hops {
		m.Busy[h.Peer] = w.busy(w.servers[h.Peer], s)
	}
	predicted = routing.Predict(s.hops, m).Total()
	s.took = nil
	w.run(w.now + watching)
	sum := time.Duration(0)
	for _, d := range s.took {
		sum += d
	}
	return predicted, sum / time.Duration(max(len(s.took), 1))
}
