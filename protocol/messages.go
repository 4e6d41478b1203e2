package protocol

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The libp2p protocol ids that we speak.
const (
	SessionID   = "/baichuan/session/1"
	PushID      = "/baichuan/push/1"
	DirectoryID = "/baichuan/directory/1"
	PartsID     = "/baichuan/parts/1"
)

// Digest is a SHA-256: of a manifest (then it is the model's id), of a tokenizer, of an input.
type Digest [32]byte

// String returns the digest as 64 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ModelID is the SHA-256 of a manifest's bytes.
type ModelID = Digest

// PeerID names a peer: for packages that know peers and no libp2p.
type PeerID = peer.ID

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
	From     peer.ID // who hands over the session's cache; "": nobody
	Sampling Sampling
	Salt     [16]byte
	Private  bool     // pages are freed with the session and found by no other
	IDs      []uint32 // last hop: ids of positions 0.., for the penalty
	Names    []Digest // first hop: names of the prompt's full pages, for a cache that is there already
}

// Opened answers Open.
type Opened struct {
	Epoch    uint32
	Position uint32 // tokens in this hop's cache, those of pages found by name included
	Last     uint64 // number of the last step executed
	Busy     uint32 // how busy the hop is with other sessions, as in Offer: now, where an offer may be seconds old
}

// Step sends ids to the first hop: tokens Position..Position+len(IDs)-1. With Number 0 they are replayed: they fill the
// caches up to the hop Through, which answers Replayed.
type Step struct {
	Epoch    uint32
	Number   uint64 // counts steps from 1
	Position uint32
	Want     Want
	Through  peer.ID
	NewIDs   []uint32 // ids of Position.. that the last hop has not been told yet, or none
	IDs      []uint32 // travels in the body
}

// Push carries hidden rows from one hop to the next: on a push stream straight from hop to hop, or by way of the client.
// With Number 0 they are replayed, as in Step.
type Push struct {
	Owner    peer.ID // of the session; "" on a stream of the owner's own
	Session  Key
	Epoch    uint32
	Number   uint64
	Position uint32
	Want     Want
	Through  peer.ID
	NewIDs   []uint32
	Spent    []Spent // at the hops that the step has passed, the sender last; those of an earlier version are missing, with all before
	N, Width int
	Exp      []byte // N exponents; travels in the body, zero-padded to an even count
	Half     []byte // 2*N*Width bytes
}

// Names tells the next hop by which names it may find pages: those of the rows that the sender has for them.
type Names struct {
	Owner   peer.ID
	Session Key
	Epoch   uint32
	Names   []Digest
}

// Replay asks a hop to push outputs of positions From..Until-1, which it has kept, again: to a hop that has come new
// behind it and whoever follows, up to Through.
type Replay struct {
	Epoch       uint32
	From, Until uint32
	Through     peer.ID
}

// Replayed says that what was replayed or handed over has arrived: the hop's cache holds Position tokens.
type Replayed struct {
	Epoch    uint32
	Position uint32
}

// Parting tells the owner of a session that the hop is leaving and will serve it for so long at most. HandOverMS is what
// sending the session's cache takes at the upload that the hop may use, 0 if that is not known: an owner who would have the
// successor filled sooner by a replay need not ask for the cache.
type Parting struct {
	WithinMS   uint32
	HandOverMS uint32
}

// HandOver asks a draining hop to send the session's cache to the peer whose sealed offer is To: it has been opened
// there in the same epoch, with From.
type HandOver struct {
	Epoch uint32
	To    []byte
}

// Page is a part of a cache that is handed over: one layer of one page, or with Layer -1 the page's output rows. Pages
// come in order, a page's layers before its rows. The last page may hold fewer tokens than the others.
type Page struct {
	Owner   peer.ID
	Session Key
	Epoch   uint32
	Index   uint32 // of the page in the sequence
	Tokens  uint32
	Layer   int32
	Final   bool   // nothing follows
	Hash    Digest // of Bytes
	Bytes   []byte
}

// Result is what the last hop sends to the client. A WantRows step is answered by several, of at most 8 rows each;
// the one with Final set is the last.
type Result struct {
	Epoch      uint32
	Number     uint64
	Position   uint32 // of the first row in this frame
	Want       Want
	Final      bool
	Spent      []Spent // at the hops, as in Push; in the last frame
	Candidates []Candidate
	N, Vocab   int
	Logits     []byte // N*Vocab float32, little endian
}

