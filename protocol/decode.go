package protocol

import (
	"encoding/binary"
	"math"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	candidateBytes = 12 // u32 id, float32 raw, float32 penalised
	offerSizeBytes = 8  // u32 age, u32 length
	nameBytes      = 32 // SHA-256
)

// A decoder checks a header, and returns the exact size of the body that belongs to it and what makes the message of
// that body. Faults go to f.err; the first one stays.
type decoder func(f *fields) (body int, fill func(body []byte) any)

// decoders returns the decoder of a message type, nil if there is none.
func decoders(typ string) decoder {
	switch typ {
	case typeOpen:
		return decodeOpen
	case typeOpened:
		return decodeOpened
	case typeStep:
		return decodeStep
	case typePush:
		return decodePush
	case typeResult:
		return decodeResult
	case typeClose:
		return decodeClose
	case typeFailure:
		return decodeFailure
	}
	return directoryDecoders(typ)
}

// directoryDecoders is decoders for the messages of the directory and of parts.
func directoryDecoders(typ string) decoder {
	switch typ {
	case typePut:
		return decodePut
	case typePutDone:
		return func(f *fields) (int, func([]byte) any) { return empty(PutDone{Newest: f.Number}) }
	case typeList:
		return decodeList
	case typeOffers:
		return decodeOffers
	case typeInfo:
		return func(*fields) (int, func([]byte) any) { return empty(Info{}) }
	case typePledge:
		return decodePledge
	case typePledged:
		return func(f *fields) (int, func([]byte) any) { return empty(Pledged{Yes: f.Yes}) }
	case typeGet:
		return decodeGet
	case typeData:
		return decodeData
	}
	return repairDecoders(typ)
}

// fields is a header that is being checked.
type fields struct {
	header
	lim Limits
	err error
}

// fail keeps the first fault.
func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = refuse(f.Type+": "+format, args...)
	}
}

// num returns v as an int if low <= v <= high.
func (f *fields) num(name string, v uint64, low, high int) int {
	if v > math.MaxInt64 || int64(v) < int64(low) || int64(v) > int64(high) {
		f.fail("%s is %d, outside %d..%d", name, v, low, high)
		return 0
	}
	return int(v)
}

// u32 returns v if it fits.
func (f *fields) u32(name string, v uint64) uint32 {
	if v > math.MaxUint32 {
		f.fail("%s is %d, outside 32 bits", name, v)
		return 0
	}
	return uint32(v)
}

// number returns a step's number: low, or more, and below 2^63.
func (f *fields) number(name string, v uint64, low uint64) uint64 {
	if v < low || v > math.MaxInt64 {
		f.fail("%s is %d, outside %d..2^63-1", name, v, low)
	}
	return v
}

// fixed copies b to dst if they have the same length.
func (f *fields) fixed(name string, dst, b []byte) {
	if len(b) != len(dst) {
		f.fail("%s has %d bytes, not %d", name, len(b), len(dst))
		return
	}
	copy(dst, b)
}

// digest returns a SHA-256; none is zero.
func (f *fields) digest(name string, b []byte) (d Digest) {
	if len(b) > 0 {
		f.fixed(name, d[:], b)
	}
	return d
}

// session refuses what belongs to a session if no model's dimensions are known.
func (f *fields) session() {
	if !f.lim.Valid() {
		f.fail("not on this stream")
	}
}

// ids reads n ids from the front of b.
func (f *fields) ids(b []byte, n int) []uint32 {
	if n == 0 {
		return nil
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = binary.LittleEndian.Uint32(b[4*i:])
		if uint64(ids[i]) >= uint64(f.lim.Vocab) {
			f.fail("id %d is outside the vocabulary of %d", ids[i], f.lim.Vocab)
		}
	}
	return ids
}

// empty is a message without a body.
func empty(msg any) (int, func([]byte) any) { return 0, func([]byte) any { return msg } }

