//go:build !race

// Go's race detector itself crashes on timers in a synctest bubble (golang/go#78156).

package auto

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing/placement"
)

// world is a swarm of drivers whose hosts are made up, in a synctest bubble's time. What one announces all hear at once;
// one that dies is known for offerLife more.
type world struct {
	t      *testing.T
	layers int
	ctx    context.Context
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex // guards all below, and the hosts
	hosts []*host
	news  chan struct{}
	story []string
	begun time.Time
}

const offerLife = 24 * time.Second

// host is a made-up node.
type host struct {
	w      *world
	driver *Driver
	id     string
	takes  time.Duration // to load

	offered      bool
	held, target protocol.Span
	loaded       protocol.Span
	paused, dead bool
	diedAt       time.Time
	fail         func(protocol.Span) error // of loading; nil: it works
	deaf         bool                      // nobody gets its word
	stop         context.CancelFunc
}

func newWorld(t *testing.T, layers int) *world {
	w := &world{t: t, layers: layers, news: make(chan struct{}), begun: time.Now()}
	w.ctx, w.stop = context.WithCancel(t.Context())
	return w
}

// end stops all and waits for them.
func (w *world) end() {
	w.stop()
	w.done.Wait()
}

// add lets a node in that takes so long to load any span.
func (w *world) add(id string, choices []protocol.Span, takes time.Duration, change ...func(*host)) *host {
	h := &host{w: w, id: id, takes: takes}
	for _, c := range change {
		c(h)
	}
	h.driver = New(h, Config{ID: id, Choices: choices, Loading: takes, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(w.ctx)
	h.stop = stop
	w.mu.Lock()
	w.hosts = append(w.hosts, h)
	w.mu.Unlock()
	w.done.Go(func() {
		span, _, err := h.driver.Join(ctx)
		if err != nil {
			w.note(h, "gives up: "+err.Error())
			return
		}
		h.change(func() { h.held, h.target, h.loaded = span, span, protocol.Span{} })
		w.note(h, "serves "+span.String())
		h.driver.Run(ctx)
	})
	return h
}

// note adds to the story.
func (w *world) note(h *host, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = append(w.story, fmt.Sprintf("%s %s", h.id, what))
}

// told is the story of one node.
func (w *world) told(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var of []string
	for _, s := range w.story {
		if rest, ok := strings.CutPrefix(s, id+" "); ok {
			of = append(of, rest)
		}
	}
	return strings.Join(of, ", ")
}

// change changes what others see of a host.
func (h *host) change(do func()) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	before := h.w.gaps()
	do()
	if after := h.w.gaps(); after > before && !h.dead {
		h.w.t.Errorf("%s opens a gap of %d layers: %v", h.id, after-before, h.w.story)
	}
	close(h.w.news)
	h.w.news = make(chan struct{})
}

// gaps counts the layers that no living node serves.
func (w *world) gaps() (n int) {
	for x := range w.layers {
		if !slices.ContainsFunc(w.hosts, func(h *host) bool { return !h.dead && x >= h.held.Start && x < h.held.End }) {
			n++
		}
	}
	return n
}

// uncovered is gaps for tests.
func (w *world) uncovered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gaps()
}

// where says what each node serves, and where it is going.
func (w *world) where() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, h := range w.hosts {
		if !h.dead {
			all = append(all, fmt.Sprintf("%s %v", h.id, h.held))
		}
	}
	return strings.Join(all, ", ")
}

// die ends a node without a word.
func (h *host) die() {
	h.change(func() { h.dead, h.diedAt = true, time.Now() })
	h.stop()
}

func (h *host) View() (v placement.View, lasts time.Duration) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	v, lasts = placement.View{Layers: h.w.layers}, time.Hour
	for _, o := range h.w.hosts {
		if !o.offered || o.paused {
			continue
		}
		if o.dead {
			left := offerLife - time.Since(o.diedAt)
			if left <= 0 {
				continue
			}
			lasts = min(lasts, left)
		}
		v.Peers = append(v.Peers, placement.Peer{ID: o.id, Held: o.held, Target: o.target, Rate: 1000,
			Layers: longest(o.driver.cfg.Choices), Fixed: len(o.driver.cfg.Choices) == 1})
	}
	return v, lasts
}

func (h *host) Changed() <-chan struct{} {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.w.news
}

func (h *host) Rate() int64 { return 1000 }

func (h *host) Serving() bool {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return !h.paused
}

func (h *host) Aim(_ context.Context, to protocol.Span) error {
	h.w.note(h, "aims "+to.String())
	h.change(func() { h.offered, h.target = to.Len() > 0, to })
	return nil
}

