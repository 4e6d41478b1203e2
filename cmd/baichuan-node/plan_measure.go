package main

import (
	"context"
	"slices"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/sample"
)

const (
	// planPrompt is the tokens of the prompt that plan has in mind: a question of some sentences.
	planPrompt = 64

	// planTokens is how many tokens plan --measure takes the median of.
	planTokens = 32
)

// timedStepper notes what each token takes.
type timedStepper struct {
	client.Stepper
	took []time.Duration
}

// Step is part of client.Stepper.
func (s *timedStepper) Step(ctx context.Context, ids []uint32, want client.Want) ([]sample.Candidate, error) {
	begun := time.Now()
	found, err := s.Stepper.Step(ctx, ids, want)
	if err == nil && len(ids) == 1 {
		s.took = append(s.took, time.Since(begun))
	}
	return found, err
}

// measure has tokens generated and compares what they took with what was predicted.
func (p *planning) measure(ctx context.Context) (m *planMeasured, err error) {
	s := &timedStepper{Stepper: p.client.NewSession(client.SessionConfig{Private: true})}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	prompt := make([]uint32, 16)
	for i := range prompt {
		prompt[i] = uint32(p.model.Manifest.Vocab/2 + i)
	}
	o := client.Options{MaxTokens: planTokens + 2, Sampling: sample.Params{Penalty: 1}, IgnoreEOS: true}
	for _, err := range client.NewConversation(p.client.Model(), s).Generate(ctx, prompt, o) {
		if err != nil {
			return nil, err
		}
	}
	took := s.took[min(1, len(s.took)):] // the first comes from a chain that has just been opened
	if len(took) == 0 {
		return &planMeasured{Note: "the model's context has no room for tokens"}, nil
	}
	slices.Sort(took)
	median := took[len(took)/2]
	m = &planMeasured{Tokens: len(took), Median: inMillis(median), Share: float64(p.explained.Token) / float64(max(median, 1))}
	if !p.took(s.Chain()) {
		m.Note = "another chain was taken than the planned one"
	}
	return m, nil
}

// took says whether a session had the chain that was planned.
func (p *planning) took(chain []client.HopInfo) bool {
	planned := p.explained.Chain
	if len(chain) != len(planned) {
		return false
	}
	for i, h := range chain {
		if h.Peer != planned[i].Peer || h.Layers != planned[i].Span {
			return false
		}
	}
	return true
}