func decodeOpen(f *fields) (int, func([]byte) any) {
	f.session()
	m := Open{Epoch: f.u32("epoch", f.Epoch), Model: f.digest("model", f.Model)}
	if f.err == nil && f.lim.Model != (ModelID{}) && m.Model != f.lim.Model {
		f.err = &FrameError{Code: CodeOtherManifest, Text: "this peer serves model " + f.lim.Model.String() + ", not " + m.Model.String()}
		return 0, nil
	}
	f.fixed("session", m.Session[:], f.Session)
	f.fixed("salt", m.Salt[:], f.Salt)
	m.Span.End = f.num("end", f.End, 1, f.lim.Layers)
	m.Span.Start = f.num("start", f.Start, 0, max(m.Span.End-1, 0))
	m.Expect = uint32(f.num("expected tokens", f.Expect, 0, f.lim.Context))
	m.Position = uint32(f.num("position", f.Position, 0, f.lim.Context))
	m.Prev = f.peer("prev", f.Prev)
	m.Sampling = f.sampling(m.Span.End == f.lim.Layers)
	m.From, m.Private = f.peer("from", f.From), f.Private
	next := f.num("bytes of the next hop's offer", f.header.Next, 0, MaxOfferBytes)
	ids := f.num("ids", f.IDs, 0, f.lim.Context)
	names := f.num("names", f.header.Names, 0, f.lim.pages())
	return next + 4*ids + nameBytes*names, func(body []byte) any {
		if next > 0 {
			m.Next = body[:next:next]
		}
		m.IDs = f.ids(body[next:], ids)
		m.Names = readNames(body[next+4*ids:], names)
		return m
	}
}

// peer returns a peer's id; none is "".
func (f *fields) peer(name string, b []byte) peer.ID {
	if len(b) == 0 {
		return ""
	}
	if len(b) > maxPeerBytes {
		f.fail("%s has %d bytes", name, len(b))
		return ""
	}
	id, err := peer.IDFromBytes(b)
	if err != nil {
		f.fail("%s is not a peer id", name)
	}
	return id
}

// sampling checks what sampling needs. A hop that is not the last may be told nothing.
func (f *fields) sampling(last bool) Sampling {
	s := Sampling{Temperature: f.Temp, TopP: f.TopP, Penalty: f.Pen}
	if f.TopK < -1 || f.TopK > math.MaxInt32 {
		f.fail("top k is %d", f.TopK)
		return s
	}
	s.TopK = int32(f.TopK)
	if !last && s == (Sampling{}) {
		return s
	}
	switch { // written so that a NaN is refused
	case !(s.Temperature >= 0 && s.Temperature <= MaxTemperature):
		f.fail("temperature %v is outside 0..%d", s.Temperature, MaxTemperature)
	case !(s.TopP >= 0 && s.TopP <= 1):
		f.fail("top p %v is outside 0..1", s.TopP)
	case !(s.Penalty >= MinPenalty && s.Penalty <= MaxPenalty):
		f.fail("repetition penalty %v is outside %v..%v", s.Penalty, MinPenalty, MaxPenalty)
	}
	return s
}

func decodeOpened(f *fields) (int, func([]byte) any) {
	f.session()
	return empty(Opened{Epoch: f.u32("epoch", f.Epoch), Position: uint32(f.num("position", f.Position, 0, f.lim.Context)),
		Last: f.number("last number", f.Last, 0), Busy: uint32(f.num("busy", f.Busy, 0, MaxBusy))})
}

// step checks what Step and Push share. Number 0 is for what is replayed, through some hop; nothing is wanted of it.
func (f *fields) step(rows int) (number uint64, position uint32, want Want, newIDs int) {
	number = f.number("number", f.Number, 0)
	switch {
	case number == 0 && len(f.Through) == 0:
		f.fail("number 0 through nobody")
	case number != 0 && len(f.Through) > 0:
		f.fail("number %d through a hop: only what is replayed goes through one", number)
	case number == 0 && f.Want != uint64(WantNone):
		f.fail("want %d of what is replayed: nothing is wanted of it", f.Want)
	}
	newIDs = f.num("new ids", f.NewIDs, 0, min(MaxStepRows, f.lim.Context))
	position = uint32(f.num("position", f.Position, 0, max(f.lim.Context-max(rows, newIDs), 0)))
	want = Want(f.num("want", f.Want, 0, int(WantRows)))
	return number, position, want, newIDs
}

func decodeStep(f *fields) (int, func([]byte) any) {
	f.session()
	ids := f.num("ids", f.IDs, 1, min(MaxStepRows, f.lim.Context))
	m := Step{Epoch: f.u32("epoch", f.Epoch), Through: f.peer("through", f.Through)}
	var newIDs int
	m.Number, m.Position, m.Want, newIDs = f.step(ids)
	return 4 * (newIDs + ids), func(body []byte) any {
		m.NewIDs = f.ids(body, newIDs)
		m.IDs = f.ids(body[4*newIDs:], ids)
		return m
	}
}

