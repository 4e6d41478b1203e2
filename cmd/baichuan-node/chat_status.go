package main

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/client"
)

// watch passes an answer on and tells how it goes: between two chunks, the stepper may be asked.
func (c *chat) watch(chunks iter.Seq2[client.Chunk, error], p *pace, status func(string)) iter.Seq2[client.Chunk, error] {
	return func(yield func(client.Chunk, error) bool) {
		status("looking for a chain · Ctrl-C stops")
		p.asked = time.Now()
		for chunk, err := range chunks {
			if err == nil {
				p.now, p.len = time.Now(), c.stepper.Len()
				status(p.status(c.stepper))
			}
			if !yield(chunk, err) {
				return
			}
		}
	}
}

// pace is how fast an answer comes.
type pace struct {
	asked, first, now time.Time // first: when its first chunk came
	prompt, len       int       // tokens of the sequence then and now
}

// status tells who computes an answer, and how fast.
func (p *pace) status(s client.Stepper) string {
	if p.first.IsZero() {
		p.first, p.prompt = p.now, p.len
	}
	var parts []string
	if n, d := p.len-p.prompt, p.now.Sub(p.first); n > 0 && d > 0 {
		parts = append(parts, fmt.Sprintf("%.1f tokens/s", float64(n)/d.Seconds()))
	}
	for _, f := range s.Failovers() {
		parts = append(parts, fmt.Sprintf("%v left %s", f.Layers, peerEnd(f.Peer)))
	}
	hops := make([]string, 0, len(s.Chain()))
	for _, h := range s.Chain() {
		hops = append(hops, fmt.Sprintf("%v %s", h.Layers, peerEnd(h.Peer)))
	}
	if len(hops) > 0 {
		parts = append(parts, strings.Join(hops, " > "))
	}
	return strings.Join(append(parts, "Ctrl-C stops"), " · ")
}

// account is what /stats tells of an answer.
type account struct {
	prompt, tokens int
	timings        client.Timings
	reason         string
	chain          []client.HopInfo
	failovers      []client.Failover
	stats          client.Stats
}

func accountOf(o *client.Outcome) *account {
	return &account{len(o.PromptIDs), len(o.IDs), o.Timings, o.FinishReason, o.Chain, o.Failovers, o.Stats}
}

// stopped is the account of an answer that the user has stopped; nil: there was none yet.
func (p *pace) stopped(s client.Stepper) *account {
	if p.first.IsZero() {
		return nil
	}
	tokens := p.len - p.prompt + 1 // the newest has not been computed yet
	return &account{
		p.prompt, tokens, client.Timings{FirstToken: p.first.Sub(p.asked), Total: p.now.Sub(p.asked), Tokens: tokens}, "Ctrl-C",
		s.Chain(), s.Failovers(), s.Stats(),
	}
}

// peerEnd is the end of a peer's id: all begin alike, and a line of the screen is short.
func peerEnd(p peer.ID) string {
	if p == "" {
		return "here"
	}
	id := p.String()
	return id[max(0, len(id)-6):]
}

// tellFailovers says who left while an answer was made.
func (c *chat) tellFailovers() {
	if c.last == nil {
		return
	}
	for _, f := range c.last.failovers {
		successors := make([]string, len(f.Successors))
		for i, p := range f.Successors {
			successors[i] = peerEnd(p)
		}
		c.front.note(fmt.Sprintf("(layers %v went on from %s to %s within %d ms: %s)", f.Layers, peerEnd(f.Peer),
			strings.Join(successors, ", "), f.Stall.Milliseconds(), oneLine(f.Reason.Error())))
	}
}
