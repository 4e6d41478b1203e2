package sim

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// hostile is a peer that means a node no good. It knows what a client knows.
type hostile struct {
	host         host.Host
	target       peer.ID
	limits       protocol.Limits
	did, refused atomic.Int64
}

// attack is something that it does, until the context ends.
type attack struct {
	name     string
	does     func(*hostile, context.Context)
	refusals bool // more is wanted than anybody may have
}

// sessionsWanted is more than a peer may have.
const sessionsWanted = 80

var attacks = []attack{
	{"opens sessions", (*hostile).opensSessions, true},
	{"opens and closes sessions", (*hostile).opensAndCloses, false},
	{"opens streams and says nothing", (*hostile).opensStreams, true},
	{"sends garbage and headers of huge frames", (*hostile).sendsGarbage, true},
	{"asks the directory", (*hostile).asksDirectory, false},
	{"asks for parts", (*hostile).asksForParts, false},
	{"decodes in many sessions", (*hostile).decodes, true},
	{"has prompts computed in many sessions", (*hostile).prompts, true},
	{"asks for logits in many sessions", (*hostile).asksForLogits, true},
	{"connects again and again", (*hostile).reconnects, false},
}

// allAttacks does all at once.
var allAttacks = attack{"all at once", func(h *hostile, ctx context.Context) {
	var doing sync.WaitGroup
	for _, a := range attacks {
		if a.name != "connects again and again" { // it would end the others
			doing.Go(func() { a.does(h, ctx) })
		}
	}
	doing.Wait()
}, true}

// side does something in several goroutines, again and again.
func (h *hostile) side(ctx context.Context, n int, do func(context.Context) error) {
	var doing sync.WaitGroup
	for range n {
		doing.Go(func() {
			for ctx.Err() == nil {
				if err := do(ctx); err != nil {
					h.refused.Add(1)
					time.Sleep(time.Millisecond) // else its own process would do nothing but fail
				} else {
					h.did.Add(1)
				}
			}
		})
	}
	doing.Wait()
}

// stream opens a stream that lasts as long as ctx.
func (h *hostile) stream(ctx context.Context, id libprotocol.ID) (network.Stream, error) {
	opening, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := h.host.NewStream(opening, h.target, id)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = s.Reset() })
	return s, nil
}

// opened opens a session on a stream of its own.
func (h *hostile) opened(ctx context.Context, expect int) (network.Stream, protocol.Key, error) {
	open := protocol.Open{
		Epoch: 1, Model: h.limits.Model, Span: protocol.Span{End: h.limits.Layers}, Expect: uint32(expect),
		Sampling: protocol.Sampling{Temperature: 1, TopP: 1, Penalty: 1}, Private: true,
	}
	rand.Read(open.Session[:])
	s, err := h.stream(ctx, protocol.SessionID)
	if err != nil {
		return nil, open.Session, err
	}
	if err := protocol.WriteMessage(s, open); err != nil {
		return nil, open.Session, err
	}
	return s, open.Session, h.answered(s)
}

// answered reads one answer; a refusal is an error.
func (h *hostile) answered(s network.Stream) error {
	_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, err := protocol.ReadMessage(s, h.limits)
	if err == nil {
		if f, ok := answer.(protocol.Failure); ok {
			err = f
		}
	}
	if err != nil {
		_ = s.Reset()
	}
	return err
}

func (h *hostile) opensSessions(ctx context.Context) {
	h.side(ctx, 8, func(ctx context.Context) error {
		_, _, err := h.opened(ctx, h.limits.Context)
		return err
	})
}

func (h *hostile) opensAndCloses(ctx context.Context) {
	h.side(ctx, 8, func(ctx context.Context) error {
		s, key, err := h.opened(ctx, 1) // so little that there is cache for it
		if err != nil {
			return err
		}
		defer s.Close()
		return protocol.WriteMessage(s, protocol.Close{Session: key})
	})
}