func (h *host) Load(ctx context.Context, span protocol.Span) error {
	h.w.mu.Lock()
	if h.target != span {
		h.w.t.Errorf("%s loads %v and has announced %v", h.id, span, h.target)
	}
	if h.loaded.Len() > 0 {
		h.w.t.Errorf("%s loads %v beside %v, which was loaded before", h.id, span, h.loaded)
	}
	fail := h.fail
	h.w.mu.Unlock()
	select {
	case <-time.After(h.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	if fail != nil {
		if err := fail(span); err != nil {
			return err
		}
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.loaded = span
	return nil
}

func (h *host) Drop() {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.story = append(h.w.story, fmt.Sprintf("%s drops %v", h.id, h.loaded))
	h.loaded = protocol.Span{}
}

func (h *host) Ask(ctx context.Context, p placement.Pledge) bool {
	h.w.note(h, fmt.Sprintf("asks %s for %v", p.Peer, p.Layers))
	h.w.mu.Lock()
	i := slices.IndexFunc(h.w.hosts, func(o *host) bool { return o.id == p.Peer })
	other := h.w.hosts[i]
	deaf := other.dead || other.deaf
	h.w.mu.Unlock()
	return !deaf && other.driver.Pledge(protocol.PeerID(h.id), p.Layers, PledgeFor)
}

func (h *host) Serve(context.Context, string) error {
	if h.target != h.loaded {
		h.w.t.Errorf("%s is to serve %v and has loaded %v", h.id, h.target, h.loaded)
	}
	h.w.note(h, "serves "+h.loaded.String())
	h.change(func() { h.held, h.loaded = h.loaded, protocol.Span{} })
	return nil
}

// fixed is the choice of a node whose owner has said.
func fixed(a, b int) []protocol.Span { return []protocol.Span{{Start: a, End: b}} }

// TestDriver_FillsTheGapBesideAFixedPeer is Petals' own test of its rebalancing: 24 layers, A chooses 5 of them, B is fixed
// to the first 5, where A is, and C chooses 14. A ends in the gap, C never moves; whoever comes first.
func TestDriver_FillsTheGapBesideAFixedPeer(t *testing.T) {
	for _, c := range []struct {
		order     string
		where     string
		ofA, stay string
	}{
		{"ACB", "A 19:24, C 5:19, B 0:5", "aims 0:5, serves 0:5, aims 19:24, asks B for 0:5, serves 19:24", "aims 5:19, serves 5:19"},
		{"ABC", "A 5:10, B 0:5, C 10:24", "aims 0:5, serves 0:5, aims 5:10, asks B for 0:5, serves 5:10", "aims 10:24, serves 10:24"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 24)
			defer w.end()
			choices := map[rune][]protocol.Span{'A': placement.Spans(24, 5), 'B': fixed(0, 5), 'C': placement.Spans(24, 14)}
			for _, id := range c.order {
				w.add(string(id), choices[id], 2*time.Second)
				time.Sleep(10 * time.Second)
			}
			if got := w.where(); got != c.where {
				t.Errorf("in order %s they serve %s", c.order, got)
			}
			if got := w.told("A"); got != c.ofA {
				t.Errorf("in order %s A %s\nwant %s", c.order, got, c.ofA)
			}
			time.Sleep(time.Hour)
			if got := w.told("C"); got != c.stay {
				t.Errorf("in order %s C %s", c.order, got)
			}
		})
	}
}

// TestDriver_NewcomersAtOnceDoNotChooseTheSame: each hears of the others while it loads, and all but one look again.
func TestDriver_NewcomersAtOnceDoNotChooseTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20)
		defer w.end()
		for i := range 5 {
			w.add(fmt.Sprint("n", i), placement.Spans(20, 4), time.Minute)
		}
		time.Sleep(61 * time.Second)
		if n := w.uncovered(); n > 0 {
			t.Errorf("%d layers lack a holder: %s; %v", n, w.where(), w.story)
		}
	})
}

// TestDriver_HealsWhenOneIsKilled, whichever it is, within a minute.
func TestDriver_HealsWhenOneIsKilled(t *testing.T) {
	for victim := range 4 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 8)
			defer w.end()
			var all []*host
			for i := range 4 {
				all = append(all, w.add(fmt.Sprint("n", i), placement.Spans(8, 4), 5*time.Second))
				time.Sleep(time.Second)
			}
			time.Sleep(10 * time.Minute)
			before := w.where()
			if w.uncovered() > 0 {
				t.Fatalf("they never cover the model: %s", before)
			}
			all[victim].die()
			time.Sleep(time.Minute)
			if n := w.uncovered(); n > 0 {
				t.Errorf("%d layers lack a holder a minute after n%d died: %s, before %s", n, victim, w.where(), before)
			}
		})
	}
}

// pair is a swarm in which a, fixed, and b hold the first half of the layers, and nobody the second: b is on its way there.
func pair(t *testing.T, change func(a, b *host)) *world {
	w := newWorld(t, 8)
	b := w.add("b", placement.Spans(8, 4), time.Second)
	time.Sleep(5 * time.Second)
	w.add("a", fixed(0, 4), time.Second, func(a *host) { change(a, b) })
	return w
}

// TestDriver_StaysWhereNobodyGivesItsWord: it lets go of what it has loaded, tells so, and tries again.
func TestDriver_StaysWhereNobodyGivesItsWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pair(t, func(a, _ *host) { a.deaf = true })
		defer w.end()
		time.Sleep(4 * time.Minute)
		got := w.told("b")
		want := "aims 0:4, serves 0:4, aims 4:8" + strings.Repeat(", asks a for 0:4", 12) + ", drops 4:8, aims 0:4, aims 4:8"
		if !strings.HasPrefix(got, want) {
			t.Errorf("b %s", got)
		}
		if at := w.where(); at != "b 0:4, a 0:4" {
			t.Errorf("they serve %s", at)
		}
	})
}

