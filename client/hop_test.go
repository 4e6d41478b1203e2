package client

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// toyHop serves layers of the toy model, and breaks where a test wants it to.
type toyHop struct {
	host host.Host
	span protocol.Span
	info peer.AddrInfo

	// spoil, if not nil, may change what is answered to the n-th step of this hop (from 1), with n 0 to an open, or with n
	// -1 to a replay; nil is no answer. While it runs, the hop says that it works.
	spoil func(n int, s network.Stream, answer any) any

	room    int           // sessions at most; 0: any number
	since   time.Time     // before, nobody offers the hop
	late    time.Duration // until it hears a goodbye
	hung    atomic.Bool   // it does nothing for so long
	nap     time.Duration
	beats   atomic.Uint64
	epoch   atomic.Uint32 // of the newest open
	working atomic.Value  // of protocol.Step
	before  atomic.Value  // of peer.ID

	mu       sync.Mutex // guards the following
	sessions map[protocol.Key]*toySession
	steps    int
	tokens   int
	opens    int
	streams  sync.WaitGroup
}

// toyStream is a stream that two goroutines write to, one frame at a time: a stream sends a long frame in pieces, and another's
// would come to lie between them.
type toyStream struct {
	network.Stream
	mu sync.Mutex
}

func (s *toyStream) Write(frame []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Stream.Write(frame)
}

// toySession is what a hop knows of a session.
type toySession struct {
	open    protocol.Open
	cache   *toyCache
	history []uint32
	last    uint64
	ledger  []protocol.Step // number, position and ids' count of the last two steps
}

// startHop serves span from a host.
func startHop(t *testing.T, h host.Host, span protocol.Span) *toyHop {
	t.Helper()
	hop := &toyHop{host: h, span: span, info: peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}, sessions: make(map[protocol.Key]*toySession), nap: time.Hour}
	h.SetStreamHandler(protocol.SessionID, hop.serve)
	return hop
}

