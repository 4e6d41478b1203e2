package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
)

// offerDomain separates the signatures of offers from all others that a peer's key makes.
const offerDomain = "baichuan-offer-1"

// OfferVersion is the Version of the offers that this code makes.
const OfferVersion = 1

// offerRecord is an offer as it is signed: a msgpack map of short keys. It is a libp2p record.
type offerRecord struct {
	Version  uint64   `msgpack:"v"`
	Model    []byte   `msgpack:"m"`
	Name     string   `msgpack:"mn,omitempty"`
	Peer     []byte   `msgpack:"p"`
	Sequence uint64   `msgpack:"q"`
	Boot     uint64   `msgpack:"b,omitempty"`
	LifeMS   uint64   `msgpack:"l"`
	Start    uint64   `msgpack:"a,omitempty"`
	End      uint64   `msgpack:"z"`
	TStart   uint64   `msgpack:"ta,omitempty"`
	TEnd     uint64   `msgpack:"tz"`
	Layers   uint64   `msgpack:"n"`
	State    uint64   `msgpack:"s"`
	Device   string   `msgpack:"d,omitempty"`
	Decode   uint64   `msgpack:"rd,omitempty"`
	Prefill  uint64   `msgpack:"rp,omitempty"`
	Head     uint64   `msgpack:"rh,omitempty"`
	Net      uint64   `msgpack:"rn,omitempty"`
	Cache    uint64   `msgpack:"c,omitempty"`
	Queue    uint64   `msgpack:"w,omitempty"`
	Capacity uint64   `msgpack:"ly,omitempty"`
	Fixed    bool     `msgpack:"fx,omitempty"`
	Busy     uint64   `msgpack:"bu,omitempty"`
	Near     []byte   `msgpack:"nr,omitempty"` // per peer its tail and u32 microseconds, little endian
	Relayed  bool     `msgpack:"r,omitempty"`
	Relay    bool     `msgpack:"rl,omitempty"`
	Nick     string   `msgpack:"k,omitempty"`
	Addrs    [][]byte `msgpack:"ad,omitempty"`

	Advised   bool    `msgpack:"g,omitempty"` // whether the following are given
	Temp      float32 `msgpack:"gt,omitempty"`
	TopK      int64   `msgpack:"gk,omitempty"`
	TopP      float64 `msgpack:"gp,omitempty"`
	Pen       float32 `msgpack:"gr,omitempty"`
	MaxTokens uint64  `msgpack:"gm,omitempty"`
}

// Domain is part of libp2p's record.Record.
func (*offerRecord) Domain() string { return offerDomain }

// Codec is part of libp2p's record.Record. It is no registered multicodec: nobody else reads our offers.
func (*offerRecord) Codec() []byte { return []byte("/" + offerDomain) }

// MarshalRecord is part of libp2p's record.Record.
func (r *offerRecord) MarshalRecord() ([]byte, error) { return packMap(r) }

// UnmarshalRecord is part of libp2p's record.Record.
func (r *offerRecord) UnmarshalRecord(b []byte) error { return unpackMap(b, r) }

// Seal signs an offer with its peer's key. It is held against the same checks as in Unseal; texts are cleaned and cut.
func Seal(o Offer, key crypto.PrivKey) ([]byte, error) {
	o.clean()
	if id, err := peer.IDFromPrivateKey(key); err != nil || id != o.Peer {
		return nil, errors.New("seal an offer: the key is not that of the offer's peer")
	}
	r, err := o.record()
	if err != nil {
		return nil, fmt.Errorf("seal an offer: %w", err)
	}
	if _, err := r.offer(); err != nil {
		return nil, fmt.Errorf("seal an offer: %w", err)
	}
	e, err := record.Seal(r, key)
	if err != nil {
		return nil, fmt.Errorf("seal an offer: %w", err)
	}
	b, err := e.Marshal()
	if err != nil {
		return nil, fmt.Errorf("seal an offer: %w", err)
	}
	if len(b) > MaxOfferBytes {
		return nil, fmt.Errorf("seal an offer: %d bytes are above the limit of %d", len(b), MaxOfferBytes)
	}
	return b, nil
}

