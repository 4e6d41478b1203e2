// Package local computes a conversation with a whole model in this process: what `generate --local` answers with.
//
// It is the client's one user of a shard's arithmetic and knows no peers. Its answers have the bits of a swarm's: the
// same shard code computes them, and the same code chooses candidates.
package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

// Stepper is a client.Stepper over a shard that holds all layers.
type Stepper struct {
	shard *shard.Shard
	cache *shard.Cache
	run   client.Run
	ids   []uint32 // what the cache holds

	step   shard.Step // its rows' memory is used again
	logits []float32
}

// New makes a Stepper of a shard that must hold the whole model. The shard stays the caller's to close, after the
// Stepper.
func New(s *shard.Shard) (*Stepper, error) {
	if !s.First() || !s.Last() {
		return nil, fmt.Errorf("layers %v are not the whole model of %d", s.Span(), s.Manifest().Layers)
	}
	return &Stepper{shard: s, cache: s.NewCache(s.Span())}, nil
}

// Begin is part of client.Stepper.
func (s *Stepper) Begin(ctx context.Context, r client.Run) error {
	s.run = r
	s.truncate(r.Keep)
	return ctx.Err()
}

// truncate forgets all tokens from the n-th on.
func (s *Stepper) truncate(n int) {
	s.cache.Truncate(n)
	s.ids = s.ids[:s.cache.Len()]
}

// Step is part of client.Stepper.
func (s *Stepper) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	if len(ids) == 0 {
		return nil, errors.New("a step of no tokens")
	}
	before := len(s.ids)
	found, err := s.compute(ctx, ids, want)
	if err != nil {
		s.truncate(before)
		return nil, fmt.Errorf("compute token %d: %w", before, err)
	}
	return found, nil
}

func (s *Stepper) compute(ctx context.Context, ids []uint32, want client.Want) (found []sample.Candidate, err error) {
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(len(ids), protocol.MaxStepRows)
		began := time.Now()
		if found, err = s.piece(ctx, ids[:n], n == len(ids), want); err != nil {
			return nil, err
		}
		if want.Timed != nil {
			took := time.Since(began)
			hop := client.HopTime{Layers: protocol.Span(s.shard.Span()), Compute: took}
			want.Timed(began, client.StepTime{Tokens: n, Took: took, Hops: []client.HopTime{hop}})
		}
		ids = ids[n:]
	}
	return found, nil
}

// piece computes some tokens of a step, and what is wanted of them: candidates of the last one alone.
func (s *Stepper) piece(ctx context.Context, ids []uint32, last bool, want client.Want) ([]sample.Candidate, error) {
	s.step.Cache, s.step.IDs = s.cache, ids
	s.shard.Forward(&s.step)
	if s.step.Err != nil {
		return nil, s.step.Err
	}
	s.ids = append(s.ids, ids...)
	if want.Rows != nil {
		return nil, s.rows(ctx, len(ids), want.Rows)
	}
	if !last || !want.Candidates {
		return nil, nil
	}
	logits, err := s.head(s.step.Out.N-1, 1)
	if err != nil {
		return nil, err
	}
	return sample.Candidates(logits, s.ids, s.run.Sampling), nil
}

// rows gives the raw logits of the n tokens that have just been computed.
func (s *Stepper) rows(ctx context.Context, n int, each func(int, []float32) error) error {
	vocab, first := s.shard.Manifest().Vocab, len(s.ids)-n
	for from := 0; from < n; from += protocol.MaxResultRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		many := min(protocol.MaxResultRows, n-from)
		logits, err := s.head(from, many)
		if err != nil {
			return err
		}
		for i := range many {
			if err := each(first+from+i, logits[i*vocab:(i+1)*vocab]); err != nil {
				return err
			}
		}
	}
	return nil
}

// head applies the model's head to some rows of the last step.
func (s *Stepper) head(from, n int) ([]float32, error) {
	want := n * s.shard.Manifest().Vocab
	if cap(s.logits) < want {
		s.logits = make([]float32, want)
	}
	dst := s.logits[:want]
	return dst, s.shard.Logits(dst, s.step.Out, from, n)
}

// Len is part of client.Stepper.
func (s *Stepper) Len() int { return len(s.ids) }

// Chain is part of client.Stepper: one hop, this process.
func (s *Stepper) Chain() []client.HopInfo {
	span := s.shard.Span()
	return []client.HopInfo{{Layers: protocol.Span{Start: span.Start, End: span.End}, Device: s.shard.Device().Name()}}
}

// Failovers is part of client.Stepper: there is nobody to be replaced.
func (s *Stepper) Failovers() []client.Failover { return nil }

// Stats is part of client.Stepper: nothing happens beside computing.
func (s *Stepper) Stats() client.Stats { return client.Stats{Hops: 1} }

// Close is part of client.Stepper.
func (s *Stepper) Close() error {
	s.cache.Close()
	s.ids = nil
	return nil
}
