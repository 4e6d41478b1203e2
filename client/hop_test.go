package client

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// toyHop serves layers of the toy model, and breaks where a test wants it to.
type toyHop struct {
	host host.Host
	span protocol.Span

	// spoil, if not nil, may change what is answered to the n-th step of this hop (from 1) or, with n 0, to an open; nil
	// is no answer.
	spoil func(n int, s network.Stream, answer any) any

	late time.Duration // until it hears a goodbye

	mu       sync.Mutex // guards the following
	sessions map[protocol.Key]*toySession
	steps    int
	tokens   int
	opens    int
	streams  sync.WaitGroup
}

// toySession is what a hop knows of a session.
type toySession struct {
	open    protocol.Open
	cache   *toyCache
	history []uint32
	last    uint64
}

// startHop serves span from a host.
func startHop(t *testing.T, h host.Host, span protocol.Span) *toyHop {
	t.Helper()
	hop := &toyHop{host: h, span: span, sessions: make(map[protocol.Key]*toySession)}
	h.SetStreamHandler(protocol.SessionID, hop.serve)
	return hop
}

// offer is what the hop announces.
func (h *toyHop) offer() protocol.Offer {
	o := protocol.Offer{
		Version: protocol.OfferVersion, Model: toyModel().ID, ModelName: "toy", Peer: h.host.ID(), Sequence: 1,
		Span: h.span, Target: h.span, Layers: toyLayers, State: protocol.Online, Device: "toy",
	}
	for _, a := range h.host.Addrs() {
		o.Addrs = append(o.Addrs, a.String())
	}
	return o
}

// counts are what the hop has seen so far, and the sessions that are open.
func (h *toyHop) counts() (opens, steps, tokens, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opens, h.steps, h.tokens, len(h.sessions)
}

func (h *toyHop) serve(s network.Stream) {
	h.streams.Add(1)
	defer h.streams.Done()
	defer s.Close()
	var key protocol.Key
	for {
		m, err := protocol.ReadMessage(s, toyModel().limits())
		if err != nil {
			return
		}
		switch m := m.(type) {
		case protocol.Open:
			key = m.Session
		case protocol.Close:
			time.Sleep(h.late)
		}
		n, answers := h.answers(key, m)
		for _, a := range answers {
			if h.spoil != nil {
				a = h.spoil(n, s, a)
			}
			if a != nil && protocol.WriteMessage(s, a) != nil {
				return
			}
		}
	}
}

// answers decides what is said to a message, the n-th step of this hop or, with n 0, another.
func (h *toyHop) answers(key protocol.Key, m any) (n int, answers []any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch m := m.(type) {
	case protocol.Open:
		h.opens++
		return 0, []any{h.onOpen(m)}
	case protocol.Close:
		delete(h.sessions, m.Session)
	case protocol.Step:
		states := make([]uint64, len(m.IDs))
		for i, id := range m.IDs {
			states[i] = uint64(id)
		}
		h.steps++
		return h.steps, h.onRows(h.sessions[key], m.Epoch, m.Number, int(m.Position), m.Want, m.NewIDs, states)
	case protocol.Push:
		h.steps++
		return h.steps, h.onRows(h.sessions[key], m.Epoch, m.Number, int(m.Position), m.Want, m.NewIDs, fromToyRows(m.N, m.Half))
	}
	return 0, nil
}

func (h *toyHop) onOpen(m protocol.Open) any {
	s := h.sessions[m.Session]
	switch {
	case m.Model != toyModel().ID:
		return protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeOtherManifest}
	case m.Span.Start < h.span.Start || m.Span.End > h.span.End:
		return protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeNoSuchSpan}
	case s == nil:
		s = &toySession{cache: newToyCache(m.Span)}
		h.sessions[m.Session] = s
	case m.Epoch <= s.open.Epoch:
		return protocol.Opened{Epoch: s.open.Epoch, Position: uint32(s.cache.len()), Last: s.last}
	}
	s.open = m
	s.cache.truncate(int(m.Position))
	s.history = append([]uint32(nil), m.IDs...)
	return protocol.Opened{Epoch: m.Epoch, Position: uint32(s.cache.len()), Last: s.last}
}