func decodePush(f *fields) (int, func([]byte) any) {
	f.session()
	m := Push{Owner: f.peer("owner", f.Owner), Through: f.peer("through", f.Through),
		Epoch: f.u32("epoch", f.Epoch), N: f.num("rows", f.Rows, 1, min(MaxStepRows, f.lim.Context)),
		Width: f.num("width", f.Width, f.lim.Hidden, f.lim.Hidden), Spent: f.spent()}
	f.fixed("session", m.Session[:], f.Session)
	var newIDs int
	m.Number, m.Position, m.Want, newIDs = f.step(m.N)
	exp := 4 * newIDs
	half := exp + m.N + m.N%2
	return half + 2*m.N*m.Width, func(body []byte) any {
		m.NewIDs = f.ids(body, newIDs)
		m.Exp = body[exp : exp+m.N : exp+m.N]
		if m.N%2 == 1 && body[half-1] != 0 {
			f.fail("the padding behind the exponents is not zero")
		}
		m.Half = body[half:]
		return m
	}
}

func decodeResult(f *fields) (int, func([]byte) any) {
	f.session()
	m := Result{Epoch: f.u32("epoch", f.Epoch), Number: f.number("number", f.Number, 1), Final: f.Final,
		Position: uint32(f.num("position", f.Position, 0, max(f.lim.Context-1, 0))),
		Want:     Want(f.num("want", f.Want, 0, int(WantRows))), Spent: f.spent()}
	var candidates int
	switch m.Want {
	case WantCandidates:
		candidates = f.num("candidates", f.Cands, 1, min(MaxCandidates, f.lim.Vocab))
	case WantRows:
		m.N = f.num("rows", f.Rows, 1, MaxResultRows)
		m.Vocab = f.num("vocabulary", f.Width, f.lim.Vocab, f.lim.Vocab)
	}
	if m.Want != WantRows && !m.Final {
		f.fail("only rows come in several frames")
	}
	return candidateBytes*candidates + 4*m.N*m.Vocab, func(body []byte) any {
		if m.Want == WantCandidates {
			m.Candidates = f.candidates(body)
		}
		if m.Want == WantRows {
			f.finite(body)
			m.Logits = body
		}
		return m
	}
}

// candidates reads what sampling may draw from, and checks that it is what sampling makes: finite, ids distinct and
// below the vocabulary, the penalised logit descending and the lower id first among equals.
func (f *fields) candidates(body []byte) []Candidate {
	all := make([]Candidate, len(body)/candidateBytes)
	seen := make(map[uint32]struct{}, len(all))
	for i := range all {
		b := body[candidateBytes*i:]
		c := Candidate{ID: binary.LittleEndian.Uint32(b), Raw: math.Float32frombits(binary.LittleEndian.Uint32(b[4:])),
			Penalised: math.Float32frombits(binary.LittleEndian.Uint32(b[8:]))}
		f.finite(b[4:candidateBytes])
		if uint64(c.ID) >= uint64(f.lim.Vocab) {
			f.fail("candidate %d is outside the vocabulary of %d", c.ID, f.lim.Vocab)
		}
		if _, twice := seen[c.ID]; twice {
			f.fail("candidate %d comes twice", c.ID)
		}
		seen[c.ID] = struct{}{}
		if i > 0 {
			if p := all[i-1]; p.Penalised < c.Penalised || (p.Penalised == c.Penalised && p.ID > c.ID) {
				f.fail("candidates %d and %d are out of order", p.ID, c.ID)
			}
		}
		all[i] = c
	}
	return all
}

// finite refuses a NaN or an Inf among the float32 numbers of b.
func (f *fields) finite(b []byte) {
	const exponent = 0x7f800000
	for i := 0; i+4 <= len(b); i += 4 {
		if binary.LittleEndian.Uint32(b[i:])&exponent == exponent {
			f.fail("a number is not finite")
			return
		}
	}
}

func decodeClose(f *fields) (int, func([]byte) any) {
	var m Close
	f.fixed("session", m.Session[:], f.Session)
	return empty(m)
}

