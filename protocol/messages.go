package protocol

import (
	"encoding/hex"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The libp2p protocol ids that we speak.
const (
	SessionID   = "/baichuan/session/1"
	DirectoryID = "/baichuan/directory/1"
	PartsID     = "/baichuan/parts/1"
)

// Digest is a SHA-256: of a manifest (then it is the model's id), of a tokenizer, of an input.
type Digest [32]byte

// String returns the digest as 64 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ModelID is the SHA-256 of a manifest's bytes.
type ModelID = Digest

// Key is a session's random name, made by the client. A session belongs to the peer that opened it.
type Key [16]byte

// Span is the layers Start..End-1.
type Span struct {
	Start, End int
}

// String returns the span as A:B.
func (s Span) String() string { return fmt.Sprintf("%d:%d", s.Start, s.End) }

// Len is the number of layers in s.
func (s Span) Len() int { return s.End - s.Start }

// Want says what the last hop is to send back for a step.
type Want uint8

// What a result can hold.
const (
	WantNone       Want = iota // an empty result
	WantCandidates             // of the last row: what sampling keeps
	WantRows                   // of every row: raw logits
)

// Sampling is what the last hop must know to choose candidates (NUMERICS, Sampling). The seed stays at the client.
type Sampling struct {
	Temperature float32
	TopK        int32
	TopP        float64
	Penalty     float32 // repetition penalty; 1 is none
}

// Candidate is a token that sampling may draw: its raw logit, and the logit after the penalty.
type Candidate struct {
	ID             uint32
	Raw, Penalised float32
}

// Open begins a session at a hop, or changes it: the same session with a higher epoch replaces prev and next, keeps
// the cache up to Position and is answered once nothing of an older epoch runs.
type Open struct {
	Session  Key
	Epoch    uint32
	Model    ModelID
	Span     Span    // wanted: may be a part of what the hop serves
	Expect   uint32  // tokens that the session is expected to reach
	Position uint32  // forget the cache from here on; what is shorter stays shorter
	Prev     peer.ID // "" at the first hop
	Next     []byte  // the next hop's sealed offer; empty at the last
	Sampling Sampling
	Salt     [16]byte
	IDs      []uint32 // last hop: ids of positions 0.., for the penalty
}

// Opened answers Open.
type Opened struct {
	Epoch    uint32
	Position uint32 // tokens in this hop's cache
	Last     uint64 // number of the last step executed
}

// Step sends ids to the first hop: tokens Position..Position+len(IDs)-1.
type Step struct {
	Epoch    uint32
	Number   uint64 // counts steps from 1
	Position uint32
	Want     Want
	NewIDs   []uint32 // ids of Position.. that the last hop has not been told yet, or none
	IDs      []uint32 // travels in the body
}

// Push carries hidden rows from one hop to the next. In this version it goes through the client.
type Push struct {
	Session  Key
	Epoch    uint32
	Number   uint64
	Position uint32
	Want     Want
	NewIDs   []uint32
	N, Width int
	Exp      []byte // N exponents; travels in the body, zero-padded to an even count
	Half     []byte // 2*N*Width bytes
}

// Result is what the last hop sends to the client. A WantRows step is answered by several, of at most 8 rows each;
// the one with Final set is the last.
type Result struct {
	Epoch      uint32
	Number     uint64
	Position   uint32 // of the first row in this frame
	Want       Want
	Final      bool
	Candidates []Candidate
	N, Vocab   int
	Logits     []byte // N*Vocab float32, little endian
}

// Heartbeat says that a step is queued or running, each second at least.
type Heartbeat struct {
	Epoch   uint32
	Number  uint64
	Running bool
	Rows    uint32 // computed so far
}

// Close ends a session; it has no answer.
type Close struct {
	Session Key
}

// Failure refuses a message or reports that a step failed. It is an error.
type Failure struct {
	Epoch  uint32
	Number uint64
	Code   Code
	Text   string // a sentence; untrusted when it comes from a peer
}

// Put offers a signed offer to a keeper.
type Put struct {
	Offer []byte // sealed
}

// PutDone answers Put.
type PutDone struct{}

// List asks for offers: of one model, or of any (zero Model).
type List struct {
	Model ModelID
	Limit uint32
}

// Offers answers List: sealed offers with their ages, and where more can be asked.
type Offers struct {
	Sealed [][]byte
	AgesMS []uint32
	Hints  []peer.AddrInfo
}

// Info asks a peer for its own offer; it is answered by Offers with at most one.
type Info struct{}

// Get asks for bytes of a blob by its SHA-256: a manifest or a tokenizer. Parts come with a later version.
type Get struct {
	Hash   Digest
	Offset int64
	Length uint32
}

// Data answers Get: Total is the blob's size.
type Data struct {
	Total int64
	Bytes []byte
}

// State is what a peer says of itself in its offer.
type State uint8

// The states of a serving peer.
const (
	Joining State = iota + 1
	Online
	Draining
	Leaving
)

// String returns the state in a word.
func (s State) String() string {
	switch s {
	case Joining:
		return "joining"
	case Online:
		return "online"
	case Draining:
		return "draining"
	case Leaving:
		return "leaving"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Offer is what a peer serves: sealed with its key in a libp2p record envelope, at most 2 KiB.
type Offer struct {
	Version                 uint8
	Model                   ModelID
	ModelName               string // what its owner calls the model; untrusted text
	Peer                    peer.ID
	Sequence                uint64
	LifeMS                  uint32 // relative to the receiver's clock
	Span                    Span   // served now
	Target                  Span   // announced; equals Span unless a move is under way
	Layers                  int    // of the whole model: it must be known to see what is missing
	State                   State
	Device                  string // device and kernel set; untrusted text
	DecodeRate, PrefillRate uint32 // tokens/s through one layer
	NetRate                 uint64 // bytes/s
	CacheFree               uint32 // tokens
	Queue                   uint32
	Relayed                 bool
	Nick                    string // untrusted text
	Addrs                   []string
	Advice                  *Advice // nil: none
}

// Advice is how the model's makers recommend to draw (generation_config.json), as the peer has it: a client that has
// only the manifest learns it from an offer. It binds nobody.
type Advice struct {
	Sampling  Sampling
	MaxTokens uint32 // of an answer; 0: nothing said
}