// offer is what the hop announces.
func (h *toyHop) offer() protocol.Offer {
	o := protocol.Offer{
		Version: protocol.OfferVersion, Model: toyModel().ID, ModelName: "toy", Peer: h.host.ID(), Sequence: 1,
		Span: h.span, Target: h.span, Layers: toyLayers, State: protocol.Online, Device: "toy",
	}
	for _, a := range h.info.Addrs {
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

// prev is who sends rows in the newest session.
func (h *toyHop) prev() peer.ID { return h.before.Load().(peer.ID) }

// serve reads messages and answers pings at once; another goroutine does the rest.
func (h *toyHop) serve(bare network.Stream) {
	s := &toyStream{Stream: bare}
	h.streams.Add(1)
	defer h.streams.Done()
	defer s.Close()
	work := make(chan any, 64)
	var worker sync.WaitGroup
	worker.Go(func() { h.work(s, work) })
	defer worker.Wait()
	defer close(work)
	for {
		m, err := protocol.ReadMessage(s, toyModel().limits())
		if err != nil {
			return
		}
		if h.hung.Load() {
			time.Sleep(h.nap)
		}
		if _, ok := m.(protocol.Ping); !ok {
			work <- m
			continue
		}
		beat := protocol.Heartbeat{Epoch: h.epoch.Load(), Progress: h.beats.Load()}
		if step, _ := h.working.Load().(protocol.Step); step.Number > 0 {
			beat.Epoch, beat.Number, beat.Running, beat.Progress = step.Epoch, step.Number, true, h.beats.Add(1)
		}
		if protocol.WriteMessage(s, beat) != nil {
			return
		}
	}
}

func (h *toyHop) work(s network.Stream, work <-chan any) {
	var key protocol.Key
	for m := range work {
		switch m := m.(type) {
		case protocol.Open:
			key = m.Session
			h.epoch.Store(m.Epoch)
			h.before.Store(m.Prev)
		case protocol.Close:
			time.Sleep(h.late)
		case protocol.Step:
			h.working.Store(m)
		case protocol.Push:
			h.working.Store(protocol.Step{Epoch: m.Epoch, Number: m.Number})
		}
		n, answers := h.answers(key, m)
		for _, a := range answers {
			if h.spoil != nil {
				a = h.spoil(n, s, a)
			}
			if a != nil && protocol.WriteMessage(s, a) != nil {
				s.Reset()
				break
			}
		}
		h.working.Store(protocol.Step{})
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
		return h.step(key, m, states)
	case protocol.Push:
		step := protocol.Step{Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Through: m.Through, NewIDs: m.NewIDs}
		return h.step(key, step, fromToyRows(m.N, m.Half))
	case protocol.Replay:
		return -1, h.replay(h.sessions[key], m)
	}
	return 0, nil
}

// step counts steps, but not what is replayed.
func (h *toyHop) step(key protocol.Key, m protocol.Step, states []uint64) (n int, answers []any) {
	n = -1
	if m.Number != 0 {
		h.steps++
		n = h.steps
	}
	return n, h.onRows(h.sessions[key], m, states)
}

// replay pushes what the hop made of some tokens once more.
func (h *toyHop) replay(s *toySession, m protocol.Replay) (all []any) {
	if s == nil || m.Epoch != s.open.Epoch || int(m.Until) > s.cache.len() {
		return []any{protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeLostSession}}
	}
	const most = 256
	out := s.cache.states[len(s.cache.states)-1]
	for from := int(m.From); from < int(m.Until); from += most {
		step := protocol.Step{Epoch: m.Epoch, Position: uint32(from), Through: m.Through}
		all = append(all, h.push(s, step, out[from:min(from+most, int(m.Until))]))
	}
	return all
}

func (h *toyHop) push(s *toySession, m protocol.Step, states []uint64) protocol.Push {
	exp, half := toyRows(states)
	return protocol.Push{
		Session: s.open.Session, Epoch: m.Epoch, Number: m.Number, Position: m.Position, Want: m.Want, Through: m.Through,
		NewIDs: m.NewIDs, N: len(states), Width: toyHidden, Exp: exp, Half: half,
	}
}

func (h *toyHop) onOpen(m protocol.Open) any {
	s := h.sessions[m.Session]
	switch {
	case m.Model != toyModel().ID:
		return protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeOtherManifest}
	case m.Span.Start < h.span.Start || m.Span.End > h.span.End:
		return protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeNoSuchSpan}
	case s == nil && h.room > 0 && len(h.sessions) >= h.room:
		return protocol.Failure{Epoch: m.Epoch, Code: protocol.CodeNoMemory}
	case s == nil || m.Span != s.open.Span && m.Epoch > s.open.Epoch: // of other layers it holds nothing
		s = &toySession{cache: newToyCache(m.Span)}
		h.sessions[m.Session] = s
	case m.Epoch <= s.open.Epoch:
		return protocol.Opened{Epoch: s.open.Epoch, Position: uint32(s.cache.len()), Last: s.last}
	}
	s.open = m
	s.cache.truncate(int(m.Position))
	for i, e := range s.ledger {
		if int(e.Position)+len(e.IDs) > s.cache.len() {
			s.last, s.ledger = e.Number-1, s.ledger[:i]
			break
		}
	}
	s.history = append([]uint32(nil), m.IDs...)
	return protocol.Opened{Epoch: m.Epoch, Position: uint32(s.cache.len()), Last: s.last}
}