func (h *toyHop) onRows(s *toySession, epoch uint32, number uint64, at int, want protocol.Want, ids []uint32, states []uint64) []any {
	fail := func(code protocol.Code) []any {
		return []any{protocol.Failure{Epoch: epoch, Number: number, Code: code}}
	}
	switch {
	case s == nil || epoch != s.open.Epoch || at != s.cache.len():
		return fail(protocol.CodeLostSession)
	case number <= s.last || len(ids) != len(states):
		return fail(protocol.CodeBadRequest)
	}
	s.last = number
	h.tokens += len(states)
	for i, x := range states {
		states[i] = s.cache.push(x)
	}
	if s.open.Span.End < toyLayers {
		exp, half := toyRows(states)
		return []any{protocol.Push{
			Session: s.open.Session, Epoch: epoch, Number: number, Position: uint32(at), Want: want, NewIDs: ids,
			N: len(states), Width: toyHidden, Exp: exp, Half: half,
		}}
	}
	if len(s.history) < at {
		return fail(protocol.CodeBadRequest)
	}
	s.history = append(s.history[:at:at], ids...)
	return h.results(s, epoch, number, at, want, states)
}

func (h *toyHop) results(s *toySession, epoch uint32, number uint64, at int, want protocol.Want, states []uint64) (all []any) {
	r := protocol.Result{Epoch: epoch, Number: number, Position: uint32(at), Want: want, Final: true}
	switch want {
	case protocol.WantCandidates:
		p := s.open.Sampling
		params := sample.Params{Temperature: p.Temperature, TopK: int(p.TopK), TopP: p.TopP, Penalty: p.Penalty}
		for _, c := range sample.Candidates(toyLogits(states[len(states)-1]), s.history, params) {
			r.Candidates = append(r.Candidates, protocol.Candidate(c))
		}
	case protocol.WantRows:
		for from := 0; from < len(states); from += protocol.MaxResultRows {
			n := min(protocol.MaxResultRows, len(states)-from)
			r.Position, r.N, r.Vocab, r.Final = uint32(at+from), n, toyVocab, from+n == len(states)
			r.Logits = nil
			for _, x := range states[from : from+n] {
				r.Logits = append(r.Logits, floats(toyLogits(x))...)
			}
			all = append(all, r)
		}
		return all
	}
	return []any{r}
}

// newHost makes a host on the loopback, closed when the test ends.
func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := routing.NewHost(routing.HostConfig{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// toySwarm is a client and the hops that it knows of.
type toySwarm struct {
	client *Client
	hops   []*toyHop
	spares int // hops at the end that nobody knows of before the first failure
	asked  int
}

// newToySwarm serves the spans from a host each; what comes later in the list is slower.
func newToySwarm(t *testing.T, makeHost func(*testing.T) host.Host, spans ...protocol.Span) *toySwarm {
	t.Helper()
	w := &toySwarm{}
	for _, span := range spans {
		w.hops = append(w.hops, startHop(t, makeHost(t), span))
	}
	h := makeHost(t)
	d, err := routing.NewDirectory(t.Context(), h, routing.DirectoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	w.client = &Client{host: h, directory: d, model: toyModel(), offers: func(context.Context) ([]protocol.Offer, error) {
		var offers []protocol.Offer
		known := len(w.hops)
		if w.asked++; w.asked == 1 {
			known -= w.spares
		}
		for i, hop := range w.hops[:known] {
			o := hop.offer()
			o.DecodeRate = uint32(100_000 >> i)
			offers = append(offers, o)
		}
		return offers, nil
	}}
	return w
}

// session is a conversation over the swarm, closed when the test ends.
func (w *toySwarm) session(t *testing.T) (*Conversation, *session) {
	t.Helper()
	s := w.client.NewSession().(*session)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewConversation(w.client.model, s), s
}

// span is short for a span.
func span(start, end int) protocol.Span { return protocol.Span{Start: start, End: end} }
