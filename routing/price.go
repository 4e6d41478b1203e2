package routing

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// candidate is a peer with its prices in microseconds.
type candidate struct {
	offer *protocol.Offer
	span  protocol.Span // of what is planned, in the planner's counting
	layer int64         // one layer of one token
	own   int64         // of it, without what strangers cost
	fix   int64         // being in the chain at all
	wait  int64         // beside it, for other sessions
	lacks int64         // and because there is no room for the session
	send  int64         // handing a row to the next hop, beside the way
	rtt   int64         // between the client and it
	in    int64         // the way to it where it is the first
	out   int64         // and from it where it is the last, with the head
	head  int64         // of it, the head alone

	prefill int64 // one layer of one token of a prompt
	found   int64 // of a layer's price, because of what the peer holds
}

// enter is what it costs to begin a hop.
func (c *candidate) enter() int64 { return c.fix + c.wait + c.lacks }

func priced(o *protocol.Offer, m *Measures) candidate {
	rate := int64(o.DecodeRate)
	if rate == 0 {
		rate = unknownRate
	}
	c := candidate{offer: o, own: (1_000_000 + rate - 1) / rate, fix: hopFix, rtt: m.roundTrip(o)}
	c.prefill = c.own
	if o.PrefillRate > o.DecodeRate {
		c.prefill = 1_000_000 / int64(o.PrefillRate)
	}
	if o.HeadRate > 0 && o.Span.End == o.Layers {
		c.head = (1_000_000 + int64(o.HeadRate) - 1) / int64(o.HeadRate)
	}
	if pace := int64(m.Pace[o.Peer]); pace > 0 {
		c.own, c.head = max(1, c.own*pace/1000), c.head*pace/1000
	}
	c.wait = waits(c.own*int64(o.Span.Len())+c.head+c.fix, m.busy(o))
	c.layer = c.own
	if len(m.Prefer) > 0 && !m.Prefer[o.Peer] {
		c.layer += strangerCost
	}
	if room := int64(m.Affinity.Room); room > int64(o.CacheFree) {
		c.lacks = noRoomCost
	}
	if o.NetRate > 0 {
		c.send = min(rowBytes*1_000_000/int64(min(o.NetRate, protocol.MaxNetRate)), mostSend)
	}
	if o.Relayed {
		c.send += relayCost
		c.fix += relayCost
	}
	return c
}

// waits is how long a step waits for others at a peer where it takes alone microseconds with nothing else to do.
func waits(alone int64, busy uint32) int64 {
	b := int64(min(busy, mostBusy))
	return alone * b / (1000 - b)
}

// busy is the newest that a peer has said of it.
func (m *Measures) busy(o *protocol.Offer) uint32 {
	if live, known := m.Busy[o.Peer]; known {
		return live
	}
	return o.Busy
}

// roundTrip is that between the client and a peer, in microseconds.
func (m *Measures) roundTrip(o *protocol.Offer) int64 {
	rtt, measured := m.RTT[o.Peer]
	if !measured {
		rtt = unknownRTT
		if o.Relayed {
			rtt *= 2
		}
	}
	return max(0, min(rtt, protocol.MaxNearRTT).Microseconds())
}

// Crowd is what a peer knows of the sessions that it has, to say how busy it is.
type Crowd struct {
	Sessions int           // that decode, or have been opened and are about to
	Away     time.Duration // how long one is elsewhere between two of its steps here
	Alone    time.Duration // what a step takes that is computed alone
	Share    int64         // of the time in which the device computed lately, in thousandths

	Decode, Prefill uint32 // tokens/s through one layer

	// More is how much longer steps took lately than alone, when Stepping sessions were at it; 0 of these: there were none.
	More     time.Duration
	Stepping int
}

// Busy is what a peer says of how busy it is (protocol.Offer): the part of a newcomer's time here that is other sessions', in
// thousandths. So what takes 1 alone takes 1/(1-busy) among them.
//
// The device computes the steps of several sessions in one pass, so being busy does not mean that there is no room: what
// counts is the wait for the pass under way, and by how much each row beside makes a pass longer. That is measured, as far
// as there are steps, and told from the number of sessions as far as those that are opened have had none: else a crowd that
// comes within seconds is seen when it is too late.
func (c Crowd) Busy() uint32 {
	alone := max(c.Alone, time.Microsecond).Microseconds()
	takes := alone * c.among(c.Sessions, c.Share) / 1000
	if c.Stepping > 0 {
		takes = (alone + max(c.More, 0).Microseconds()) * c.among(c.Sessions, 0) / c.among(c.Stepping-1, 0)
	}
	more := max(takes-alone, 0)
	return uint32(min(1000*more/(alone+hopFix+more), mostBusy))
}