func (h *hostile) opensStreams(ctx context.Context) {
	ids := []libprotocol.ID{protocol.SessionID, protocol.PushID, protocol.DirectoryID, protocol.PartsID}
	var next atomic.Int64
	h.side(ctx, 8, func(ctx context.Context) error {
		s, err := h.stream(ctx, ids[int(next.Add(1))%len(ids)])
		if err == nil {
			_, err = s.Write([]byte{1}) // else the other side would never hear of it
		}
		return err
	})
}

func (h *hostile) sendsGarbage(ctx context.Context) {
	ids := []libprotocol.ID{protocol.SessionID, protocol.PushID, protocol.DirectoryID, protocol.PartsID}
	var next atomic.Int64
	h.side(ctx, 8, func(ctx context.Context) error {
		i := int(next.Add(1))
		s, err := h.stream(ctx, ids[i%len(ids)])
		if err != nil {
			return err
		}
		defer s.Reset()
		b := make([]byte, 64<<10)
		rand.Read(b)
		if i%2 == 0 { // a frame that claims as much as it may, and more
			binary.LittleEndian.PutUint32(b, protocol.MaxHeaderBytes)
			binary.LittleEndian.PutUint32(b[4:], uint32(i)<<16)
		}
		if _, err := s.Write(b); err != nil {
			return err
		}
		return h.answered(s)
	})
}

func (h *hostile) asksDirectory(ctx context.Context) {
	put := protocol.Put{Offer: make([]byte, 512)}
	rand.Read(put.Offer)
	questions := []any{protocol.List{Model: h.limits.Model, Limit: protocol.MaxListOffers}, protocol.List{Limit: protocol.MaxListOffers}, protocol.Info{}, put}
	var next atomic.Int64
	h.side(ctx, 16, func(ctx context.Context) error {
		s, err := h.stream(ctx, protocol.DirectoryID)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := protocol.WriteMessage(s, questions[int(next.Add(1))%len(questions)]); err != nil {
			return err
		}
		return h.answered(s)
	})
}

func (h *hostile) asksForParts(ctx context.Context) {
	h.side(ctx, 8, func(ctx context.Context) error {
		s, err := h.stream(ctx, protocol.PartsID)
		if err != nil {
			return err
		}
		defer s.Close()
		for err == nil && ctx.Err() == nil {
			if err = protocol.WriteMessage(s, protocol.Get{Hash: protocol.Digest(h.limits.Model), Length: protocol.MaxDataBytes}); err == nil {
				err = h.answered(s)
				h.did.Add(1)
			}
		}
		return err
	})
}

// steps has each of many sessions do one step after the other.
func (h *hostile) steps(ctx context.Context, tokens int, want protocol.Want) {
	h.side(ctx, sessionsWanted, func(ctx context.Context) error {
		s, key, err := h.opened(ctx, tokens)
		if err != nil {
			return err
		}
		defer s.Close()
		step := protocol.Step{Epoch: 1, Want: want, IDs: someIDs(tokens, 1)}
		for at := 0; err == nil && ctx.Err() == nil && at+tokens <= h.limits.Context; at += tokens {
			step.Number++
			step.Position = uint32(at)
			step.NewIDs = step.IDs
			if err = protocol.WriteMessage(s, step); err == nil {
				err = h.answered(s)
				h.did.Add(1)
			}
		}
		return errors.Join(err, protocol.WriteMessage(s, protocol.Close{Session: key}))
	})
}

func (h *hostile) decodes(ctx context.Context)       { h.steps(ctx, 1, protocol.WantCandidates) }
func (h *hostile) prompts(ctx context.Context)       { h.steps(ctx, 256, protocol.WantNone) }
func (h *hostile) asksForLogits(ctx context.Context) { h.steps(ctx, 8, protocol.WantRows) }

func (h *hostile) reconnects(ctx context.Context) {
	h.side(ctx, 1, func(ctx context.Context) error {
		if err := h.host.Network().ClosePeer(h.target); err != nil {
			return err
		}
		s, err := h.stream(ctx, protocol.DirectoryID)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := protocol.WriteMessage(s, protocol.Info{}); err != nil {
			return err
		}
		return h.answered(s)
	})
}
