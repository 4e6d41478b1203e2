package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// swarmView looks at the swarm, for all who want to see it together. Make it with newSwarmView.
type swarmView struct {
	directory Directory // nil: there is nothing to see
	ctx       context.Context
	looks     *sync.WaitGroup // every look that is under way

	mu     sync.Mutex
	sights map[protocol.ModelID]*sight // guarded by mu
}

// sight is what a look at a model's peers has found. All but its channel is replaced by the next look, and never changed.
type sight struct {
	seen   []routing.Seen                   // who offers, sorted by peer
	told   map[protocol.PeerID]routing.Told // what those have said that were asked themselves
	at     time.Time                        // when the look ended; zero: there has been none
	err    error                            // nobody could be asked
	ending chan struct{}                    // closed when the look that is under way ends; nil: none is
}

// newSwarmView makes a view whose looks end with ctx, and count in a group until then.
func newSwarmView(ctx context.Context, d Directory, looks *sync.WaitGroup) *swarmView {
	return &swarmView{ctx: ctx, directory: d, looks: looks, sights: make(map[protocol.ModelID]*sight)}
}

// look gives what a look has found that ended less than age ago; it joins one that is under way, or begins one. The error
// is ctx's.
func (v *swarmView) look(ctx context.Context, model protocol.ModelID, age time.Duration) (sight, error) {
	if v.directory == nil {
		return sight{}, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.sights[model]
	if s == nil {
		s = new(sight)
		v.sights[model] = s
	}
	if s.ending == nil && !s.at.IsZero() && time.Since(s.at) < age {
		return *s, nil
	}
	if s.ending == nil {
		s.ending = make(chan struct{})
		v.looks.Go(func() { v.see(model, s) })
	}
	ending := s.ending
	v.mu.Unlock()
	var err error
	select {
	case <-ending:
	case <-ctx.Done():
		err = ctx.Err()
	}
	v.mu.Lock()
	return *s, err
}

// see asks who serves a model, and then those peers how they are doing.
func (v *swarmView) see(model protocol.ModelID, s *sight) {
	ctx, cancel := context.WithTimeout(v.ctx, swarmTimeout)
	defer cancel()
	seen, err := v.directory.Offers(ctx, model)
	if err != nil && len(seen) > 0 {
		err = nil
	}
	asked := make([]protocol.PeerID, 0, len(seen))
	for _, x := range seen[:min(len(seen), maxAsked)] {
		asked = append(asked, x.Offer.Peer)
	}
	told := make(map[protocol.PeerID]routing.Told, len(asked))
	for _, t := range v.directory.AskPeers(ctx, asked) {
		told[t.Peer] = t
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	close(s.ending)
	*s = sight{seen: seen, told: told, at: time.Now(), err: err}
}

// forget has whoever looks next see what is now.
func (v *swarmView) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.sights {
		s.at = time.Time{}
	}
}

// watch asks now and then until ctx ends: what is known ages, and who knows nobody any more but those that were joined at
// first finds nobody if they are gone. While somebody looks at the map it looks oftener, and tells of what has changed.
func (s *Server) watch(ctx context.Context, m *served) {
	for {
		every := watchEvery
		if m.feed.watched() {
			every = m.feed.pace()
		}
		due := time.NewTimer(every)
		select {
		case <-ctx.Done():
			due.Stop()
			return
		case <-m.feed.wake:
			due.Stop()
		case <-due.C:
		}
		if !m.feed.watched() {
			asking, cancel := context.WithTimeout(ctx, swarmTimeout)
			_, _ = s.cfg.Directory.Offers(asking, m.ID) // whoever asks for an answer hears what is wrong
			cancel()
			continue
		}
		if o, err := s.picture(ctx, m, 0); err == nil {
			m.feed.tell(o)
		}
	}
}

// room is the tokens of cache that another session would find free, at the peers that have most of each layer.
func (v *swarmView) room(model protocol.ModelID, layers int) (tokens int, known bool) {
	if v.directory == nil {
		return 0, false
	}
	free := make([]int, layers)
	for _, x := range v.directory.Known(model) {
		if x.Offer.State == protocol.Online {
			for i := max(0, x.Offer.Span.Start); i < min(x.Offer.Span.End, layers); i++ {
				free[i] = max(free[i], int(x.Offer.CacheFree))
			}
		}
	}
	return slices.Min(free), true
}

// showSwarm answers /api/swarm.
func (s *Server) showSwarm(c *call) error {
	m, err := s.named(c)
	if err != nil {
		return err
	}
	o, err := s.picture(c.r.Context(), m, lookAgain)
	if err != nil {
		return err
	}
	return c.write(o)
}

// named gives the model that ?model= names, or the first.
func (s *Server) named(c *call) (*served, error) {
	name := c.r.URL.Query().Get("model")
	if name == "" {
		return s.models[0], nil
	}
	if m := s.find(name); m != nil {
		return m, nil
	}
	return nil, noModel(name)
}

// picture is what there is to be seen of a model's swarm, as of age ago at most.
func (s *Server) picture(ctx context.Context, m *served, age time.Duration) (*swarmObject, error) {
	seen, err := s.swarm.look(ctx, m.ID, age)
	if err != nil {
		return nil, err
	}
	var measures routing.Measures
	if s.cfg.Directory != nil {
		measures = s.cfg.Directory.Measures()
	}
	o := drawSwarm(m.Model, seen, measures)
	o.Version, o.Private = s.cfg.Process.Version, s.cfg.Private
	for _, other := range s.models {
		o.Models = append(o.Models, other.Name)
	}
	if s.cfg.Demo != nil {
		o.Demo = &demoObject{Peers: s.cfg.Demo.Peers()}
	}
	if seen.err != nil && !errors.Is(seen.err, context.Canceled) {
		o.Error = protocol.CleanText(seen.err.Error(), protocol.MaxTextBytes)
	}
	return o, nil
}