// Ping asks a hop for a Heartbeat. A client sends one twice a second while a step is out.
type Ping struct{}

// Heartbeat answers Ping: what the hop has of the session's oldest step that it knows and has not passed on. Number 0
// says that it has none.
type Heartbeat struct {
	Epoch    uint32
	Number   uint64
	Running  bool   // else it waits
	Progress uint64 // of the hop's computing: it grows as long as anything is computed
}

// Close ends a session; it has no answer.
type Close struct {
	Session Key
}

// Failure refuses a message or reports that a step failed. It is an error.
//
// With Suspect the fault is in what that peer has sent to the hop, or it is the hop's own, which says what is not true: the
// client can't know, and does without both or one after the other. It is nobody but the Prev that the client has named to
// the hop, or the From; any other is a lie of the hop's.
type Failure struct {
	Epoch   uint32
	Number  uint64
	Code    Code
	Suspect peer.ID // "": nobody else
	Text    string  // a sentence; untrusted when it comes from a peer
}

// Put offers a signed offer to a keeper.
type Put struct {
	Offer []byte // sealed
}

// PutDone answers Put. Newest is the sequence of an offer of the peer that is newer than the one it has put: it has begun
// with a wall clock that is behind. 0: there is none.
type PutDone struct {
	Newest uint64
}

// List asks for offers: of one model, or of any (zero Model).
type List struct {
	Model ModelID
	Limit uint32
}

// Offers answers List: sealed offers with their ages, and where more can be asked. In answer to Info it says how the peer is
// doing.
type Offers struct {
	Sealed [][]byte
	AgesMS []uint32
	Hints  []peer.AddrInfo
	Load   *Load // nil: not asked, or not told
}

// Pledge asks a peer to go on serving layers of a model for so long, as the asker is about to give them up.
type Pledge struct {
	Model  ModelID
	Layers Span
	ForMS  uint32
}

// Pledged answers Pledge: whether the peer gives its word.
type Pledged struct {
	Yes bool
}

// Info asks a peer for its own offer and its load; it is answered by Offers with at most one offer.
type Info struct{}

// Get asks for bytes of a blob by its SHA-256: a manifest, a tokenizer, or a chunk of a part.
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
	Boot                    uint64 // random, another one after a restart: what failed the process before is no fault of this one; 0: not said
	LifeMS                  uint32 // relative to the receiver's clock
	Span                    Span   // served now
	Target                  Span   // announced; equals Span unless a move is under way
	Capacity                int    // how many layers it could hold; 0: as many as in Target
	Fixed                   bool   // its owner has said which layers: it moves for nobody
	Layers                  int    // of the whole model: it must be known to see what is missing
	State                   State
	Device                  string // device and kernel set; untrusted text
	DecodeRate, PrefillRate uint32 // tokens/s through one layer
	HeadRate                uint32 // tokens/s through the final norm and the lm_head, one at a time; 0: not said, or it has no last layer
	NetRate                 uint64 // bytes/s
	CacheFree               uint32 // tokens
	Queue                   uint32
	Busy                    uint32 // the part of a newcomer's time at the peer that is other sessions', in thousandths (routing.Crowd)
	Near                    []Near // round trips to peers that may follow it in a chain, at most MaxNear
	Relayed                 bool   // others reach it over a relay alone
	Relay                   bool   // it is one
	Nick                    string // untrusted text
	Addrs                   []string
	Advice                  *Advice // nil: none
}

// Near is a round trip to another peer, as a peer measures it.
type Near struct {
	Peer PeerTail
	RTT  time.Duration // in the offer: whole microseconds
}

// PeerTail is the last bytes of a peer's id, which are as random as its key: enough to tell the peers of a swarm apart, and
// a fifth of the id's size in an offer.
type PeerTail [8]byte

// TailOf returns the tail of a peer's id. That of an id shorter than a tail is filled up with zeros in front.
func TailOf(id peer.ID) (t PeerTail) {
	b := []byte(id)
	b = b[max(0, len(b)-len(t)):]
	copy(t[len(t)-len(b):], b)
	return t
}

// Advice is how the model's makers recommend to draw (generation_config.json), as the peer has it: a client that has
// only the manifest learns it from an offer. It binds nobody.
type Advice struct {
	Sampling  Sampling
	MaxTokens uint32 // of an answer; 0: nothing said
}
