package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/node/session"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

func TestSession_OneHopGivesTheBitsOfDirectComputation(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	c := call(t, newHost(t), n, "one")
	ids := sequence(40)
	want := newOracle(t).logits(ids...)

	c.opened(c.open(1, 0, 3, 0), 0)
	c.send(step(1, 1, 0, protocol.WantRows, ids[:23]...))
	got := c.logits(23)
	c.send(step(1, 2, 23, protocol.WantRows, ids[23:39]...))
	got = append(got, c.logits(16)...)
	c.send(step(1, 3, 39, protocol.WantRows, ids[39]))
	got = append(got, c.logits(1)...)
	if !bytes.Equal(got, want) {
		t.Error("other logits than by computing directly")
	}
}

// twoHops runs ids through nodes of layers 0:2 and 2:3 as steps of the given lengths, and gives the logits of all rows.
func twoHops(first, last *caller, epoch uint32, number uint64, position int, ids []uint32, lengths ...int) []byte {
	first.t.Helper()
	var got []byte
	for _, n := range lengths {
		p := ask[protocol.Push](first, step(epoch, number, position, protocol.WantRows, ids[position:position+n]...))
		last.send(last.push(p))
		got = append(got, last.logits(n)...)
		number++
		position += n
	}
	return got
}

func TestSession_TwoHopsGiveTheBitsOfDirectComputation(t *testing.T) {
	a, _ := serve(t, 0, 2, nil)
	b, _ := serve(t, 1, 3, nil) // is asked for a part of what it serves
	h := newHost(t)
	first, last := call(t, h, a, "first"), call(t, h, b, "last")
	ids := sequence(600)
	want := newOracle(t).logits(ids...)

	first.opened(first.open(1, 0, 2, 0), 0)
	last.opened(last.open(1, 2, 3, 0), 0)
	if !bytes.Equal(twoHops(first, last, 1, 1, 0, ids, 512, 17, 70, 1), want) {
		t.Error("other logits than by computing directly")
	}
}

func TestSession_ManyAtOnceKeepTheirBits(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	h := newHost(t)
	ids := sequence(20)
	want := newOracle(t).logits(ids...)
	callers := make([]*caller, 8)
	for i := range callers {
		callers[i] = call(t, h, n, string(rune('a'+i)))
		callers[i].opened(callers[i].open(1, 0, 3, 0), 0)
	}
	for from, number := 0, uint64(1); from < len(ids); from, number = from+5, number+1 {
		for _, c := range callers { // all of them wait before the first is read
			c.send(step(1, number, from, protocol.WantRows, ids[from:from+5]...))
		}
		row := 4 * n.limits.Vocab
		for _, c := range callers {
			if !bytes.Equal(c.logits(5), want[from*row:(from+5)*row]) {
				t.Fatalf("session %s: other logits from token %d on than alone", c.key, from)
			}
		}
	}
}

func TestSession_SendsTheCandidatesOfTheLastRow(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	c := call(t, newHost(t), n, "one")
	ids := sequence(9)
	rows := newOracle(t).logits(ids...)
	logits := make([]float32, n.limits.Vocab)
	if _, err := binary.Decode(rows[8*4*len(logits):], binary.LittleEndian, logits); err != nil {
		t.Fatal(err)
	}
	p := sample.Params{Temperature: 0.7, TopK: 5, TopP: 0.9, Penalty: 1.3}
	want := sample.Candidates(logits, ids, p)

	open := c.open(1, 0, 3, 0)
	open.Sampling = protocol.Sampling{Temperature: 0.7, TopK: 5, TopP: 0.9, Penalty: 1.3}
	c.opened(open, 0)
	none := ask[protocol.Result](c, step(1, 1, 0, protocol.WantNone, ids[:4]...))
	if !none.Final || none.N != 0 || len(none.Candidates) != 0 {
		t.Errorf("the result of wanting nothing is %+v", none)
	}
	r := ask[protocol.Result](c, step(1, 2, 4, protocol.WantCandidates, ids[4:]...))
	if !r.Final || r.Position != 8 || len(r.Candidates) != len(want) {
		t.Fatalf("result %+v, want %d candidates after token 8", r, len(want))
	}
	for i := range want {
		if r.Candidates[i] != protocol.Candidate(want[i]) {
			t.Errorf("candidate %d is %+v, want %+v", i, r.Candidates[i], want[i])
		}
	}
	noIDs := step(1, 3, 9, protocol.WantCandidates, 7)
	noIDs.NewIDs = nil
	c.refused(noIDs, protocol.CodeBadRequest)
}

