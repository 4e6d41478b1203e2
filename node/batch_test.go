package node

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
)

func TestBatch_BesideALongPromptAllKeepTheirBits(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	h := newHost(t)
	ids := sequence(640)
	want := newOracle(t).logits(ids...)
	fast, slow := call(t, h, n, "fast"), call(t, newHost(t), n, "slow")
	fast.opened(fast.open(1, 0, 3, 0), 0)
	slow.opened(slow.open(1, 0, 3, 0), 0)
	fast.send(step(1, 1, 0, protocol.WantRows, ids[0]))
	fast.logits(1)

	slow.send(step(1, 1, 0, protocol.WantRows, ids[:512]...))
	slow.send(step(1, 2, 512, protocol.WantNone, ids[512:600]...))
	row := 4 * n.limits.Vocab
	for i := 1; i < 40; i++ {
		fast.send(step(1, uint64(i+1), i, protocol.WantRows, ids[i]))
		if got := fast.logits(1); !bytes.Equal(got, want[i*row:(i+1)*row]) {
			t.Fatalf("token %d: other logits beside a prompt", i)
		}
	}
	if got := slow.logits(512); !bytes.Equal(got, want[:512*row]) {
		t.Error("the prompt has other logits than alone")
	}
	answer[protocol.Result](slow)
}

func TestBatch_AloneAPromptTakesLargeChunks(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "one")
	c.opened(c.open(1, 0, 2, 0), 0)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, sequence(512)...))
	if got := count(t, n, "batch_rows_count"); got != 512/chunkAlone {
		t.Errorf("512 tokens took %d passes of %d", got, chunkAlone)
	}
}

const ridesAlong = 8

// held gives a node whose compute goroutine is held up between two passes, and a function that lets it do one pass.
// Its speeds let ridesAlong tokens of prompts ride along with others' steps.
func held(t *testing.T, start, end int) (*Node, func()) {
	t.Helper()
	return hold(t, made(t, start, end, func(c *Config) { c.Speed = Speed{Decode: 1, Prefill: ridesAlong} }))
}

func hold(t *testing.T, n *Node) (*Node, func()) {
	t.Helper()
	n.host.SetStreamHandler(protocol.SessionID, n.handle)
	n.host.SetStreamHandler(protocol.PushID, n.handlePush)
	all := make(caches)
	t.Cleanup(func() {
		n.end()
		n.handlers.Wait()
		for _, c := range all {
			c.Close()
		}
	})
	return n, func() { n.round(all) }
}

func TestBatch_ALongPromptHoldsNoDecodingUp(t *testing.T) {
	n, pass := held(t, 0, 2)
	h := newHost(t)
	fast, slow := call(t, h, n, "fast"), call(t, h, n, "slow")
	fast.opened(fast.open(1, 0, 2, 0), 0)
	slow.opened(slow.open(1, 0, 2, 0), 0)
	slow.send(step(1, 1, 0, protocol.WantNone, sequence(512)...))
	eventually(t, "the prompt waits", func() bool { return queued(n) == 1 })
	pass()
	for i := range 5 {
		fast.send(step(1, uint64(i+1), i, protocol.WantNone, 7))
		eventually(t, "the token waits", func() bool { return queued(n) == 2 })
		pass() // one is enough
		answer[protocol.Push](fast)
		if got, want := count(t, n, "tokens_total"), chunkAlone+(i+1)*(ridesAlong+1); got != want {
			t.Fatalf("%d tokens are computed after token %d, want %d", got, i, want)
		}
	}
}

