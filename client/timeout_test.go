package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// pipes is a network of in-memory hosts, for tests in a bubble of made-up time: as much of libp2p as a session uses.
type pipes map[peer.ID]*pipeHost

type pipeHost struct {
	host.Host
	id      peer.ID
	net     pipes
	handler network.StreamHandler
	hang    bool // connecting takes for ever
}

func (p pipes) host(t *testing.T) host.Host {
	id, err := test.RandPeerID()
	if err != nil {
		t.Fatal(err)
	}
	p[id] = &pipeHost{id: id, net: p}
	return p[id]
}

func (h *pipeHost) ID() peer.ID                      { return h.id }
func (h *pipeHost) Network() network.Network         { return pipeNetwork{} }
func (h *pipeHost) Addrs() []ma.Multiaddr            { return nil }
func (h *pipeHost) ConnManager() connmgr.ConnManager { return connmgr.NullConnMgr{} }

func (h *pipeHost) SetStreamHandler(_ libprotocol.ID, f network.StreamHandler) { h.handler = f }

func (h *pipeHost) Connect(ctx context.Context, to peer.AddrInfo) error {
	if h.net[to.ID].hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (h *pipeHost) NewStream(_ context.Context, to peer.ID, _ ...libprotocol.ID) (network.Stream, error) {
	toUs, fromThem := net.Pipe()
	toThem, fromUs := net.Pipe()
	go h.net[to].handler(pipeStream{in: toThem, out: fromThem})
	return pipeStream{in: toUs, out: fromUs}, nil
}

// pipeStream is one end of a stream: a pipe for each direction, so that one can be closed without the other.
type pipeStream struct {
	network.Stream
	in, out net.Conn
}

func (s pipeStream) Read(p []byte) (int, error)         { return s.in.Read(p) }
func (s pipeStream) Write(p []byte) (int, error)        { return s.out.Write(p) }
func (s pipeStream) CloseWrite() error                  { return s.out.Close() }
func (s pipeStream) Close() error                       { return errors.Join(s.in.Close(), s.out.Close()) }
func (s pipeStream) Reset() error                       { return s.Close() }
func (s pipeStream) SetWriteDeadline(t time.Time) error { return s.out.SetWriteDeadline(t) }
func (s pipeStream) Conn() network.Conn                 { return pipeConn{} }

type pipeNetwork struct{ network.Network }

func (pipeNetwork) Connectedness(peer.ID) network.Connectedness { return network.Connected }

type pipeConn struct{ network.Conn }

func (pipeConn) IsClosed() bool                { return false }
func (pipeConn) Stat() (s network.ConnStats)   { return s }
func (pipeConn) RemoteMultiaddr() ma.Multiaddr { return ma.StringCast("/ip4/127.0.0.1/tcp/1") }

// hang has the hop do nothing for an hour, or as long as its nap lasts.
func (h *toyHop) hang(_ network.Stream, a any) any {
	h.hung.Store(true)
	time.Sleep(h.nap)
	h.hung.Store(false)
	return a
}

func TestSession_GivesUpAHopInTime(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(h *toyHop)
		stall  time.Duration
		reason string
	}{
		{"hangs in a step", func(h *toyHop) { h.spoil = spoilStep(3, h.hang) }, 1500 * time.Millisecond, "silent"},
		{"hangs in a long step", func(h *toyHop) { h.spoil = spoilStep(1, h.hang) }, 1500 * time.Millisecond, "silent"},
		{"answers all but a step", func(h *toyHop) {
			h.spoil = func(n int, s network.Stream, a any) any {
				if n > 2 {
					return nil
				}
				return a
			}
		}, 2 * time.Second, "with nobody"},
		{"hangs in open", func(h *toyHop) { h.spoil = spoilStep(0, h.hang) }, 2500 * time.Millisecond, "silent"},
		{"answers all but open", func(h *toyHop) {
			h.spoil = spoilStep(0, func(network.Stream, any) any { return nil })
		}, 10 * time.Second, "no answer to open"},
		{"no connection", func(h *toyHop) { h.host.(*pipeHost).hang = true }, spareDial + 4*unknownRTT, "no connection"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			toyModel() // made outside of the bubble, once
			synctest.Test(t, func(t *testing.T) {
				w := newToySwarm(t, pipes{}.host, span(0, 4), span(0, 4))
				tt.spoil(w.hops[0])
				c, s := w.session(t)
				o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
				began := time.Now()
				_, out, err := answer(t, c.Generate(t.Context(), prompt(600), o))
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				sameAnswer(t, out, oracle(t, prompt(600), o))
				if len(out.Failovers) != 1 || !strings.Contains(out.Failovers[0].Reason.Error(), tt.reason) {
					t.Errorf("the failovers are %+v", out.Failovers)
				}
				if took < tt.stall || took > tt.stall+closeLimit {
					t.Errorf("it took %v, want %v and at most %v for the goodbyes", took, tt.stall, closeLimit)
				}
				s.Close()
				time.Sleep(2 * time.Hour) // so that hops that sleep end
			})
		})
	}
}