func TestSession_AnswersARepeatWithoutComputing(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "one")
	c.opened(c.open(1, 0, 2, 0), 0)
	first := ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1, 2, 3))
	second := ask[protocol.Push](c, step(1, 2, 3, protocol.WantNone, 4))
	c.opened(c.open(2, 0, 2, 4), 4) // reconnecting does not forget
	for _, tc := range []struct {
		step protocol.Step
		want protocol.Push
	}{
		{step(2, 2, 3, protocol.WantNone, 4), second},
		{step(2, 1, 0, protocol.WantNone, 1, 2, 3), first},
	} {
		if got := ask[protocol.Push](c, tc.step); !equalPush(got, tc.want) || got.Epoch != 2 {
			t.Errorf("repeating step %d gave other rows or epoch %d", tc.step.Number, got.Epoch)
		}
	}
	c.refused(step(2, 2, 3, protocol.WantNone, 5), protocol.CodeBadRequest)
	if text := scrape(t, n); !strings.Contains(text, "baichuan_node_tokens_total 4\n") || !strings.Contains(text, "baichuan_node_steps_total 2\n") {
		t.Errorf("something was computed twice:\n%s", text)
	}
}

func TestSession_RefusesWhatItCanNotExecute(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "one")
	c.refused(step(1, 1, 0, protocol.WantNone, 1), protocol.CodeLostSession)
	c.opened(c.open(2, 0, 2, 0), 0)
	ask[protocol.Push](c, step(2, 1, 0, protocol.WantNone, 1, 2))

	f := c.refused(step(1, 2, 2, protocol.WantNone, 3), protocol.CodeLostSession)
	if f.Epoch != 1 || f.Number != 2 {
		t.Errorf("the refusal is of epoch %d, step %d", f.Epoch, f.Number)
	}
	c.refused(step(2, 2, 1, protocol.WantNone, 3), protocol.CodeLostSession)
	c.refused(step(2, 2, 3, protocol.WantNone, 3), protocol.CodeLostSession)
	c.refused(protocol.Opened{Epoch: 1}, protocol.CodeUnsupported)
	c.refused(protocol.Push{Session: c.key, Epoch: 2, Number: 2, Position: 2, N: 1, Width: 64, Exp: []byte{0}, Half: make([]byte, 128)}, protocol.CodeBadRequest)
	if o := ask[protocol.Opened](c, c.open(1, 0, 2, 0)); o.Epoch != 2 || o.Position != 2 || o.Last != 1 {
		t.Errorf("a lower epoch was answered with %+v", o)
	}
	ask[protocol.Push](c, step(2, 2, 2, protocol.WantNone, 3))
}