// What is computed in one pass: tokens that decode, at the beginning, in the middle and at the end of a page, guesses that
// go over its end, and a piece of a prompt, none of the sessions as long as another.
func TestBatch_OnePassOfAllKindsGivesTheBitsOfEachAlone(t *testing.T) {
	type kind struct {
		name           string
		before, tokens int
	}
	kinds := []kind{{"begins", 0, 1}, {"middle", 100, 1}, {"page ends", 63, 1}, {"page begins", 64, 1}, {"guesses", 60, 8}, {"few", 7, 3}, {"prompt", 30, 200}}
	ids := sequence(400)
	computes := func(n *Node, pass func(), kinds ...kind) map[string]protocol.Push {
		h := newHost(t)
		callers := make(map[string]*caller)
		for _, k := range kinds {
			c := call(t, h, n, k.name)
			callers[k.name] = c
			c.opened(c.open(1, 0, 2, 0), 0)
			if k.before == 0 {
				continue
			}
			c.send(step(1, 1, 0, protocol.WantNone, ids[:k.before]...))
			eventually(t, "a beginning waits", func() bool { return queued(n) == 1 })
			for queued(n) > 0 {
				pass()
			}
			answer[protocol.Push](c)
		}
		for _, k := range kinds {
			callers[k.name].send(step(1, 2, k.before, protocol.WantNone, ids[k.before:k.before+k.tokens]...))
		}
		eventually(t, "all steps wait", func() bool { return queued(n) == len(kinds) })
		passes := count(t, n, "batch_rows_count")
		pass()
		if got := count(t, n, "batch_rows_count") - passes; got != 1 {
			t.Fatalf("%d passes", got)
		}
		if len(kinds) > 1 && queued(n) != 1 {
			t.Fatalf("%d steps are left, want the prompt alone", queued(n))
		}
		for queued(n) > 0 {
			pass()
		}
		got := make(map[string]protocol.Push)
		for _, k := range kinds {
			got[k.name] = answer[protocol.Push](callers[k.name])
		}
		return got
	}
	n, pass := held(t, 0, 2)
	together := computes(n, pass, kinds...)
	for _, k := range kinds {
		n, pass := held(t, 0, 2)
		if !equalPush(together[k.name], computes(n, pass, k)[k.name]) {
			t.Errorf("%s: other rows than alone", k.name)
		}
	}
}

func TestCancel_InThePromptsMidstLosesNothing(t *testing.T) {
	n, pass := held(t, 0, 2)
	c := call(t, newHost(t), n, "s")
	ids := sequence(600)
	c.opened(c.open(1, 0, 2, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, ids[:512]...))
	eventually(t, "the prompt waits", func() bool { return queued(n) == 1 })
	pass()
	pass()
	if got := count(t, n, "tokens_total"); got != 2*chunkAlone {
		t.Fatalf("%d tokens are computed", got)
	}
	c.send(c.open(2, 0, 2, 600))
	if f := answer[protocol.Failure](c); f.Epoch != 1 || f.Number != 1 || f.Code != protocol.CodeLostSession {
		t.Errorf("the prompt ended with %+v", f)
	}
	if o := answer[protocol.Opened](c); o.Position != 0 || o.Epoch != 2 {
		t.Errorf("opened %+v", o)
	}
	// The same step goes on where it was given up.
	c.send(step(2, 1, 0, protocol.WantNone, ids[:512]...))
	eventually(t, "the prompt waits", func() bool { return queued(n) == 1 })
	for range (512 - 2*chunkAlone) / chunkAlone {
		pass()
	}
	got := answer[protocol.Push](c)
	if count(t, n, "tokens_total") != 512 {
		t.Errorf("%d tokens were computed for 512", count(t, n, "tokens_total"))
	}
	fresh, _ := serve(t, 0, 2, nil)
	d := call(t, newHost(t), fresh, "s")
	d.opened(d.open(1, 0, 2, 0), 0)
	if !equalPush(got, ask[protocol.Push](d, step(1, 1, 0, protocol.WantNone, ids[:512]...))) {
		t.Error("other rows after a cancelled prompt than at once")
	}

	// Another step at the same place is another story.
	c.send(step(2, 2, 512, protocol.WantNone, ids[512:]...))
	eventually(t, "a step waits", func() bool { return queued(n) == 1 })
	c.send(c.open(3, 0, 2, 100))
	answer[protocol.Failure](c)
	o := make(chan protocol.Opened)
	go func() { o <- answer[protocol.Opened](c) }()
	for done := false; !done; {
		select {
		case got := <-o:
			if done = true; got.Position != 100 || got.Last != 0 {
				t.Errorf("opened %+v", got)
			}
		default:
			pass() // what was cut off is freed between two passes
		}
	}
}