// among is how many times as long as alone a step takes among some sessions, in thousandths.
//
// A token in company costs at least what one of a prompt costs, decode/prefill of one alone, for then the weights are read
// anyway, and a quarter of that where reading them is what takes the time. On the machine of node/limits.go that is a fifth,
// and 4, 8, 16 and 32 tokens together take 1.14, 1.8, 3.3 and 6.2 times as long as one; this has 1.15, 1.8, 3.5 and 7.0.
//
// With n sessions that are away for a, a pass of p has max(1, y) rows and min(1, y) of the time, where y = n*p / (a + p +
// the wait) is how many come while one is computed. Who comes at any time waits for half a pass, if there is one.
func (c Crowd) among(sessions int, share int64) int64 {
	gain := int64(900) // with which a pass over one row takes 1,000
	if c.Decode > 0 && c.Prefill > c.Decode {
		gain = min(gain, 1000*int64(c.Decode)/int64(c.Prefill))
	}
	pass := func(rows int64) int64 { // both in thousandths
		return max(1000+(rows-1000)*gain/4000, rows*gain*11/10_000)
	}
	n, away := int64(min(max(sessions, 0), maxCrowd)), int64(1000*min(c.Away, time.Minute)/max(c.Alone, time.Microsecond))
	rows, wait, took := int64(0), int64(0), int64(1000)
	for range crowdRounds {
		took = pass(max(rows, 1000))
		rows = 1000 * n * took / max(away+took+wait, 1)
		wait = took * min(max(rows, share), 1000) / 2000
	}
	return wait + pass(rows+1000)
}

// link is a round trip to another candidate, in microseconds.
type link struct {
	to  int32
	rtt int64
}

// links are the round trips that peers have measured to each other: those of peer i are all[begin[i]:begin[i+1]]. Each is
// there for both of them, and may come twice.
type links struct {
	begin []int32
	all   []link
}

func (l *links) of(i int) []link { return l.all[l.begin[i]:l.begin[i+1]] }

type pair struct {
	a, b int32
	rtt  int64
}

// connect takes down who is how far from whom, and from the ends of what is planned.
func (p *planner) connect(offers []protocol.Offer, m Measures) {
	index := make(map[protocol.PeerTail]int32, len(p.peers))
	for i := range p.peers {
		index[protocol.TailOf(p.peers[i].offer.Peer)] = int32(i)
	}
	p.near.begin = make([]int32, len(p.peers)+1)
	pairs := make([]pair, 0, protocol.MaxNear*len(p.peers)/2)
	for i := range p.peers {
		for _, n := range p.peers[i].offer.Near {
			if j, known := index[n.Peer]; known && j != int32(i) {
				pairs = append(pairs, pair{int32(i), j, max(0, n.RTT.Microseconds())})
				p.near.begin[i+1]++
				p.near.begin[j+1]++
			}
		}
	}
	for i := range p.peers {
		p.near.begin[i+1] += p.near.begin[i]
	}
	next := append([]int32(nil), p.near.begin...)
	p.near.all = make([]link, 2*len(pairs))
	for _, n := range pairs {
		p.near.all[next[n.a]], p.near.all[next[n.b]] = link{n.b, n.rtt}, link{n.a, n.rtt}
		next[n.a]++
		next[n.b]++
	}
	for i := range p.peers {
		p.peers[i].in, p.peers[i].out = p.peers[i].rtt/2, p.peers[i].rtt/2
		if p.ends {
			p.peers[i].out += p.peers[i].head
		}
	}
	p.attach(offers, m, m.Before, func(c *candidate, o *candidate, lag int64) { c.in = lag + o.send })
	p.attach(offers, m, m.After, func(c *candidate, o *candidate, lag int64) { c.out = lag + c.send })
}

// attach has an end of what is planned at another peer than the client.
func (p *planner) attach(offers []protocol.Offer, m Measures, end peer.ID, set func(c, o *candidate, lag int64)) {
	if end == "" {
		return
	}
	o := &protocol.Offer{Peer: end}
	for _, x := range newest(offers) {
		if x.Peer == end {
			o = x
		}
	}
	e := priced(o, &m)
	for i := range p.peers {
		c := &p.peers[i]
		set(c, &e, between(c, &e)/2)
	}
}

// between is the round trip between two peers: the longest that either has measured, for one may want to look near.
// Else it is between the difference and the sum of their ways to the client, and so, in the middle of the two, the longer
// way. Two that are on the client's own machine are nowhere else.
func between(a, b *candidate) int64 {
	if a.rtt == 0 && b.rtt == 0 {
		return 0
	}
	measured := int64(-1)
	for _, pair := range [][2]*candidate{{a, b}, {b, a}} {
		tail := protocol.TailOf(pair[1].offer.Peer)
		for _, n := range pair[0].offer.Near {
			if n.Peer == tail {
				measured = max(measured, n.RTT.Microseconds())
			}
		}
	}
	if measured >= 0 {
		return measured
	}
	return estimate(a, b)
}

// estimate is a round trip that neither peer has measured. A relay on the way may be anywhere: then it is their sum.
func estimate(a, b *candidate) int64 {
	if a.offer.Relayed || b.offer.Relayed {
		return a.rtt + b.rtt
	}
	return max(a.rtt, b.rtt)
}

// micros is a time.
func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
