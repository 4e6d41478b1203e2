package node

import (
	"crypto/sha256"
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/pagename"
)

// private keeps tests of replays from finding pages.
func private(_ int, m *protocol.Open) { m.Private = true }

func TestReplay_FillsANewcomerAndNobodyComputesTwice(t *testing.T) {
	t.Parallel()
	nodes := threeNodes(t)
	c := newChain(t, newHost(t), "s", nodes...)
	ids := sequence(400)
	want := newOracle(t).logits(ids...)
	c.open(0, private)
	c.same(c.step(1, 0, ids[:390]...), want, 0, 390, "a prompt")
	c.same(c.step(2, 390, ids[390]), want, 390, 1, "a token")

	// The middle hop is lost, with a step on its way that the last hop has not seen.
	fresh, _ := serve(t, 1, 2, nil)
	c.replace(1, fresh)
	if at := c.open(391, private); at[0] != 391 || at[1] != 0 || at[2] != 391 {
		t.Fatalf("the hops are at %v", at)
	}
	c.first().send(protocol.Replay{Epoch: c.epoch, From: 0, Until: 390, Through: fresh.host.ID()})
	for at := uint32(0); at < 390; {
		r := answer[protocol.Replayed](c.hops[1])
		if r.Epoch != c.epoch || r.Position <= at {
			t.Fatalf("replayed %+v after %d", r, at)
		}
		at = r.Position
	}
	c.same(c.step(2, 390, ids[390]), want, 390, 1, "a step repeated under its number")
	t.Run("goes on", func(t *testing.T) {
		c.same(c.step(3, 391, ids[391:]...), want, 391, 9, "what follows")
	})
	c.counts("tokens_total", 400, 400, 400)
	c.counts("replayed_tokens_total", 0, 390, 0)
	c.counts("ledger_answers_total", 1, 0, 1)
}

func TestReplay_GoesThroughSeveralNewcomers(t *testing.T) {
	t.Parallel()
	nodes := threeNodes(t)
	c := newChain(t, newHost(t), "s", nodes...)
	ids := sequence(300)
	want := newOracle(t).logits(ids...)
	c.open(0, private)
	c.same(c.step(1, 0, ids[:280]...), want, 0, 280, "a prompt")
	for hop := 1; hop < 3; hop++ {
		fresh, _ := serve(t, hop, hop+1, nil)
		c.replace(hop, fresh)
	}
	c.open(280, private)
	through := c.nodes[2].host.ID()
	c.first().send(protocol.Replay{Epoch: c.epoch, From: 0, Until: 280, Through: through})
	for answer[protocol.Replayed](c.last()).Position < 280 {
	}
	c.open(280, func(hop int, m *protocol.Open) { m.Private = true; m.IDs = ids[:280] }) // a last hop has to be told
	c.same(c.step(2, 280, ids[280:]...), want, 280, 20, "what follows")
	c.counts("tokens_total", 300, 300, 300)

	// Now the first is lost as well: its ids come again, and go no further than the newcomer.
	fresh, _ := serve(t, 0, 1, nil)
	c.replace(0, fresh)
	c.open(300, private)
	for at := 0; at < 300; at += 75 {
		c.first().send(protocol.Step{Epoch: c.epoch, Position: uint32(at), Through: fresh.host.ID(), IDs: ids[at : at+75]})
	}
	for answer[protocol.Replayed](c.first()).Position < 300 {
	}
	c.first().send(step(c.epoch, 2, 280, protocol.WantRows, ids[280:]...))
	f := answer[protocol.Failure](c.first()) // it does not know that step, and holds more than it begins at
	if f.Code != protocol.CodeLostSession || f.Number != 2 {
		t.Errorf("the failure is %+v", f)
	}
	c.counts("tokens_total", 300, 300, 300)
}

