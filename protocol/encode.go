package protocol

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// The message types on the wire.
const (
	typeOpen      = "open"
	typeOpened    = "opened"
	typeStep      = "step"
	typePush      = "push"
	typeResult    = "result"
	typeNames     = "names"
	typeReplay    = "replay"
	typeReplayed  = "replayed"
	typeParting   = "parting"
	typeHandOver  = "handover"
	typePage      = "page"
	typePing      = "ping"
	typeHeartbeat = "beat"
	typeClose     = "close"
	typeFailure   = "fail"
	typePut       = "put"
	typePutDone   = "putdone"
	typeList      = "list"
	typeOffers    = "offers"
	typeInfo      = "info"
	typeGet       = "get"
	typeData      = "data"
	typePledge    = "pledge"
	typePledged   = "pledged"
)

// encode returns a message's header and the pieces of its body in order.
func encode(msg any) (header, [][]byte) {
	switch m := msg.(type) {
	case Open:
		return encodeOpen(m)
	case Opened:
		return header{Type: typeOpened, Epoch: uint64(m.Epoch), Position: uint64(m.Position), Last: m.Last, Busy: uint64(m.Busy)}, nil
	case Step:
		return header{Type: typeStep, Epoch: uint64(m.Epoch), Number: m.Number, Position: uint64(m.Position),
				Want: uint64(m.Want), Through: []byte(m.Through), NewIDs: count(m.NewIDs), IDs: count(m.IDs)},
			[][]byte{packIDs(m.NewIDs), packIDs(m.IDs)}
	case Push:
		return encodePush(m)
	case Result:
		return encodeResult(m)
	case Close:
		return header{Type: typeClose, Session: m.Session[:]}, nil
	case Failure:
		return header{Type: typeFailure, Epoch: uint64(m.Epoch), Number: m.Number, Code: uint64(m.Code), Suspect: []byte(m.Suspect),
			Text: CleanText(m.Text, MaxTextBytes)}, nil
	}
	return encodeRepair(msg)
}

// encodeRepair is encode for what keeps a session alive: names, replays, hand-overs, signs of life.
func encodeRepair(msg any) (header, [][]byte) {
	switch m := msg.(type) {
	case Names:
		return header{Type: typeNames, Owner: []byte(m.Owner), Session: m.Session[:], Epoch: uint64(m.Epoch),
			Names: count(m.Names)}, [][]byte{packNames(m.Names)}
	case Replay:
		return header{Type: typeReplay, Epoch: uint64(m.Epoch), Position: uint64(m.From), Until: uint64(m.Until),
			Through: []byte(m.Through)}, nil
	case Replayed:
		return header{Type: typeReplayed, Epoch: uint64(m.Epoch), Position: uint64(m.Position)}, nil
	case Parting:
		return header{Type: typeParting, Within: uint64(m.WithinMS), HandOver: uint64(m.HandOverMS)}, nil
	case HandOver:
		return header{Type: typeHandOver, Epoch: uint64(m.Epoch), Next: count(m.To)}, [][]byte{m.To}
	case Page:
		return header{Type: typePage, Owner: []byte(m.Owner), Session: m.Session[:], Epoch: uint64(m.Epoch),
			Index: uint64(m.Index), Rows: uint64(m.Tokens), Layer: int64(m.Layer), Final: m.Final,
			Model: digest(m.Hash), Bytes: count(m.Bytes)}, [][]byte{m.Bytes}
	case Ping:
		return header{Type: typePing}, nil
	case Heartbeat:
		return header{Type: typeHeartbeat, Epoch: uint64(m.Epoch), Number: m.Number, Running: m.Running,
			Progress: m.Progress}, nil
	}
	return encodeDirectory(msg)
}

// encodeDirectory is encode for the messages of the directory and of parts.
func encodeDirectory(msg any) (header, [][]byte) {
	switch m := msg.(type) {
	case Put:
		return header{Type: typePut, Bytes: count(m.Offer)}, [][]byte{m.Offer}
	case PutDone:
		return header{Type: typePutDone, Number: m.Newest}, nil
	case List:
		return header{Type: typeList, Model: digest(m.Model), Length: uint64(m.Limit)}, nil
	case Offers:
		return encodeOffers(m)
	case Info:
		return header{Type: typeInfo}, nil
	case Pledge:
		return header{Type: typePledge, Model: digest(m.Model), Start: uint64(m.Layers.Start), End: uint64(m.Layers.End), Within: uint64(m.ForMS)}, nil
	case Pledged:
		return header{Type: typePledged, Yes: m.Yes}, nil
	case Get:
		return header{Type: typeGet, Model: digest(m.Hash), Offset: uint64(m.Offset), Length: uint64(m.Length)}, nil
	case Data:
		return header{Type: typeData, Total: uint64(m.Total), Bytes: count(m.Bytes)}, [][]byte{m.Bytes}
	}
	panic(fmt.Sprintf("protocol: %T is not a message", msg))
}

