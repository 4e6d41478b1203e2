package virtual

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libprotocol "github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// forged is the nick of all offers that nobody may believe.
const forged = "forged"

// brag offers what the player has not, in its own name: that is believed until it is called. A bragger refuses then, a mute
// one keeps silent.
func (p *player) brag(ctx context.Context, r *process) error {
	r.host.SetStreamHandler(protocol.SessionID, func(s network.Stream) {
		defer s.Reset()
		if p.cast.Kind == Mute {
			<-ctx.Done()
			return
		}
		limits := protocol.Limits{
			Model: protocol.ModelID(p.world.model.stored.ID), Layers: Layers, Hidden: p.world.model.stored.Manifest.Hidden,
			Vocab: p.world.model.stored.Manifest.Vocab, Context: p.world.model.stored.Manifest.Context,
		}
		if _, err := protocol.ReadMessage(s, limits); err != nil {
			return
		}
		_ = protocol.WriteMessage(s, protocol.Failure{Code: protocol.CodeNoSuchSpan, Text: "these layers are not here"})
		_ = s.CloseWrite()
	})
	all := protocol.Span{End: Layers}
	_ = r.dir.Announce(ctx, protocol.Offer{ // who has not heard of it hears it in 8 s
		Model: protocol.ModelID(p.world.model.stored.ID), ModelName: "tiny", Span: all, Target: all, Layers: Layers, State: protocol.Online,
		Device: "a wonder", DecodeRate: protocol.MaxRate, PrefillRate: protocol.MaxRate, CacheFree: 1 << 20, Nick: p.cast.Kind.String(),
	})
	<-ctx.Done()
	return nil
}

// forge answers all questions with forged offers, among them those that it has heard, as if they were new, and puts forged
// offers at everyone that it knows.
func (p *player) forge(ctx context.Context, r *process) error {
	var kept [][]byte // what others have signed
	lies := func(oversized bool) (answer protocol.Offers) {
		for _, f := range slices.Concat(p.forgeries(r), kept) {
			if len(f) > protocol.MaxOfferBytes && !oversized {
				continue // one would have the whole answer refused, and nobody would look at the others
			}
			answer.Sealed, answer.AgesMS = append(answer.Sealed, f), append(answer.AgesMS, 0)
		}
		return answer
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		answer := lies(n%4 == 0) // what is told to others is made here, once for all of them
		r.host.SetStreamHandler(protocol.DirectoryID, func(s network.Stream) {
			defer s.Close()
			msg, err := protocol.ReadMessage(s, protocol.Limits{})
			if err != nil {
				return
			}
			if _, put := msg.(protocol.Put); put {
				_ = protocol.WriteMessage(s, protocol.PutDone{})
				return
			}
			_ = protocol.WriteMessage(s, answer)
		})
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		model := protocol.ModelID(p.world.model.stored.ID)
		_, _ = r.dir.Offers(ctx, model) // whom it does not hear from it can't imitate
		for _, seen := range r.dir.Known(model) {
			p.put(ctx, r, seen.Offer.Peer, answer.Sealed)
			if len(kept) < 100 {
				kept = append(kept, r.dir.Sealed(seen.Offer.Peer))
			}
		}
	}
}