func TestReplay_SurvivesBrokenStreams(t *testing.T) {
	t.Parallel()
	nodes := threeNodes(t)
	c := newChain(t, newHost(t), "s", nodes...)
	ids := sequence(600)
	want := newOracle(t).logits(ids...)
	c.open(0, private)
	c.step(1, 0, ids[:300]...)
	c.step(2, 300, ids[300:]...)
	for hop := 1; hop < 3; hop++ {
		fresh, _ := serve(t, hop, hop+1, nil)
		c.replace(hop, fresh)
	}
	c.open(300, func(hop int, m *protocol.Open) { m.Private = true; m.IDs = ids[:300] })
	c.first().send(protocol.Replay{Epoch: c.epoch, From: 0, Until: 300, Through: c.nodes[2].host.ID()})
	resetPushes(c.nodes[0], c.nodes[1])
	resetPushes(c.nodes[1], c.nodes[2])
	for answer[protocol.Replayed](c.last()).Position < 300 {
	}
	c.first().send(step(c.epoch, 3, 300, protocol.WantRows, ids[300:]...))
	var got []byte
	for len(got) < 300*4*nodes[0].limits.Vocab {
		if r, ok := c.last().receive().(protocol.Result); ok {
			got = append(got, r.Logits...)
		}
	}
	c.same(got, want, 300, 300, "after a replay over broken streams")
	c.counts("tokens_total", 900, 600, 600)
}

func TestReplay_SaysWhatIsNotThere(t *testing.T) {
	nodes := threeNodes(t)
	c := newChain(t, newHost(t), "s", nodes...)
	c.open(0, private)
	c.step(1, 0, 1, 2, 3)
	c.first().send(protocol.Replay{Epoch: c.epoch, From: 0, Until: 4, Through: nodes[1].host.ID()})
	if f := answer[protocol.Failure](c.first()); f.Code != protocol.CodeLostSession || f.Number != 0 || f.Epoch != c.epoch {
		t.Errorf("the failure is %+v", f)
	}
	c.first().send(protocol.Replay{Epoch: c.epoch + 1, From: 0, Until: 2, Through: nodes[1].host.ID()})
	c.step(2, 3, 4)
	c.counts("replayed_tokens_total", 0, 0, 0)
}

// pageNames gives the names of a prompt's full pages.
func pageNames(n *Node, ids []uint32) []protocol.Digest {
	var names []protocol.Digest
	for _, name := range pagename.Pages(n.limits.Model, pagename.Salt{}, ids, protocol.PageTokens) {
		names = append(names, protocol.Digest(name))
	}
	return names
}

func TestNames_ASharedPrefixIsFoundAlongTheChain(t *testing.T) {
	t.Parallel()
	nodes := threeNodes(t)
	h := newHost(t)
	ids := sequence(250)
	want := newOracle(t).logits(ids...)
	a := newChain(t, h, "a", nodes...)
	a.open(0, nil)
	a.same(a.step(1, 0, ids[:200]...), want, 0, 200, "the first conversation")

	b := newChain(t, newHost(t), "b", nodes...)
	named := func(hop int, m *protocol.Open) {
		m.IDs = ids // the last hop has to be told
		if hop == 0 {
			m.Names = pageNames(nodes[0], ids)
		}
	}
	if at := b.open(249, named); at[0] != 192 || at[1] != 192 || at[2] != 192 {
		t.Fatalf("the second conversation found %v tokens", at)
	}
	b.same(b.step(1, 192, ids[192:]...), want, 192, 58, "behind shared pages")
	b.counts("tokens_total", 258, 258, 258)
	b.counts("prefix_hit_tokens_total", 192, 192, 192)
	a.same(a.step(2, 200, ids[200:]...), want, 200, 50, "the first goes on")

	// The positions limit what is found; the first step says how much of it is used.
	d := newChain(t, newHost(t), "d", nodes...)
	if at := d.open(100, named); at[0] != 100 || at[2] != 100 {
		t.Fatalf("found %v tokens, of 100 at most", at)
	}
	d.same(d.step(1, 70, ids[70:90]...), want, 70, 20, "from within a page on")

	// Whoever wants to be alone finds nothing, nor is found.
	p := newChain(t, newHost(t), "p", nodes...)
	if at := p.open(249, func(hop int, m *protocol.Open) { named(hop, m); private(hop, m) }); at[0] != 0 || at[1] != 0 {
		t.Errorf("a private session found %v tokens", at)
	}
}