func decodeFailure(f *fields) (int, func([]byte) any) {
	return empty(Failure{Epoch: f.u32("epoch", f.Epoch), Number: f.number("number", f.Number, 0),
		Code: Code(f.num("code", f.header.Code, 1, math.MaxUint8)), Suspect: f.peer("suspect", f.header.Suspect), Text: CleanText(f.Text, MaxTextBytes)})
}

func decodePut(f *fields) (int, func([]byte) any) {
	return f.num("bytes", f.Bytes, 1, MaxOfferBytes), func(body []byte) any { return Put{Offer: body} }
}

func decodeList(f *fields) (int, func([]byte) any) {
	return empty(List{Model: f.digest("model", f.Model), Limit: uint32(f.num("limit", f.Length, 0, MaxListOffers))})
}

func decodeOffers(f *fields) (int, func([]byte) any) {
	n := f.num("offers", f.Count, 0, MaxListOffers)
	total := f.num("bytes", f.Bytes, n, min(n*MaxOfferBytes, MaxListBytes))
	hints := f.num("hints", f.Hints, 0, MaxHints*MaxAddrs)
	hintBytes := f.num("bytes of hints", f.HintsB, 2*hints, hints*(MaxAddrBytes+2))
	load := f.load(f.header.Load)
	return offerSizeBytes*n + total + hintBytes, func(body []byte) any {
		m := Offers{Load: load}
		m.Sealed, m.AgesMS = f.sealed(body[:offerSizeBytes*n], body[offerSizeBytes*n:len(body)-hintBytes])
		m.Hints = f.hints(body[len(body)-hintBytes:], hints)
		return m
	}
}

// sealed cuts b into the offers whose ages and lengths are in sizes.
func (f *fields) sealed(sizes, b []byte) (offers [][]byte, ages []uint32) {
	for ; len(sizes) > 0; sizes = sizes[offerSizeBytes:] {
		n := binary.LittleEndian.Uint32(sizes[4:])
		if n == 0 || n > MaxOfferBytes || int(n) > len(b) {
			f.fail("an offer of %d bytes", n)
			return nil, nil
		}
		ages = append(ages, binary.LittleEndian.Uint32(sizes))
		offers = append(offers, b[:n:n])
		b = b[n:]
	}
	if len(b) > 0 {
		f.fail("%d bytes behind the last offer", len(b))
	}
	return offers, ages
}

// hints reads n addresses; those of one peer stand together.
func (f *fields) hints(b []byte, n int) (all []peer.AddrInfo) {
	for range n {
		if len(b) < 2 || int(binary.LittleEndian.Uint16(b)) > len(b)-2 {
			f.fail("a hint is cut off")
			return nil
		}
		end := 2 + int(binary.LittleEndian.Uint16(b))
		addr, err := ma.NewMultiaddrBytes(b[2:end])
		b = b[end:]
		if err != nil {
			f.fail("a hint is not an address")
			return nil
		}
		at, id := peer.SplitAddr(addr)
		if id == "" || len(at) == 0 {
			f.fail("a hint names no peer or no address")
			return nil
		}
		if k := len(all); k == 0 || all[k-1].ID != id {
			all = append(all, peer.AddrInfo{ID: id})
		}
		last := &all[len(all)-1]
		last.Addrs = append(last.Addrs, at)
	}
	if len(b) > 0 {
		f.fail("%d bytes behind the last hint", len(b))
	}
	return all
}

func decodePledge(f *fields) (int, func([]byte) any) {
	return empty(Pledge{Model: f.digest("model", f.Model), Layers: f.span("layers", f.Start, f.header.End, MaxLayers),
		ForMS: uint32(f.num("time", f.Within, 1, MaxPledgeMS))})
}

func decodeGet(f *fields) (int, func([]byte) any) {
	return empty(Get{Hash: f.digest("hash", f.Model), Offset: int64(f.num("offset", f.Offset, 0, MaxBlobBytes)),
		Length: uint32(f.num("length", f.Length, 1, MaxDataBytes))})
}

func decodeData(f *fields) (int, func([]byte) any) {
	total := int64(f.num("total", f.Total, 0, MaxBlobBytes))
	n := f.num("bytes", f.Bytes, 0, int(min(total, MaxDataBytes)))
	return n, func(body []byte) any { return Data{Total: total, Bytes: body} }
}