// onRows computes a step, or answers it from the ledger.
func (h *toyHop) onRows(s *toySession, m protocol.Step, states []uint64) []any {
	fail := func(code protocol.Code) []any {
		return []any{protocol.Failure{Epoch: m.Epoch, Number: m.Number, Code: code}}
	}
	if s == nil || m.Epoch != s.open.Epoch {
		return fail(protocol.CodeLostSession)
	}
	at, n := int(m.Position), len(states)
	switch again := s.recorded(m.Number); {
	case again:
		states = slices.Clone(s.cache.states[len(s.cache.states)-1][at : at+n])
	case at != s.cache.len():
		return fail(protocol.CodeLostSession)
	case m.Number != 0 && (m.Number <= s.last || len(m.NewIDs) != n):
		return fail(protocol.CodeBadRequest)
	default:
		h.tokens += n
		for i, x := range states {
			states[i] = s.cache.push(x)
		}
		if m.Number != 0 {
			s.last = m.Number
			s.ledger = append(s.ledger, protocol.Step{Number: m.Number, Position: m.Position, IDs: m.NewIDs})
			s.ledger = s.ledger[max(0, len(s.ledger)-2):]
		}
	}
	switch {
	case m.Number == 0 && m.Through == h.host.ID():
		return []any{protocol.Replayed{Epoch: m.Epoch, Position: uint32(s.cache.len())}}
	case s.open.Span.End < toyLayers:
		return []any{h.push(s, m, states)}
	case len(s.history) < at:
		return fail(protocol.CodeBadRequest)
	}
	s.history = append(s.history[:at:at], m.NewIDs...)
	return h.results(s, m.Epoch, m.Number, at, m.Want, states)
}

func (s *toySession) recorded(number uint64) bool {
	return slices.ContainsFunc(s.ledger, func(m protocol.Step) bool { return m.Number == number })
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
	grace  time.Duration

	mu    sync.Mutex
	asked int // guarded by mu
}

// newToySwarm serves the spans from a host each; what comes later in the list is slower.
func newToySwarm(t *testing.T, makeHost func(*testing.T) host.Host, spans ...protocol.Span) *toySwarm {
	t.Helper()
	w := &toySwarm{grace: time.Second}
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
		w.mu.Lock()
		defer w.mu.Unlock()
		known := len(w.hops)
		if w.asked++; w.asked == 1 {
			known -= w.spares
		}
		for i, hop := range w.hops[:known] {
			if time.Now().Before(hop.since) {
				continue
			}
			o := hop.offer()
			o.DecodeRate = uint32(100_000 >> i)
			offers = append(offers, o)
		}
		return offers, nil
	}, sealed: func(peer.ID) []byte { return nil }}
	return w
}

// session is a conversation over the swarm, closed when the test ends.
func (w *toySwarm) session(t *testing.T) (*Conversation, *session) {
	t.Helper()
	s := w.client.NewSession(SessionConfig{Grace: w.grace}).(*session)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewConversation(w.client.model, s), s
}

// span is short for a span.
func span(start, end int) protocol.Span { return protocol.Span{Start: start, End: end} }

// The toy answers pings from another goroutine than steps: its frames must not get into each other when they have to wait.
func TestToyHop_WritesWholeFrames(t *testing.T) {
	hop := startHop(t, newHost(t), span(0, toyLayers))
	h := newHost(t)
	if err := h.Connect(t.Context(), hop.info); err != nil {
		t.Fatal(err)
	}
	s, err := h.NewStream(t.Context(), hop.host.ID(), protocol.SessionID)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	ids := prompt(400) // 3 MB of logits, far more than a stream takes before they are read
	say := func(m any) {
		if err := protocol.WriteMessage(s, m); err != nil {
			t.Fatal(err)
		}
	}
	say(protocol.Open{Epoch: 1, Model: toyModel().ID, Span: span(0, toyLayers), Expect: 400, Sampling: protocol.Sampling{Penalty: 1}})
	say(protocol.Step{Epoch: 1, Number: 1, Want: protocol.WantRows, NewIDs: ids, IDs: ids})
	cache := newToyCache(span(0, toyLayers))
	for pings, beats, rows := 0, 0, 0; beats < pings || rows < len(ids); {
		m, err := protocol.ReadMessage(s, toyModel().limits())
		if err != nil {
			t.Fatalf("after %d rows and %d heartbeats: %v", rows, beats, err)
		}
		switch m := m.(type) {
		case protocol.Heartbeat:
			beats++
		case protocol.Result:
			for i := range m.N {
				row := m.Logits[4*toyVocab*i : 4*toyVocab*(i+1)]
				if !bytes.Equal(row, floats(toyLogits(cache.push(uint64(ids[rows]))))) {
					t.Fatalf("row %d has other bytes", rows)
				}
				rows++
			}
			for range 4 { // while the next rows wait for room
				say(protocol.Ping{})
				pings++
			}
		}
	}
}