func TestCancel_ByClosing(t *testing.T) {
	n, pass := held(t, 0, 2)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	c.send(step(1, 1, 0, protocol.WantNone, sequence(512)...))
	eventually(t, "the prompt waits", func() bool { return queued(n) == 1 })
	pass()
	c.send(protocol.Close{Session: c.key})
	answer[protocol.Failure](c)
	pass()
	pass()
	if got := count(t, n, "tokens_total"); got != chunkAlone || n.Stats().Queue != 0 {
		t.Errorf("%d tokens were computed, %d steps wait", got, n.Stats().Queue)
	}
	if used := shardOf(n).CacheFree(); used != 2048 {
		t.Errorf("%d tokens of cache are free", used)
	}
}

func TestSession_ItsOwnerComesBackOnANewStream(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	h := newHost(t)
	c := call(t, h, n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	want := ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1, 2, 3))
	again := call(t, h, n, "s") // while the old one still seems to live
	again.opened(again.open(2, 0, 2, 640), 3)
	if got := ask[protocol.Push](again, step(2, 1, 0, protocol.WantNone, 1, 2, 3)); !equalPush(got, want) {
		t.Error("other rows on the new stream")
	}
	if _, err := protocol.ReadMessage(c.s, c.lim); err == nil {
		t.Error("the older stream lives on")
	}
	if n.Stats().Sessions != 1 {
		t.Errorf("%d sessions", n.Stats().Sessions)
	}
}

func TestReplay_OfManyFramesAtOnceHoldsUpItsSender(t *testing.T) {
	n, pass := held(t, 0, 2)
	c := call(t, newHost(t), n, "s")
	ids := sequence(600)
	c.opened(c.open(1, 0, 2, 0), 0)
	for at := 0; at < 600; at += 20 {
		c.send(protocol.Step{Epoch: 1, Position: uint32(at), Through: n.host.ID(), IDs: ids[at : at+20]})
	}
	eventually(t, "two of them wait", func() bool { return queued(n) == stepsInFlight })
	msg, err := protocol.ReadMessage(c.s, c.lim)
	if b, ok := msg.(protocol.Heartbeat); err != nil || !ok || b.Epoch != 1 {
		t.Fatalf("whoever has to wait hears %+v, %v", msg, err)
	}
	if queued(n) != stepsInFlight {
		t.Errorf("%d steps wait", queued(n))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for answer[protocol.Replayed](c).Position < 600 {
		}
	}()
	for {
		select {
		case <-done:
			if got := count(t, n, "replayed_tokens_total"); got != 600 {
				t.Errorf("%d tokens were replayed", got)
			}
			return
		default:
			pass()
			time.Sleep(time.Millisecond)
		}
	}
}

func TestDrain_EndsWhenTheLastSessionHasGone(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	done := make(chan error, 1)
	go func() { done <- n.Pause(context.Background()) }()
	answer[protocol.Parting](c)
	select {
	case <-done:
		t.Fatal("paused with a session that is open")
	case <-time.After(100 * time.Millisecond):
	}
	c.send(protocol.Close{Session: c.key})
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("not paused after the last session has gone")
	}
}

func TestRun_LeavesInTimeWhateverOwnersDo(t *testing.T) {
	n, stop := serve(t, 0, 2, func(c *Config) { c.DrainFor = 300 * time.Millisecond })
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	begun := time.Now()
	go stop()
	if p := answer[protocol.Parting](c); p.WithinMS > 300 {
		t.Errorf("the node says it leaves within %d ms", p.WithinMS)
	}
	stop()
	if took := time.Since(begun); took < 250*time.Millisecond || took > time.Minute {
		t.Errorf("leaving took %v", took)
	}
}