func TestSession_WaitsForAHopThatSaysItWorks(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, span(0, 4))
		w.hops[0].spoil = spoilStep(2, func(_ network.Stream, a any) any {
			time.Sleep(time.Minute)
			return a
		})
		c, _ := w.session(t)
		o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
		_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
		if err != nil || len(out.Failovers) > 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		if out.Timings.Total != time.Minute {
			t.Errorf("it took %v, want 1m", out.Timings.Total)
		}
	})
}

func TestSession_GoesBackToAHopThatWasHeldUpWhenThereIsNoOther(t *testing.T) {
	toyModel()
	for _, restarted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newToySwarm(t, pipes{}.host, span(0, 4))
			w.grace = 20 * time.Second
			hop, lost := w.hops[0], 0
			if restarted {
				lost = 5 + 1 // the prompt and a token are done
			}
			hop.nap = 5 * time.Second
			hop.spoil = spoilStep(3, func(s network.Stream, a any) any {
				a = hop.hang(s, a)
				if restarted { // under the same identity, and with nothing in its hands
					hop.mu.Lock()
					clear(hop.sessions)
					hop.mu.Unlock()
				}
				return a
			})
			c, _ := w.session(t)
			o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
			_, out, err := answer(t, c.Generate(t.Context(), prompt(5), o))
			if err != nil {
				t.Fatal(err)
			}
			sameAnswer(t, out, oracle(t, prompt(5), o))
			if out.Stats.Bans == 0 || out.Stats.Stall < 5*time.Second || len(out.Failovers) != 1 {
				t.Fatalf("the failovers are %+v, stats %+v", out.Failovers, out.Stats)
			}
			f, id := out.Failovers[0], hop.host.ID()
			if f.Peer != id || len(f.Successors) != 1 || f.Successors[0] != id || f.Replayed != lost || f.Stall < 5*time.Second {
				t.Errorf("started anew: %t, the failover is %+v", restarted, f)
			}
			time.Sleep(time.Minute)
		})
	}
}

func TestSession_ClosesInTimeWhenAPeerTakesNothing(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.hops[0].spoil = spoilStep(2, func(network.Stream, any) any {
			cancel()
			return w.hops[0].hang(nil, nil)
		})
		c, s := w.session(t)
		if _, _, err := answer(t, c.Generate(ctx, prompt(5), Options{Sampling: seeded, IgnoreEOS: true})); err == nil {
			t.Fatal("no error")
		}
		began := time.Now()
		s.Close()
		if took := time.Since(began); took != closeLimit {
			t.Errorf("closing took %v, want %v", took, closeLimit)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestSession_WaitsUntilItsGoodbyeIsHeard(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4))
		const late = closeLimit / 2
		w.hops[1].late = late
		c, s := w.session(t)
		if _, _, err := answer(t, c.Generate(t.Context(), prompt(5), Options{MaxTokens: 2, Sampling: seeded, IgnoreEOS: true})); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.Close()
		if took := time.Since(began); took != late {
			t.Errorf("closing took %v, the last peer has heard it after %v", took, late)
		}
		for _, h := range w.hops {
			if _, _, _, open := h.counts(); open != 0 {
				t.Errorf("layers %v: %d sessions are left", h.span, open)
			}
		}
	})
}

// The last hop's result comes while nobody can take the first one's place: nobody would send it again.
func TestSession_TakesAResultThatComesWhileAHopIsMissing(t *testing.T) {
	toyModel()
	synctest.Test(t, func(t *testing.T) {
		w := newToySwarm(t, pipes{}.host, span(0, 2), span(2, 4), span(0, 2))
		w.grace = 20 * time.Second
		first, last, spare := w.hops[0], w.hops[1], w.hops[2]
		spare.since = time.Now().Add(time.Hour)
		first.spoil = spoilStep(3, func(s network.Stream, a any) any {
			if err := protocol.WriteMessage(s, a); err != nil {
				t.Error(err)
			}
			first.since = time.Now().Add(time.Hour)
			spare.since = time.Now().Add(3 * time.Second)
			return failure(protocol.CodeInternal)(s, a)
		})
		last.spoil = spoilStep(3, func(_ network.Stream, a any) any {
			time.Sleep(time.Second)
			return a
		})
		c, s := w.session(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		o := Options{MaxTokens: 6, Sampling: seeded, IgnoreEOS: true}
		_, out, err := answer(t, c.Generate(ctx, prompt(5), o))
		if err != nil {
			t.Fatal(err)
		}
		sameAnswer(t, out, oracle(t, prompt(5), o))
		if len(out.Failovers) != 1 || out.Failovers[0].Peer != first.host.ID() {
			t.Errorf("the failovers are %+v", out.Failovers)
		}
		if _, steps, _, _ := last.counts(); steps != 6 {
			t.Errorf("the last hop has computed %d steps, want 6: none twice", steps)
		}
		s.Close()
		time.Sleep(2 * time.Hour)
	})
}