// Unseal opens a sealed offer: it must be signed by the peer that it names, and every number in it must make sense.
// Whether it is new is for the receiver to say.
func Unseal(b []byte) (*Offer, error) {
	if len(b) > MaxOfferBytes {
		return nil, fmt.Errorf("open an offer: %d bytes are above the limit of %d", len(b), MaxOfferBytes)
	}
	var r offerRecord
	e, err := record.ConsumeTypedEnvelope(b, &r)
	if err != nil {
		return nil, fmt.Errorf("open an offer: %w", err)
	}
	if !bytes.Equal(e.PayloadType, r.Codec()) {
		return nil, errors.New("open an offer: the envelope holds something else")
	}
	o, err := r.offer()
	if err != nil {
		return nil, fmt.Errorf("open an offer: %w", err)
	}
	if !o.Peer.MatchesPublicKey(e.PublicKey) {
		return nil, errors.New("open an offer: it is signed by another than its peer")
	}
	return o, nil
}

// Dialable returns the peer and the addresses of the offer in libp2p's form.
func (o *Offer) Dialable() peer.AddrInfo {
	info := peer.AddrInfo{ID: o.Peer}
	for _, s := range o.Addrs {
		if a, err := ma.NewMultiaddr(s); err == nil {
			info.Addrs = append(info.Addrs, a)
		}
	}
	return info
}

// clean makes the texts of o fit to be shown.
func (o *Offer) clean() {
	o.ModelName = CleanText(o.ModelName, maxNameBytes)
	o.Device = CleanText(o.Device, maxDeviceBytes)
	o.Nick = CleanText(o.Nick, MaxNickBytes)
}

// record converts o to what is signed.
func (o *Offer) record() (*offerRecord, error) {
	r := &offerRecord{Version: uint64(o.Version), Model: o.Model[:], Name: o.ModelName, Peer: []byte(o.Peer),
		Sequence: o.Sequence, Boot: o.Boot, LifeMS: uint64(o.LifeMS), Start: uint64(o.Span.Start), End: uint64(o.Span.End),
		TStart: uint64(o.Target.Start), TEnd: uint64(o.Target.End), Layers: uint64(o.Layers), State: uint64(o.State),
		Device: o.Device, Decode: uint64(o.DecodeRate), Prefill: uint64(o.PrefillRate), Head: uint64(o.HeadRate), Net: o.NetRate,
		Cache: uint64(o.CacheFree), Queue: uint64(o.Queue), Relayed: o.Relayed, Relay: o.Relay, Nick: o.Nick,
		Capacity: uint64(o.Capacity), Fixed: o.Fixed, Busy: uint64(o.Busy)}
	for _, n := range o.Near {
		r.Near = append(r.Near, n.Peer[:]...)
		r.Near = binary.LittleEndian.AppendUint32(r.Near, uint32(min(max(n.RTT, 0), MaxNearRTT).Microseconds()))
	}
	if a := o.Advice; a != nil {
		r.Advised, r.MaxTokens = true, uint64(a.MaxTokens)
		r.Temp, r.TopK, r.TopP, r.Pen = a.Sampling.Temperature, int64(a.Sampling.TopK), a.Sampling.TopP, a.Sampling.Penalty
	}
	for _, s := range o.Addrs {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", s, err)
		}
		r.Addrs = append(r.Addrs, a.Bytes())
	}
	return r, nil
}