func TestNames_ANewcomerMayHaveWhatASurvivorNames(t *testing.T) {
	nodes := threeNodes(t)
	other, _ := serve(t, 1, 2, nil)
	h := newHost(t)
	ids := sequence(200)
	want := newOracle(t).logits(ids...)
	newChain(t, h, "a", nodes[0], other, nodes[2]).with(func(a *chain) { a.open(0, nil); a.step(1, 0, ids[:150]...) })

	b := newChain(t, newHost(t), "b", nodes...)
	b.open(0, nil)
	b.step(1, 0, ids[:199]...)
	b.replace(1, other)
	if at := b.open(199, nil); at[0] != 199 || at[1] != 128 || at[2] != 199 {
		t.Fatalf("the hops are at %v", at)
	}
	b.first().send(protocol.Replay{Epoch: b.epoch, From: 128, Until: 199, Through: other.host.ID()})
	if r := answer[protocol.Replayed](b.hops[1]); r.Position != 199 {
		t.Errorf("replayed %+v", r)
	}
	b.same(b.step(2, 199, ids[199]), want, 199, 1, "after the repair")
}

func (c *chain) with(do func(*chain)) { do(c) }

func TestHandOver_TheSuccessorGoesOnWithTheSameBits(t *testing.T) {
	t.Parallel()
	nodes := threeNodes(t)
	c := newChain(t, newHost(t), "s", nodes...)
	ids := sequence(200)
	want := newOracle(t).logits(ids...)
	c.open(0, nil)
	c.same(c.step(1, 0, ids[:100]...), want, 0, 100, "a prompt")
	c.same(c.step(2, 100, ids[100:150]...), want, 100, 50, "more of it")

	old := c.hops[1]
	successor, _ := serve(t, 0, 3, nil)
	c.replace(1, successor)
	m := c.hops[1].open(c.epoch+1, 1, 2, 200)
	m.Prev, m.Next, m.From = nodes[0].host.ID(), sealed(t, nodes[2]), nodes[1].host.ID()
	c.hops[1].opened(m, 0)
	old.send(protocol.HandOver{Epoch: c.epoch + 1, To: sealed(t, successor)})
	if r := answer[protocol.Replayed](c.hops[1]); r.Position != 150 || r.Epoch != c.epoch+1 {
		t.Fatalf("handed over: %+v", r)
	}
	old.send(protocol.Close{Session: old.key})
	c.epoch++
	at := c.open(200, func(hop int, m *protocol.Open) {
		if hop == 1 {
			m.Span = protocol.Span{Start: 1, End: 2}
		}
	})
	if at[0] != 150 || at[1] != 150 || at[2] != 150 {
		t.Fatalf("the hops are at %v", at)
	}
	c.same(c.step(3, 150, ids[150:]...), want, 150, 50, "after the hand-over")
	c.counts("tokens_total", 200, 50, 200)
	c.counts("replayed_tokens_total", 0, 0, 0)
	if got := count(t, nodes[1], "pages_handed_total"); got != 3 {
		t.Errorf("%d pages were handed over, want 3", got)
	}
}

func TestHandOver_RefusesPagesThatDoNotFit(t *testing.T) {
	n, _ := serve(t, 1, 2, nil)
	owner, from := newHost(t), newHost(t)
	for name, change := range map[string]func(*protocol.Page){
		"another hash":  func(p *protocol.Page) { p.Hash[0]++ },
		"out of order":  func(p *protocol.Page) { p.Index = 1 },
		"another layer": func(p *protocol.Page) { p.Layer = 0 },
		"rows first":    func(p *protocol.Page) { p.Layer = -1 },
		"too short":     func(p *protocol.Page) { p.Bytes = p.Bytes[1:]; p.Hash = digest(p.Bytes) },
	} {
		t.Run(name, func(t *testing.T) {
			c := call(t, owner, n, name)
			m := c.open(1, 1, 2, 64)
			m.From = from.ID()
			c.opened(m, 0)
			p := protocol.Page{Owner: owner.ID(), Session: c.key, Epoch: 1, Tokens: 64, Layer: 1, Bytes: make([]byte, 64*132)}
			p.Hash = digest(p.Bytes)
			change(&p)
			if err := protocol.WriteMessage(pushTo(t, from, n), p); err != nil {
				t.Fatal(err)
			}
			if f := answer[protocol.Failure](c); f.Code != protocol.CodeLostSession || f.Number != 0 || f.Epoch != 1 {
				t.Errorf("the failure is %+v", f)
			}
			c.opened(c.open(2, 1, 2, 64), 0) // it may be replayed
		})
	}
}

func digest(b []byte) protocol.Digest { return sha256.Sum256(b) }