func TestOpen_RefusesWithTheReason(t *testing.T) {
	n, _ := serve(t, 0, 2, func(c *Config) { c.SessionsPerPeer = 2 })
	h := newHost(t)
	c := call(t, h, n, "one")
	c.refused(c.open(1, 0, 3, 0), protocol.CodeNoSuchSpan)
	if f := c.refused(c.open(3, 2, 3, 0), protocol.CodeNoSuchSpan); f.Epoch != 3 {
		t.Errorf("the refusal of an open of epoch 3 is of epoch %d", f.Epoch)
	}
	c.opened(c.open(1, 0, 2, 0), 0)
	second := call(t, h, n, "two")
	second.opened(second.open(1, 0, 2, 0), 0)
	other := second.open(1, 0, 2, 0)
	other.Session[0]++
	second.refused(other, protocol.CodeBadRequest)
	third := call(t, h, n, "three")
	third.refused(third.open(1, 0, 2, 0), protocol.CodeBusy)

	wrong := call(t, h, n, "four")
	open := wrong.open(1, 0, 2, 0)
	open.Model[0]++
	wrong.refused(open, protocol.CodeOtherManifest)
	forged := wrong.open(1, 0, 2, 0)
	forged.Next = []byte("no offer")
	call(t, h, n, "five").refused(forged, protocol.CodeBadRequest)

	// The places of others are not ours, but the cache is everybody's.
	h2 := newHost(t)
	for i := range 3 {
		greedy := call(t, h2, n, "g"+string(rune('0'+i)))
		open := greedy.open(1, 0, 2, 0)
		open.Expect = 640
		if i < 2 {
			greedy.opened(open, 0)
		} else {
			greedy.refused(open, protocol.CodeBusy)
		}
	}
	greedy := call(t, newHost(t), n, "g")
	open = greedy.open(1, 0, 2, 0)
	open.Expect = 640
	greedy.opened(open, 0) // 2 x 64 + 3 x 640 = 2048
	last := call(t, newHost(t), n, "h")
	open = last.open(1, 0, 2, 0)
	open.Expect = 640 // more than a fourth part
	last.refused(open, protocol.CodeNoMemory)
	c.send(protocol.Close{Session: c.key})
	eventually(t, "there is room again", func() bool { return n.Stats().CacheFree == 64 })
	last.opened(last.open(1, 0, 2, 0), 0)
}

func TestSession_IsItsOwnersAlone(t *testing.T) {
	n, _ := serve(t, 1, 2, nil)
	owner, stranger := call(t, newHost(t), n, "key"), call(t, newHost(t), n, "key")
	owner.opened(owner.open(1, 1, 2, 0), 0)
	rows := protocol.Push{Epoch: 1, Number: 1, N: 1, Width: 64, Exp: []byte{0}, Half: make([]byte, 128)}
	ask[protocol.Push](owner, owner.push(rows))

	stranger.refused(stranger.push(rows), protocol.CodeLostSession)
	stranger.send(protocol.Close{Session: stranger.key})
	stranger.opened(stranger.open(7, 1, 2, 0), 0) // one of its own
	if n.Stats().Sessions != 2 {
		t.Errorf("%d sessions, want the owner's and the stranger's", n.Stats().Sessions)
	}
	rows.Number, rows.Position = 2, 1
	ask[protocol.Push](owner, owner.push(rows))
}

func TestPush_RefusesHostileRows(t *testing.T) {
	n, _ := serve(t, 1, 2, nil)
	c := call(t, newHost(t), n, "one")
	c.opened(c.open(1, 1, 2, 0), 0)
	row := func(exp byte, first uint16) protocol.Push {
		half := make([]byte, 128)
		binary.LittleEndian.PutUint16(half, first)
		return protocol.Push{Session: c.key, Epoch: 1, Number: 1, N: 1, Width: 64, Exp: []byte{exp}, Half: half}
	}
	for name, m := range map[string]protocol.Push{
		"a NaN":                   row(0, 0x7e00),
		"an Inf":                  row(0, 0x7c00),
		"beyond 32768":            row(0, 0x7801),
		"an exponent of 25":       row(25, 0x7800),
		"an exponent too high":    row(1, 0x73ff),
		"zeros with an exponent":  row(1, 0),
		"a negative NaN in a row": row(0, 0xfe00),
	} {
		t.Run(name, func(t *testing.T) { c.refused(m, protocol.CodeBadRequest) })
	}
	ask[protocol.Push](c, row(1, 0x7800))
}