func encodeOpen(m Open) (header, [][]byte) {
	s := m.Sampling
	h := header{Type: typeOpen, Session: m.Session[:], Epoch: uint64(m.Epoch), Model: digest(m.Model),
		Start: uint64(m.Span.Start), End: uint64(m.Span.End), Expect: uint64(m.Expect), Position: uint64(m.Position),
		Prev: []byte(m.Prev), Next: count(m.Next), Temp: s.Temperature, TopK: int64(s.TopK), TopP: s.TopP,
		Pen: s.Penalty, Salt: m.Salt[:], From: []byte(m.From), Private: m.Private, IDs: count(m.IDs), Names: count(m.Names)}
	return h, [][]byte{m.Next, packIDs(m.IDs), packNames(m.Names)}
}

func encodePush(m Push) (header, [][]byte) {
	h := header{Type: typePush, Owner: []byte(m.Owner), Through: []byte(m.Through), Session: m.Session[:], Epoch: uint64(m.Epoch), Number: m.Number,
		Position: uint64(m.Position), Want: uint64(m.Want), NewIDs: count(m.NewIDs), Rows: uint64(m.N),
		Width: uint64(m.Width), Spent: packSpent(m.Spent)}
	pad := make([]byte, m.N%2)
	return h, [][]byte{packIDs(m.NewIDs), m.Exp, pad, m.Half}
}

func encodeResult(m Result) (header, [][]byte) {
	h := header{Type: typeResult, Epoch: uint64(m.Epoch), Number: m.Number, Position: uint64(m.Position),
		Want: uint64(m.Want), Final: m.Final, Cands: count(m.Candidates), Rows: uint64(m.N), Width: uint64(m.Vocab),
		Spent: packSpent(m.Spent)}
	b := make([]byte, 0, candidateBytes*len(m.Candidates))
	for _, c := range m.Candidates {
		b = binary.LittleEndian.AppendUint32(b, c.ID)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(c.Raw))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(c.Penalised))
	}
	return h, [][]byte{b, m.Logits}
}

// encodeOffers lays out the body as: per offer u32 age and u32 length; the sealed offers; per hinted address u16 length
// and the binary multiaddr, which ends in /p2p/PEER.
func encodeOffers(m Offers) (header, [][]byte) {
	sizes := make([]byte, 0, offerSizeBytes*len(m.Sealed))
	pieces := [][]byte{nil}
	total := 0
	for i, s := range m.Sealed {
		var age uint32
		if i < len(m.AgesMS) {
			age = m.AgesMS[i]
		}
		sizes = binary.LittleEndian.AppendUint32(sizes, age)
		sizes = binary.LittleEndian.AppendUint32(sizes, uint32(len(s)))
		pieces = append(pieces, s)
		total += len(s)
	}
	pieces[0] = sizes
	hints, n := packHints(m.Hints)
	pieces = append(pieces, hints)
	return header{Type: typeOffers, Count: count(m.Sealed), Bytes: uint64(total), Hints: uint64(n),
		HintsB: count(hints), Load: m.Load.record()}, pieces
}

// packHints leaves out what is beyond the limits: hints are a help, not a promise.
func packHints(hints []peer.AddrInfo) (b []byte, n int) {
	for _, h := range hints[:min(len(hints), MaxHints)] {
		self, err := ma.NewComponent("p2p", h.ID.String())
		if err != nil {
			continue
		}
		for _, a := range h.Addrs[:min(len(h.Addrs), MaxAddrs)] {
			raw := a.Encapsulate(self.Multiaddr()).Bytes()
			if len(raw) > MaxAddrBytes {
				continue
			}
			b = binary.LittleEndian.AppendUint16(b, uint16(len(raw)))
			b = append(b, raw...)
			n++
		}
	}
	return b, n
}

// packIDs writes ids as u32 little endian.
func packIDs(ids []uint32) []byte {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}

// packNames writes the names of pages one after another.
func packNames(names []Digest) []byte {
	b := make([]byte, 0, nameBytes*len(names))
	for _, n := range names {
		b = append(b, n[:]...)
	}
	return b
}

// digest returns d's bytes, none for the zero digest.
func digest(d Digest) []byte {
	if d == (Digest{}) {
		return nil
	}
	return d[:]
}

func count[T any](s []T) uint64 { return uint64(len(s)) }