// TestDriver_RestsAfterALoadThatFailed: it is where it was, tells so, and tries again later, less and less often.
func TestDriver_RestsAfterALoadThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		w := pair(t, func(_, b *host) {
			b.fail = func(protocol.Span) error {
				if tries = append(tries, time.Now()); len(tries) < 4 {
					return errors.New("the disk is full")
				}
				return nil
			}
		})
		defer w.end()
		time.Sleep(10 * time.Minute)
		if got, want := w.told("b"), "aims 0:4, serves 0:4"+strings.Repeat(", aims 4:8, aims 0:4", 3)+", aims 4:8, asks a for 0:4, serves 4:8"; got != want {
			t.Errorf("b %s\nwant %s", got, want)
		}
		for i := 1; i < len(tries); i++ {
			if pause := tries[i].Sub(tries[i-1]); pause < restFirst<<(i-1) || pause > restFirst<<i {
				t.Errorf("try %d came %v after the last", i, pause)
			}
		}
	})
}

// TestDriver_RestsAMinuteAtMostWhereOthersHaveToComeBack: whoever has the parts may be back at any time.
func TestDriver_RestsAMinuteAtMostWhereOthersHaveToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		w := pair(t, func(_, b *host) {
			b.fail = func(protocol.Span) error {
				tries = append(tries, time.Now())
				return Later(errors.New("nobody has the parts"))
			}
		})
		defer w.end()
		time.Sleep(20 * time.Minute)
		if len(tries) < 15 {
			t.Errorf("%d tries in 20 minutes", len(tries))
		}
	})
}

// TestDriver_PausedItDoesNothing, and what it was up to is over; resumed it goes on.
func TestDriver_PausedItDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pair(t, func(_, b *host) { b.takes = time.Minute })
		defer w.end()
		b := w.hosts[0]
		time.Sleep(10 * time.Second)
		b.change(func() { b.paused = true })
		time.Sleep(time.Hour)
		if got, want := w.told("b"), "aims 0:4, serves 0:4, aims 4:8, aims 0:4"; got != want {
			t.Errorf("paused, b %s\nwant %s", got, want)
		}
		if b.driver.Pledge("a", protocol.Span{Start: 0, End: 1}, time.Minute) {
			t.Error("a paused node gives its word")
		}
		b.change(func() { b.paused = false })
		time.Sleep(2 * time.Minute)
		if got := w.where(); got != "b 4:8, a 0:4" {
			t.Errorf("resumed, they serve %s", got)
		}
	})
}

// TestDriver_GivesItsWordToHoldersAlone, for no longer than it keeps it, and not when it leaves.
func TestDriver_GivesItsWordToHoldersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8)
		defer w.end()
		a := w.add("a", fixed(0, 4), 0)
		time.Sleep(time.Second)
		w.add("b", fixed(2, 8), 0)
		time.Sleep(time.Second)
		span := func(a, b int) protocol.Span { return protocol.Span{Start: a, End: b} }
		for _, c := range []struct {
			asker  protocol.PeerID
			layers protocol.Span
			want   time.Duration
			yes    bool
		}{
			{"b", span(2, 4), PledgeFor, true},
			{"b", span(2, 4), PledgeFor + 1, false},
			{"b", span(0, 4), time.Second, false}, // it holds but two of them
			{"b", span(4, 6), time.Second, false},
			{"x", span(2, 4), time.Second, false},
		} {
			if got := a.driver.Pledge(c.asker, c.layers, c.want); got != c.yes {
				t.Errorf("%s asks for %v for %v: %v", c.asker, c.layers, c.want, got)
			}
		}
		a.stop()
		synctest.Wait()
		if a.driver.Pledge("b", span(2, 4), time.Second) {
			t.Error("one that leaves gives its word")
		}
	})
}

// TestDriver_AFirstLoadThatCanNotWorkEndsIt, but what may work later is tried again.
func TestDriver_AFirstLoadThatCanNotWorkEndsIt(t *testing.T) {
	for _, c := range []struct {
		fails int // times
		err   error
		want  string
	}{
		{1, errors.New("layer 3 is damaged"), "aims 0:4, gives up: layer 3 is damaged"},
		{2, Later(errors.New("nobody has layer 3")), "aims 0:4, aims 0:0, aims 0:4, aims 0:0, aims 0:4, serves 0:4"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 8)
			defer w.end()
			tries := 0
			w.add("a", placement.Spans(8, 4), time.Second, func(h *host) {
				h.fail = func(protocol.Span) error {
					if tries++; tries > c.fails {
						return nil
					}
					return c.err
				}
			})
			time.Sleep(10 * time.Minute)
			if got := w.told("a"); got != c.want {
				t.Errorf("after %v: %s, want %s", c.err, got, c.want)
			}
		})
	}
}