// put puts forged offers at a peer, which must refuse all.
func (p *player) put(ctx context.Context, r *process, to peer.ID, offers [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, f := range offers[:min(len(offers), 12)] {
		s, err := r.host.NewStream(ctx, to, protocol.DirectoryID)
		if err != nil {
			return
		}
		_ = s.SetDeadline(time.Now().Add(2 * time.Second))
		err = protocol.WriteMessage(s, protocol.Put{Offer: f})
		var answer any
		if err == nil {
			answer, err = protocol.ReadMessage(s, protocol.Limits{})
		}
		_ = s.Reset()
		if _, done := answer.(protocol.PutDone); err == nil && done {
			if o, err := protocol.Unseal(f); err != nil || o.Nick == forged {
				p.world.wrong("a forged offer was taken by %s", p.world.nameOf(to))
			}
		}
	}
}

// forgeries are offers that are wrong, each in a way of its own.
func (p *player) forgeries(r *process) (all [][]byte) {
	w := p.world
	victim := w.players[0]
	good := offerFields{model: w.model.stored.ID[:], peer: []byte(p.id), sequence: uint64(time.Now().UnixMilli()) << 1, life: 24000, end: Layers, layers: Layers, state: 1}
	theirs := good
	theirs.peer = []byte(victim.id)
	all = append(all, seal(theirs, p)) // the victim's name under the forger's signature
	spoilt := slices.Clone(r.dir.Sealed(victim.id))
	if len(spoilt) > 0 {
		spoilt[len(spoilt)-1] ^= 1 // a wrong signature
		all = append(all, spoilt)
	}
	for _, absurd := range []func(*offerFields){
		func(f *offerFields) { f.end = Layers + 1 },
		func(f *offerFields) { f.start, f.end = 3, 2 },
		func(f *offerFields) { f.layers = 1 << 40 },
		func(f *offerFields) { f.life = 1 << 50 },
		func(f *offerFields) { f.rate = 1 << 60 },
		func(f *offerFields) { f.state = 99 },
		func(f *offerFields) { f.sequence = 0 },
		func(f *offerFields) { f.padding = 2 << 10 },
	} {
		f := good
		absurd(&f)
		all = append(all, seal(f, p))
	}
	return all
}

// offerFields is an offer as only a forger would fill it in.
type offerFields struct {
	model, peer                                     []byte
	sequence, life, start, end, layers, state, rate uint64
	padding                                         int
}

// rawRecord is a libp2p record of any bytes, in the domain of offers.
type rawRecord struct{ bytes []byte }

func (rawRecord) Domain() string                   { return "baichuan-offer-1" }
func (rawRecord) Codec() []byte                    { return []byte("/baichuan-offer-1") }
func (r rawRecord) MarshalRecord() ([]byte, error) { return r.bytes, nil }
func (rawRecord) UnmarshalRecord([]byte) error     { return errors.New("it is not read") }

// seal signs what protocol.Seal would refuse to. The fields are written as msgpack by hand for the same reason.
func seal(f offerFields, p *player) []byte {
	var b []byte
	n := byte(0)
	key := func(name string) { b = append(append(b, 0xa0|byte(len(name))), name...); n++ }
	number := func(name string, v uint64) { key(name); b = binary.BigEndian.AppendUint64(append(b, 0xcf), v) }
	raw := func(name string, v []byte) { key(name); b = append(append(b, 0xc4, byte(len(v))), v...) }
	number("v", 1)
	raw("m", f.model)
	raw("p", f.peer)
	for _, x := range []struct {
		name  string
		value uint64
	}{{"q", f.sequence}, {"l", f.life}, {"a", f.start}, {"z", f.end}, {"ta", f.start}, {"tz", f.end}, {"n", f.layers}, {"s", f.state}, {"rd", f.rate}} {
		number(x.name, x.value)
	}
	key("k")
	b = append(append(b, 0xa0|byte(len(forged))), forged...)
	if f.padding > 0 {
		key("xx")
		b = append(binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(f.padding)), make([]byte, f.padding)...)
	}
	e, err := record.Seal(rawRecord{append([]byte{0x80 | n}, b...)}, p.key)
	if err != nil {
		panic("virtual: seal a forged offer: " + err.Error())
	}
	sealed, err := e.Marshal()
	if err != nil {
		panic("virtual: seal a forged offer: " + err.Error())
	}
	return sealed
}

// babbling is a host that now and then sends noise in the place of a frame of a session.
type babbling struct {
	host.Host
	world *world
}

func (h *babbling) SetStreamHandler(id libprotocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { f(h.wrap(id, s)) })
}

func (h *babbling) NewStream(ctx context.Context, to peer.ID, ids ...libprotocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, to, ids...)
	if err != nil {
		return nil, err
	}
	return h.wrap(ids[0], s), nil
}

func (h *babbling) wrap(id libprotocol.ID, s network.Stream) network.Stream {
	if id != protocol.SessionID && id != protocol.PushID {
		return s
	}
	return &noisy{s, h.world}
}

type noisy struct {
	network.Stream
	world *world
}

func (s *noisy) Write(b []byte) (int, error) {
	s.world.mu.Lock()
	babbles, from := s.world.rng.IntN(8) == 0, s.world.rng.Uint64()
	s.world.mu.Unlock()
	if !babbles {
		return s.Stream.Write(b)
	}
	noise := make([]byte, 0, len(b)+sha256.Size)
	for len(noise) < len(b) {
		sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, from+uint64(len(noise))))
		noise = append(noise, sum[:]...)
	}
	return s.Stream.Write(noise[:len(b)])
}