func TestOpen_RollsBack(t *testing.T) {
	a, _ := serve(t, 0, 2, nil)
	b, _ := serve(t, 2, 3, nil)
	h := newHost(t)
	first, last := call(t, h, a, "s"), call(t, h, b, "s")
	ids := sequence(80)
	first.opened(first.open(1, 0, 2, 0), 0)
	last.opened(last.open(1, 2, 3, 0), 0)
	twoHops(first, last, 1, 1, 0, ids, 66, 10, 4)

	// Another continuation from position 65 on.
	ids = append(ids[:65:65], 5, 6, 7, 8, 9)
	want := newOracle(t).logits(ids...)
	if o := first.opened(first.open(2, 0, 2, 65), 65); o.Last != 1 {
		t.Errorf("the last step is %d, want 1", o.Last)
	}
	last.opened(last.open(2, 2, 3, 65), 65)
	got := twoHops(first, last, 2, 4, 65, ids, 1, 4)
	if !bytes.Equal(got, want[65*4*a.limits.Vocab:]) {
		t.Error("other logits after a rollback than without it")
	}
}

func TestOpen_MayChangeTheSpan(t *testing.T) {
	n, _ := serve(t, 0, 3, nil)
	c := call(t, newHost(t), n, "s")
	ids := sequence(10)
	c.opened(c.open(1, 0, 2, 0), 0)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, ids...))
	c.opened(c.open(2, 0, 3, 10), 0) // nothing of the other span's cache is of use
	c.send(step(2, 2, 0, protocol.WantRows, ids...))
	if !bytes.Equal(c.logits(10), newOracle(t).logits(ids...)) {
		t.Error("other logits after the span has changed")
	}
}

func TestSession_OutlivesItsStream(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	h := newHost(t)
	c := call(t, h, n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1, 2, 3))
	c.s.Reset()
	again := call(t, h, n, "s")
	if o := again.opened(again.open(2, 0, 2, 640), 3); o.Last != 1 {
		t.Errorf("the last step is %d, want 1", o.Last)
	}
}

func TestSession_IsForgottenWhenIdle(t *testing.T) {
	t.Parallel()
	n, _ := serve(t, 0, 2, func(c *Config) { c.Idle = 500 * time.Millisecond })
	h := newHost(t)
	c := call(t, h, n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1, 2, 3))
	c.s.Reset()
	eventually(t, "the session is forgotten", func() bool { return n.Stats().Sessions == 0 })
	eventually(t, "its cache is free", func() bool {
		return strings.Contains(scrape(t, n), "baichuan_node_cache_bytes 0\n")
	})
	again := call(t, h, n, "s")
	again.opened(again.open(2, 0, 2, 640), 0)
}

// run runs a node until the test ends.
func run(t *testing.T, n *Node) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "the node is on offer", func() bool { return slices.Contains(n.host.Mux().Protocols(), protocol.SessionID) })
}

func TestForward_EndsTheSessionWhoseStepFailed(t *testing.T) {
	n := made(t, 0, 2, nil)
	// Books that promise more cache than there is stand for a fault that the books can't foresee.
	n.current().tokens = session.NewBudget(1 << 20)
	run(t, n)
	h := newHost(t)
	ids := sequence(512)
	for i := range 5 { // 4 x 512 tokens of 2,048
		c := call(t, h, n, "s"+string(rune('0'+i)))
		c.opened(c.open(1, 0, 2, 0), 0)
		if i < 4 {
			ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, ids...))
			continue
		}
		f := c.refused(step(1, 1, 0, protocol.WantNone, ids...), protocol.CodeNoMemory)
		if f.Number != 1 || !strings.Contains(f.Text, "no cache left") {
			t.Errorf("the failure is %+v", f)
		}
		c.refused(step(1, 2, 0, protocol.WantNone, 1), protocol.CodeLostSession)
	}
	if got := n.Stats().Sessions; got != 4 {
		t.Errorf("%d sessions are left, want 4", got)
	}
}

func TestDrain_RefusesNewSessionsAndServesTheOld(t *testing.T) {
	n, _ := serve(t, 0, 2, nil)
	h := newHost(t)
	c := call(t, h, n, "old")
	c.opened(c.open(1, 0, 2, 0), 0)
	soon, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := n.Pause(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session is left, and Pause says %v", err)
	}
	if p := answer[protocol.Parting](c); p.WithinMS > 50 {
		t.Errorf("the node leaves within %d ms", p.WithinMS)
	}
	ask[protocol.Push](c, step(1, 1, 0, protocol.WantNone, 1))
	c.opened(c.open(2, 0, 2, 1), 1)
	answer[protocol.Parting](c) // who comes back hears it again
	fresh := call(t, h, n, "new")
	fresh.refused(fresh.open(1, 0, 2, 0), protocol.CodeDraining)
	if n.Stats().State != protocol.Draining {
		t.Errorf("the state is %v", n.Stats().State)
	}
}

