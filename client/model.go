package client

import (
	"fmt"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Model is what a client must know of a model: no weights.
type Model struct {
	Name      string // as its owner, or whoever offers it, calls it
	ID        protocol.ModelID
	Manifest  *store.Manifest
	Tokenizer *tokenizer.Tokenizer
	Drawing   store.Drawing // how its makers recommend to draw
}

// ModelOf gives what a client must know of a stored model.
func ModelOf(m *store.Model) (*Model, error) {
	raw, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	return &Model{Name: m.Name, ID: protocol.ModelID(m.ID), Manifest: m.Manifest, Tokenizer: t, Drawing: m.Local.Generation.Drawing()}, nil
}

// drawing is what an offer advises; without advice it is what the published chat models come with.
func drawing(a *protocol.Advice) store.Drawing {
	if a == nil {
		return store.Drawing{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05}
	}
	return store.Drawing{
		Temperature: float64(a.Sampling.Temperature), TopK: int(a.Sampling.TopK), TopP: a.Sampling.TopP,
		Penalty: float64(a.Sampling.Penalty), MaxTokens: int(a.MaxTokens),
	}
}

// Roles are the ids of the model's chat template.
func (m *Model) Roles() tokenizer.Roles {
	return tokenizer.Roles{
		User: uint32(m.Manifest.User), Assistant: uint32(m.Manifest.Assistant),
		BOS: uint32(m.Manifest.BOS), AddBOS: m.Manifest.AddBOS,
	}
}

// limits are what messages of the model's sessions are held against.
func (m *Model) limits() protocol.Limits {
	return protocol.Limits{
		Model: m.ID, Layers: m.Manifest.Layers, Hidden: m.Manifest.Hidden,
		Vocab: m.Manifest.Vocab, Context: m.Manifest.Context,
	}
}
