// Package chain drives one session through the hops of its chain: which frame goes to which hop, with which epoch,
// number and position, what an answer must look like, when a hop counts as hung, and how the session goes on with other
// hops in the place of those that failed.
//
// A Chain decides and does nothing else: it is told what came, what was sent and how late it is, and answers with
// the actions to take. It has no clock, no stream and no goroutine, and is not safe for concurrent use. Nothing that
// a hop sends is trusted: what can't be true is a [*Fault] of the hop. The truth is the token ids, which a Chain keeps:
// whatever hops lose is made again from them, or from what the hops before have kept of it.
//
// A Fault does not end a session. Nothing more is sent until [Chain.Route] has named the hops from then on: then the
// session is opened at all of them in a new epoch, those that are behind are filled (fill.go), and the steps that were
// under way are repeated under their old numbers. Whoever has computed them answers from its ledger.
package chain

import (
	"fmt"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// Config describes a session that is about to begin.
type Config struct {
	Session protocol.Key
	Model   protocol.ModelID
	Salt    [16]byte // who shares its pages
	Private bool     // nobody does

	// Hidden is the width of a row, Vocab the number of logits.
	Hidden, Vocab int

	// Names gives the names of the pages that ids fill; nil: no pages are looked for.
	Names func(ids []uint32) []protocol.Digest
}

// Hop is a peer's place in a chain. The caller gives each stream to a peer an ID of its own: a peer that is reached
// anew has another one.
type Hop struct {
	ID    int
	Peer  protocol.PeerID
	Span  protocol.Span
	Offer []byte        // as the peer signed it: who comes before connects by it
	RTT   time.Duration // there and back; 0: not measured

	// Patience is how long it may take until something has been written to it, the dial included; 0: openLimit.
	Patience time.Duration

	// Pace is what its offer promised one layer of one token to take; 0: nothing.
	Pace time.Duration
}

// Action is something to do for the session: one of Send, Ready, Rows, Done, Replaying, Parting, Moved and *Fault.
type Action any

// Send says that a message goes to a hop.
type Send struct {
	Hop     int
	Message any // protocol.Open, Step, Push, Replay, HandOver, Ping or Close
}

// Ready says that all hops are open and hold the same Position tokens: steps may follow. Found of them were there when
// the session began.
type Ready struct {
	Position, Found int
}

// Rows are the raw logits of N positions from Position on, N*vocab float32, little endian. They belong to the
// receiver.
type Rows struct {
	Position, N int
	Logits      []byte
}

// Done says that all ids of an Append are computed. Candidates are those of its last token, if they were wanted, Steps how it
// went.
type Done struct {
	Candidates []protocol.Candidate
	Steps      []Stepped
}

// Replaying says that some hops compute Tokens tokens again, those of the run that begins at a hop.
type Replaying struct {
	Hop, Tokens int
}

// Parting says that a hop is leaving, and that nothing is under way: the session goes on after Move, Stay, or a Route
// without that hop.
type Parting struct {
	Hop      int
	Within   time.Duration
	HandOver time.Duration // that handing over its cache takes it, as it says; 0: not known
}

// Moved says that hop To has taken over the Tokens tokens of hop From, which is no longer needed.
type Moved struct {
	From, To, Tokens int
}

// Fault says why a hop can't go on. It is an error.
type Fault struct {
	Hop   int
	Class protocol.Class // what the client may do about it
	Err   error
	For   time.Duration // how long the hop had been waited for
}

func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives what happened.
func (f *Fault) Unwrap() error { return f.Err }

// phase is what a Chain waits for.
type phase int

const (
	unopened phase = iota // for Route
	opening               // for Opened from all hops
	filling               // for Replayed from the runs of hops that are behind
	ready                 // for results, if anything is under way
)

// Chain is the state of one session. Make one with New.
type Chain struct {
	cfg   Config
	hops  []hop
	phase phase
	epoch uint32
	taken uint32 // the epoch of the newest hand-over that has ended
	last  uint64 // number of the newest step

	ids      []uint32 // what the hops hold, with the steps under way and those that wait
	hope     []uint32 // until a session is Ready for the first time: the prompt whose pages may be there already
	found    int      // tokens of it that were there
	sampling protocol.Sampling
	expect   int

	// How many tokens a peer may keep that was a hop once, or was to take over from one, or has become a hop again and not
	// said yet what it holds: it knows nothing of what was taken back meanwhile, and may hold other tokens in its place.
	once map[protocol.PeerID]int

	limit    int           // no hop keeps more tokens than that
	rounds   int           // opens since the session could go on
	until    time.Duration // when the hops must have answered, if they compute nothing
	latest   time.Duration // and if they do
	nextPing time.Duration

	runs   []run
	moving *move
	queue  []step    // steps not sent yet
	flight []step    // steps under way, oldest first
	went   []Stepped // the steps of the Append that are done

	strayed bool  // this epoch was opened because a step was with nobody
	relayed int64 // bytes of rows that came this way because two hops could not connect
}

// hop is what is known of one hop. Times are since the session's start.
type hop struct {
	Hop
	fault    *Fault
	opened   bool
	position int
	last     uint64
	busy     uint32 // as it said when it was opened
	cut      int    // position to go back to at the next open; -1: none

	parting bool // it is leaving, and nothing has been done about it
	told    bool // a Parting has been given out
	within  time.Duration
	hands   time.Duration // that its hand-over takes, as it says

	unsent   int           // frames that are still being written
	heard    time.Duration // when it last showed life, or was given something to do
	reached  bool          // something has been written to it
	grace    time.Duration // time that its newest frames may need to arrive
	asked    time.Duration // when the newest open or ping was on its way
	pinged   bool          // a ping has no answer yet
	rtt      time.Duration // the shortest answer
	measured bool
	progress uint64 // of its computing, as it says
	passed   int    // replayed rows that went on to the next hop by way of the client end here
	without  int    // heartbeats since somebody last had the oldest step, which say that this hop has it not
	strays   int    // steps that got lost on their way to it or in it
}

// step is one pass of some tokens through the chain.
type step struct {
	number   uint64
	position int
	ids      []uint32
	want     protocol.Want

	first  time.Duration // when it was sent
	latest time.Duration // when it was sent for the last time

	holder   int           // the last hop that said it has it; -1: none yet
	passed   int           // rows went on to this hop by way of the client
	held     time.Duration // since when that hop has it
	shown    time.Duration // when a hop last said that it has it
	progress time.Duration // when such a hop last got on
	strays   int           // how often nobody had it
	row      int           // rows of logits that came in this epoch
	got      int           // and that were given out
}

func (s *step) end() int { return s.position + len(s.ids) }

// New makes the Chain of a session that no hop knows yet, and that has no hops yet: Open and Route must follow.
func New(cfg Config) *Chain { return &Chain{cfg: cfg, once: make(map[protocol.PeerID]int)} }

// Position is the number of tokens of the session, steps under way included.
func (c *Chain) Position() int { return len(c.ids) }

// IDs are the tokens of the session, steps under way included. They must not be changed.
func (c *Chain) IDs() []uint32 { return c.ids }

// Relayed is the bytes of rows that passed through the client because two hops could not connect.
func (c *Chain) Relayed() int64 { return c.relayed }

// Hops gives the chain's hops, and of each why it failed; nil: it did not.
func (c *Chain) Hops() (hops []Hop, faults []*Fault) {
	for _, h := range c.hops {
		hops = append(hops, h.Hop)
		faults = append(faults, h.fault)
	}
	return hops, faults
}

// Said is what a hop has told of itself: how busy it was when it was opened, and the shortest round trip to it; 0: none was
// measured.
type Said struct {
	Peer protocol.PeerID
	Busy uint32
	RTT  time.Duration
}

// Said gives what the hops have told, those that are open.
func (c *Chain) Said() (all []Said) {
	for _, h := range c.hops {
		if !h.opened {
			continue
		}
		s := Said{Peer: h.Peer, Busy: h.busy}
		if h.measured {
			s.RTT = h.rtt
		}
		all = append(all, s)
	}
	return all
}

// Broken says that the session can't go on before Route: some hop failed, or there is none.
func (c *Chain) Broken() bool {
	return len(c.hops) == 0 || slices.ContainsFunc(c.hops, func(h hop) bool { return h.fault != nil })
}

// Open opens the session at every hop, keeping at most keep tokens of its cache; steps of before are given up. It is
// also how a session is rolled back and how its sampling changes. expect is the length the session may reach, and
// prompt what it will begin with: where nothing is kept, pages that hold it already are looked for.
func (c *Chain) Open(now time.Duration, keep, expect int, sampling protocol.Sampling, prompt []uint32) []Action {
	c.settleMove()
	for i := range c.hops {
		if h := &c.hops[i]; h.parting {
			h.told = false // whoever was to see to it may be doing something else now
		}
	}
	first := c.epoch == 0
	c.sampling, c.expect, c.rounds = sampling, expect, 0
	c.until, c.latest = now+openLimit, now+stepLimit
	c.queue, c.flight = nil, nil
	c.forget(keep)
	c.hope, c.found = nil, 0
	if first && c.cfg.Names != nil && len(prompt) > 1 {
		c.hope = slices.Clone(prompt[:len(prompt)-1])
	}
	if c.Broken() {
		return nil
	}
	return c.open(now)
}

// Route names the hops from now on, in the order of their layers. Hops that the chain has already keep their streams,
// those of others are of no further use. It begins a new epoch; what was under way goes on in it.
func (c *Chain) Route(now time.Duration, hops []Hop) []Action {
	if len(hops) == 0 {
		panic("chain: no hops")
	}
	c.settleMove()
	old := c.hops
	c.hops = make([]hop, len(hops))
	for i, h := range hops {
		c.hops[i] = hop{rtt: unknownRTT, cut: -1}
		if k := slices.IndexFunc(old, func(o hop) bool { return o.ID == h.ID }); k >= 0 {
			c.hops[i] = old[k]
			c.hops[i].fault, c.hops[i].cut, c.hops[i].told = nil, -1, false
		} else if h.RTT > 0 {
			c.hops[i].rtt = min(h.RTT, maxRTT)
		}
		c.hops[i].Hop = h
	}
	for _, o := range old {
		c.leave(o)
	}
	c.rounds = 0
	c.until, c.latest = now+openLimit, now+stepLimit
	return c.open(now)
}

// leave remembers of a hop that was in the chain what it may keep when its peer comes back by another stream.
func (c *Chain) leave(h hop) {
	if slices.ContainsFunc(c.hops, func(o hop) bool { return o.ID == h.ID }) {
		return
	}
	if _, known := c.once[h.Peer]; !known {
		c.once[h.Peer] = max(len(c.ids), len(c.hope))
	}
}

// forget takes back all ids from a position on, also for those who come back.
func (c *Chain) forget(position int) {
	c.ids = c.ids[:min(position, len(c.ids))]
	for peer, kept := range c.once {
		c.once[peer] = min(kept, len(c.ids))
	}
}

// Append computes ids after what the hops hold, in steps of at most 512 tokens: all of them bring rows if rows are
// wanted, the last one alone brings candidates. It must follow Ready, or the Done of the Append before it.
func (c *Chain) Append(now time.Duration, ids []uint32, want protocol.Want) []Action {
	switch {
	case c.epoch == 0 || len(c.flight)+len(c.queue) > 0:
		panic("chain: Append to a session that is not ready")
	case len(ids) == 0:
		panic("chain: Append of nothing")
	}
	position := len(c.ids)
	c.ids = append(c.ids, ids...)
	c.went = nil
	for from := position; from < len(c.ids); from += protocol.MaxStepRows {
		until := min(from+protocol.MaxStepRows, len(c.ids))
		s := step{position: from, ids: slices.Clone(c.ids[from:until]), want: want}
		if want == protocol.WantCandidates && until < len(c.ids) {
			s.want = protocol.WantNone
		}
		c.queue = append(c.queue, s)
	}
	return c.pump(now)
}

// pump sends what may be under way. A hop that is leaving is seen to first, when nothing is under way.
func (c *Chain) pump(now time.Duration) []Action {
	if c.phase != ready || c.moving != nil || c.Broken() {
		return nil
	}
	if parting, some := c.partings(); some {
		return parting
	}
	var actions []Action
	for len(c.queue) > 0 && len(c.flight) < stepsInFlight {
		s := c.queue[0]
		c.queue = c.queue[1:]
		c.last++
		s.number, s.first = c.last, now
		if len(c.flight) == 0 {
			c.await(now)
		}
		c.flight = append(c.flight, s)
		actions = append(actions, c.begin(now, &c.flight[len(c.flight)-1]))
	}
	return actions
}

// begin sends a step to the first hop, for the first time or again.
func (c *Chain) begin(now time.Duration, s *step) Action {
	s.holder, s.passed, s.row = c.executed(s), 0, 0
	s.latest, s.held, s.progress = now, now, now
	c.show(now, s)
	return c.send(now, 0, protocol.Step{
		Epoch: c.epoch, Number: s.number, Position: uint32(s.position), Want: s.want, NewIDs: s.ids, IDs: s.ids,
	}, 4*len(s.ids))
}

// send notes that a hop has something to answer. body is the size of what travels beside the header.
func (c *Chain) send(now time.Duration, i int, message any, body int) Action {
	return c.hops[i].send(now, message, body)
}

func (h *hop) send(now time.Duration, message any, body int) Action {
	if h.unsent == 0 {
		h.grace = 0
	}
	h.unsent++
	h.heard = now
	h.grace += time.Duration(body) * time.Second / slowestLink
	return Send{Hop: h.ID, Message: message}
}

// find gives a hop by its ID, and its place; nil if it is none of the session's any more. The place of a successor
// that a cache is being moved to is -1.
func (c *Chain) find(id int) (*hop, int) {
	for i := range c.hops {
		if c.hops[i].ID == id {
			return &c.hops[i], i
		}
	}
	if c.moving != nil && c.moving.to.ID == id {
		return &c.moving.to, -1
	}
	return nil, 0
}

// Sent tells that a message for a hop has been written.
func (c *Chain) Sent(now time.Duration, id int, message any) {
	h, _ := c.find(id)
	if h == nil {
		return
	}
	h.unsent, h.reached = max(h.unsent-1, 0), true
	switch message.(type) {
	case protocol.Ping:
		h.asked = now
		return
	case protocol.Open:
		h.asked = now
	}
	h.heard = max(h.heard, now)
}

// Heard tells that bytes came from a hop, be it in the middle of a frame.
func (c *Chain) Heard(now time.Duration, id int) {
	h, i := c.find(id)
	if h == nil {
		return
	}
	h.heard = max(h.heard, now)
	if s := c.oldest(); s != nil && i == len(c.hops)-1 {
		c.holds(now, s, i) // its rows may be long
	}
}

// Lost tells that the stream to a hop could not be opened or has ended.
func (c *Chain) Lost(id int, class protocol.Class, err error) []Action {
	h, _ := c.find(id)
	if h == nil {
		return nil
	}
	return c.fail(h, class, err)
}

// Close says goodbye to every hop.
func (c *Chain) Close() []Action {
	actions := make([]Action, len(c.hops))
	for i, h := range c.hops {
		actions[i] = Send{Hop: h.ID, Message: protocol.Close{Session: c.cfg.Session}}
	}
	return actions
}

// Handle takes a message from a hop.
func (c *Chain) Handle(now time.Duration, id int, message any) []Action {
	h, i := c.find(id)
	if h == nil || h.fault != nil {
		return nil
	}
	h.heard = max(h.heard, now)
	switch m := message.(type) {
	case protocol.Opened:
		return c.onOpened(now, h, i, m)
	case protocol.Push:
		return c.onPush(now, i, m)
	case protocol.Result:
		return c.onResult(now, i, m)
	case protocol.Replayed:
		return c.onReplayed(now, h, i, m)
	case protocol.Heartbeat:
		return c.onHeartbeat(now, h, i, m)
	case protocol.Parting:
		return c.onParting(h, m)
	case protocol.Failure:
		return c.onFailure(now, h, i, m)
	}
	return c.breach(h, fmt.Errorf("it sent a %T, which a client does not take", message))
}

// fail notes that a hop can't go on, once.
func (c *Chain) fail(h *hop, class protocol.Class, err error) []Action {
	if h.fault != nil {
		return nil
	}
	h.fault = &Fault{Hop: h.ID, Class: class, Err: err}
	fault := h.fault
	if c.moving != nil && h == &c.moving.to {
		c.settleMove()
	}
	return []Action{fault}
}

// breach is a fault of a hop that sent what can't be true: another peer must take its place.
func (c *Chain) breach(h *hop, err error) []Action {
	return c.fail(h, protocol.Elsewhere, fmt.Errorf("broken promise: %w", err))
}