func TestRun_LeavesNothingBehind(t *testing.T) {
	n, stop := serve(t, 0, 2, nil)
	c := call(t, newHost(t), n, "s")
	c.opened(c.open(1, 0, 2, 0), 0)
	stop()
	if left := leftOver(); left != "" {
		t.Errorf("after Run has returned there is\n%s", left)
	}
	if _, err := protocol.ReadMessage(c.s, c.lim); err == nil {
		t.Error("the stream outlived the node")
	}
	if err := n.Run(context.Background()); err == nil {
		t.Error("a node ran twice")
	}
}

func TestRun_TellsTheSwarm(t *testing.T) {
	n, _ := serve(t, 0, 2, func(c *Config) { c.Nick = "river" })
	h := newHost(t)
	d, err := routing.NewDirectory(context.Background(), h, routing.DirectoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	at := peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.Join(ctx, []peer.AddrInfo{at}); err != nil {
		t.Fatal(err)
	}
	seen, err := d.Offers(ctx, n.limits.Model)
	if err != nil || len(seen) != 1 {
		t.Fatalf("%d offers: %v", len(seen), err)
	}
	o := seen[0].Offer
	if o.Nick != "river" || o.Span != (protocol.Span{Start: 0, End: 2}) || o.Layers != 3 || o.State != protocol.Online ||
		o.CacheFree != 2048 || o.DecodeRate == 0 || o.PrefillRate < o.DecodeRate || o.HeadRate != 0 || o.Device == "" {
		t.Errorf("the offer is %+v", o)
	}
	raw, err := routing.FetchBlob(ctx, h, []peer.ID{n.host.ID()}, n.limits.Model, 1<<20)
	if err != nil || !bytes.Equal(raw, tiny.Raw) {
		t.Errorf("the manifest came as %d bytes: %v", len(raw), err)
	}
	var hash protocol.Digest
	if _, err := hex.Decode(hash[:], []byte(tiny.Manifest.Tokenizer)); err != nil {
		t.Fatal(err)
	}
	file, err := routing.FetchBlob(ctx, h, []peer.ID{n.host.ID()}, hash, 1<<20)
	if err != nil || int64(len(file)) != tiny.Manifest.TokenizerSize {
		t.Errorf("the tokenizer came as %d bytes: %v", len(file), err)
	}
}

func TestMetrics_HaveTheirNames(t *testing.T) {
	n := made(t, 0, 2, nil)
	text := scrape(t, n)
	for _, name := range []string{
		"baichuan_node_tokens_total", "baichuan_node_replayed_tokens_total", "baichuan_node_prefix_hit_tokens_total",
		"baichuan_node_steps_total", "baichuan_node_ledger_answers_total", "baichuan_node_pages_handed_total",
		"baichuan_node_push_repairs_total", "baichuan_node_handovers_taken_total", "baichuan_node_cancelled_tokens_total",
		"baichuan_node_evictions_total", "baichuan_node_sessions", "baichuan_node_cache_bytes", "baichuan_node_batch_rows_bucket",
		"baichuan_node_pass_seconds_bucket", "baichuan_node_step_seconds_bucket",
	} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func scrape(t *testing.T, n *Node) string {
	t.Helper()
	w := httptest.NewRecorder()
	n.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestConfig_ReportsAllFaultsAtOnce(t *testing.T) {
	err := Config{Nick: strings.Repeat("x", 65), NetRate: 1 << 41, DrainFor: -1}.Validate()
	if err == nil {
		t.Fatal("an empty config is valid")
	}
	for _, word := range []string{"model", "nick", "net rate", "0 sessions", "each peer", "forgotten", "draining", "ready", "log"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not speak of %q", err, word)
		}
	}
	if err := DefaultConfig(tiny).Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
}
