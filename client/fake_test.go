package client

import (
	"context"
	"encoding/binary"
	"os"
	"sync"
	"testing"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// The toy model of these tests: a token's state at a layer is a hash of its state below and of the state of the token
// before it at the same layer, as a cache gives it. So a lost, doubled or misplaced token changes all that follows.
const (
	toyLayers = 4
	toyHidden = 64
	toyVocab  = 2048
)

// mix is splitmix64's finaliser.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// toyCache is the states of a sequence at some layers, from start on: [layer][token].
type toyCache struct {
	start  int
	states [][]uint64
}

func newToyCache(s protocol.Span) *toyCache {
	return &toyCache{start: s.Start, states: make([][]uint64, s.End-s.Start)}
}

func (c *toyCache) len() int { return len(c.states[0]) }

func (c *toyCache) truncate(n int) {
	for i := range c.states {
		c.states[i] = c.states[i][:min(n, len(c.states[i]))]
	}
}

// push computes one token; x is its id at the first layer, its state elsewhere.
func (c *toyCache) push(x uint64) uint64 {
	for i := range c.states {
		before := uint64(0)
		if n := len(c.states[i]); n > 0 {
			before = c.states[i][n-1]
		}
		x = mix(mix(x+uint64(c.start+i)) + before)
		c.states[i] = append(c.states[i], x)
	}
	return x
}

// toyLogits is the head: numbers in -8..8.
func toyLogits(state uint64) []float32 {
	logits := make([]float32, toyVocab)
	for i := range logits {
		logits[i] = float32(int64(mix(state+uint64(i)))>>40) / (1 << 20)
	}
	return logits
}

// toyModel has the tokenizer of the tests, and what the toy's numbers need.
var toyModel = sync.OnceValue(func() *Model {
	raw, err := os.ReadFile("../shard/tokenizer/testdata/bpe-2048.model")
	if err != nil {
		panic(err)
	}
	t, err := tokenizer.Load(raw)
	if err != nil {
		panic(err)
	}
	return &Model{Name: "toy", ID: protocol.ModelID{7}, Tokenizer: t, Manifest: &store.Manifest{
		Layers: toyLayers, Hidden: toyHidden, Vocab: toyVocab, Context: 1400,
		BOS: 1, EOS: 2, User: 195, Assistant: 196, Stop: []int{2, 195, 196},
	}}
})

// toyStepper is the oracle: the toy model in one piece.
type toyStepper struct {
	cache  *toyCache
	run    Run
	ids    []uint32
	forced []uint32 // if not nil, the tokens that are drawn, whatever the logits
	steps  []int    // lengths of the steps so far
	begun  []Run
	fail   error // of the next step
}

func newToyStepper() *toyStepper {
	return &toyStepper{cache: newToyCache(protocol.Span{End: toyLayers})}
}

func (s *toyStepper) Begin(ctx context.Context, r Run) error {
	s.run, s.begun = r, append(s.begun, r)
	s.cache.truncate(r.Keep)
	s.ids = s.ids[:s.cache.len()]
	return nil
}

func (s *toyStepper) Step(ctx context.Context, ids []uint32, want Want) ([]sample.Candidate, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := s.fail; err != nil {
		s.fail = nil
		return nil, err
	}
	s.steps = append(s.steps, len(ids))
	var logits []float32
	for _, id := range ids {
		s.ids = append(s.ids, id)
		logits = toyLogits(s.cache.push(uint64(id)))
		if want.Rows != nil {
			if len(s.forced) > 0 {
				logits = make([]float32, toyVocab)
				logits[s.forced[0]] = 1
				s.forced = s.forced[1:]
			}
			if err := want.Rows(len(s.ids)-1, logits); err != nil {
				return nil, err
			}
		}
	}
	if !want.Candidates {
		return nil, nil
	}
	if len(s.forced) > 0 {
		id := s.forced[0]
		s.forced = s.forced[1:]
		return []sample.Candidate{{ID: id}}, nil
	}
	return sample.Candidates(logits, s.ids, s.run.Sampling), nil
}

func (s *toyStepper) Len() int              { return len(s.ids) }
func (s *toyStepper) Chain() []HopInfo      { return []HopInfo{{Device: "toy"}} }
func (s *toyStepper) Failovers() []Failover { return nil }
func (s *toyStepper) Stats() Stats          { return Stats{} }
func (s *toyStepper) Close() error          { return nil }

// toyRows writes states as rows that may travel: a byte of the state in each of the first eight elements.
func toyRows(states []uint64) (exp, half []byte) {
	half = make([]byte, 2*toyHidden*len(states))
	for i, x := range states {
		for k := range 8 {
			half[2*(i*toyHidden+k)] = byte(x >> (8 * k))
		}
	}
	return make([]byte, len(states)), half
}

func fromToyRows(n int, half []byte) []uint64 {
	states := make([]uint64, n)
	for i := range states {
		for k := range 8 {
			states[i] |= uint64(half[2*(i*toyHidden+k)]) << (8 * k)
		}
	}
	return states
}

// floats are little-endian float32.
func floats(rows ...[]float32) []byte {
	var b []byte
	for _, row := range rows {
		b, _ = binary.Append(b, binary.LittleEndian, row)
	}
	return b
}

// answer reads an iteration to its end.
func answer(t *testing.T, seq func(func(Chunk, error) bool)) (text string, out *Outcome, err error) {
	t.Helper()
	for chunk, e := range seq {
		if e != nil {
			return text, nil, e
		}
		text += chunk.Text
		out = chunk.Outcome
	}
	if out == nil || out.Text != text {
		t.Fatalf("the pieces make %q, the outcome is %+v", text, out)
	}
	return text, out, nil
}
