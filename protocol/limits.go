package protocol

import (
	"math"
	"time"
)

// Limits of a frame. A number that a stranger sent is held against one of these before anything is allocated for it.
const (
	// MaxHeaderBytes bounds a header. The largest one is an Open's: some 250 bytes; whatever grows with a prompt or an
	// offer travels in the body.
	MaxHeaderBytes = 4 << 10

	// MaxStepRows is the rows of one step, and so the largest prefill chunk: at 13B (hidden 5,120) a push of it takes
	// 512 x 2 x 5,120 + 512 bytes = 5.2 MB.
	MaxStepRows = 512

	// MaxStepsInFlight is the steps of a session that a hop takes before it has answered: one that runs, and the next
	// chunk of a long prompt on its way meanwhile.
	MaxStepsInFlight = 2

	// MaxHops is the hops of a chain whose times travel with a step: as many times as there are take some 4 bytes each, 20 at
	// most. What a hop says that it took is an hour at most, which no step is waited for.
	MaxHops  = 64
	maxSpent = time.Hour

	// PageTokens is the tokens of a page of cache, which begin at multiples of it.
	PageTokens = 64

	// MaxResultRows is the rows of raw logits in a frame: 8 x 125,696 x 4 bytes = 4.0 MB.
	MaxResultRows = 8

	// MaxCandidates is what sampling keeps at most (NUMERICS, Sampling): 1,024 x 12 bytes = 12 KiB.
	MaxCandidates = 1024

	// MaxOfferBytes bounds a sealed offer: some 315 bytes as a rule, 2 KiB with 8 long addresses and all texts full.
	MaxOfferBytes = 2 << 10

	// MaxListOffers is the offers in an answer to List; MaxListBytes bounds their bytes: 512 x (2 KiB + 8) would be just
	// over 1 MiB, at 315 bytes they take 165 KB.
	MaxListOffers = 512
	MaxListBytes  = 1 << 20

	// MaxHints is the peers named as further keepers: the 5 keepers and a few more. With at most MaxAddrs addresses of
	// MaxAddrBytes each, and their 2 bytes of length, they take 8 x 8 x 258 = 16.5 KB.
	MaxHints     = 8
	MaxAddrs     = 8
	MaxAddrBytes = 256
	maxHintBytes = MaxHints * MaxAddrs * (MaxAddrBytes + 2)

	// MaxDataBytes is the bytes of a blob in one frame: large enough for one round trip per MiB, small enough to stand
	// aside for the steps of a session.
	MaxDataBytes = 1 << 20

	// MaxBlobBytes bounds a blob that is asked for piecewise: above any part of any model.
	MaxBlobBytes = 1 << 40

	// MaxTextBytes bounds the sentence in a Failure, in bytes of UTF-8.
	MaxTextBytes = 512

	// MaxLayers, MaxWidth, MaxVocab and MaxContext bound the dimensions of any model that Limits can be made for. The 13B
	// has 40 layers, 5,120 wide, 125,696 ids, and a context of 4,096.
	MaxLayers  = 1024
	MaxWidth   = 1 << 16
	MaxVocab   = 1 << 20
	MaxContext = 1 << 20

	// maxAnyBody is a push of the widest model, 67 MB: no body of any message is larger.
	maxAnyBody = 2*MaxStepRows*MaxWidth + 5*MaxStepRows
)

// Ranges of Sampling, for whoever makes one: wider than anybody's use, narrow enough that a finite logit stays finite. Logits stay below 1e4,
// so the penalty takes them to 1e8 at most.
const (
	MaxTemperature = 100
	MinPenalty     = 1e-4
	MaxPenalty     = 1e4
)

// Ranges of an offer's numbers.
const (
	maxNameBytes   = 64
	maxDeviceBytes = 128
	MaxNickBytes   = 64
	maxPeerBytes   = 64 // an Ed25519 peer id has 38 bytes, an RSA one 34
	MaxNear        = 16 // round trips in an offer, of 12 bytes each
	MaxNearRTT     = time.Minute
	MaxPledgeMS    = 600_000 // nobody gives its word for longer
	MaxBusy        = 1000    // thousandths
	maxLifeMS      = 60_000  // offers live 24 s
	maxDrainMS     = 600_000 // nobody takes longer to leave
	MaxRate        = 1 << 30 // tokens/s through a layer
	MaxNetRate     = 1 << 40 // bytes/s
	maxQueue       = 1 << 20
	maxSequence    = math.MaxInt64
)

// Ranges of a load's numbers.
const (
	maxSessions = 1 << 20
	maxUptimeMS = 100 * 365 * 24 * 3600 * 1000 // a hundred years, which are a third of what a Duration holds
	maxCount    = 1 << 53                      // what a JSON number keeps in every language: a million tokens a second for 285 years
)

// Limits are the dimensions that a session's messages are held against: those of the manifest that both sides know. The
// zero value is for streams that carry no session (directory, parts): it refuses every step, push and open.
type Limits struct {
	Model   ModelID // if not zero, an Open for another model is refused with CodeOtherManifest
	Layers  int
	Hidden  int // width of an activation row
	Vocab   int
	Context int // tokens
}

// Valid reports whether all dimensions are positive and below this package's own bounds, so that no product of them
// overflows: the largest is a push, 2 x 512 x 2^16 bytes.
func (l Limits) Valid() bool {
	in := func(n, most int) bool { return n > 0 && n <= most }
	return in(l.Layers, MaxLayers) && in(l.Hidden, MaxWidth) && in(l.Vocab, MaxVocab) && in(l.Context, MaxContext)
}

// maxBody is the largest body that any message may have under l.
func (l Limits) maxBody() int {
	most := MaxListBytes + 8*MaxListOffers + maxHintBytes
	if !l.Valid() {
		return most
	}
	open := MaxOfferBytes + 4*l.Context + nameBytes*l.pages()
	push := 4*MaxStepRows + MaxStepRows + 2*MaxStepRows*l.Hidden
	result := MaxResultRows * 4 * l.Vocab
	return max(most, open, push, result, l.maxPage(), 12*MaxCandidates)
}

// pages is how many pages a sequence has at most.
func (l Limits) pages() int { return (l.Context + PageTokens - 1) / PageTokens }

// maxPage is the bytes of one layer of a page at most: keys and values as float16, 64 x 2 x 2 x 5,120 = 1.3 MB at 13B.
func (l Limits) maxPage() int { return PageTokens * 4 * l.Hidden }