// offer converts what was signed to an offer, and checks it.
func (r *offerRecord) offer() (*Offer, error) {
	f := &fields{header: header{Type: "offer"}}
	o := &Offer{Version: uint8(f.num("version", r.Version, 1, 255)), ModelName: r.Name, Peer: f.peer("peer", r.Peer),
		Sequence:    f.number("sequence", r.Sequence, 1),
		Boot:        f.number("boot", r.Boot, 0),
		LifeMS:      uint32(f.num("life", r.LifeMS, 1, maxLifeMS)),
		Layers:      f.num("layers", r.Layers, 1, MaxLayers),
		State:       State(f.num("state", r.State, int(Joining), int(Leaving))),
		Device:      r.Device,
		DecodeRate:  uint32(f.num("decode rate", r.Decode, 0, MaxRate)),
		PrefillRate: uint32(f.num("prefill rate", r.Prefill, 0, MaxRate)),
		HeadRate:    uint32(f.num("head rate", r.Head, 0, MaxRate)),
		NetRate:     uint64(f.num("network rate", r.Net, 0, MaxNetRate)),
		CacheFree:   f.u32("free cache", r.Cache),
		Queue:       uint32(f.num("queue", r.Queue, 0, maxQueue)),
		Capacity:    f.num("capacity", r.Capacity, 0, MaxLayers),
		Fixed:       r.Fixed,
		Busy:        uint32(f.num("busy", r.Busy, 0, MaxBusy)),
		Near:        f.near(r.Near),
		Relayed:     r.Relayed, Relay: r.Relay, Nick: r.Nick}
	f.fixed("model", o.Model[:], r.Model)
	o.Span = f.span("span", r.Start, r.End, o.Layers)
	o.Target = f.span("target", r.TStart, r.TEnd, o.Layers)
	if o.Peer == "" {
		f.fail("it names no peer")
	}
	if o.Model == (ModelID{}) {
		f.fail("it names no model")
	}
	o.Addrs = f.addrs(r.Addrs, o.Peer)
	if r.Advised {
		f.Temp, f.TopK, f.TopP, f.Pen = r.Temp, r.TopK, r.TopP, r.Pen
		o.Advice = &Advice{Sampling: f.sampling(true), MaxTokens: f.u32("advised tokens", r.MaxTokens)}
	}
	o.clean()
	if f.err != nil {
		return nil, f.err
	}
	return o, nil
}

// span checks layers start..end-1 of a model with so many layers.
func (f *fields) span(name string, start, end uint64, layers int) Span {
	e := f.num(name+"'s end", end, 1, layers)
	return Span{Start: f.num(name+"'s start", start, 0, max(e-1, 0)), End: e}
}

// near reads round trips.
func (f *fields) near(b []byte) (all []Near) {
	const each = len(PeerTail{}) + 4
	if len(b)%each != 0 || len(b) > MaxNear*each {
		f.fail("round trips of %d bytes", len(b))
		return nil
	}
	for ; len(b) > 0; b = b[each:] {
		micros := binary.LittleEndian.Uint32(b[len(PeerTail{}):])
		n := Near{Peer: PeerTail(b), RTT: time.Duration(micros) * time.Microsecond}
		if n.RTT > MaxNearRTT {
			f.fail("a round trip of %v", n.RTT)
			return nil
		}
		all = append(all, n)
	}
	return all
}

// addrs checks the addresses of an offer: without the peer's own id at the end.
func (f *fields) addrs(raw [][]byte, self peer.ID) []string {
	if len(raw) > MaxAddrs {
		f.fail("it has %d addresses, more than %d", len(raw), MaxAddrs)
		return nil
	}
	var all []string
	for _, b := range raw {
		if len(b) > MaxAddrBytes {
			f.fail("an address of %d bytes", len(b))
			return nil
		}
		a, err := ma.NewMultiaddrBytes(b)
		if err != nil || len(a) == 0 {
			f.fail("an address does not parse")
			return nil
		}
		at, id := peer.SplitAddr(a)
		if len(at) == 0 || (id != "" && id != self) {
			f.fail("an address leads to another peer")
			return nil
		}
		all = append(all, at.String())
	}
	return all
}
