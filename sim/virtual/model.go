package virtual

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/client/local"
	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint"
	"github.com/baichuan-node/baichuan-node/shard/checkpoint/synthetic"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Layers is how many layers the model of the swarms has.
const Layers = 6

// Model is a model of random weights, so small that a swarm's arithmetic costs next to nothing, and the whole of it in one
// process: what a swarm must answer like. It serves many worlds, one at a time.
type Model struct {
	stored *store.Model
	shown  *client.Model
	device *kernels.CPU
	whole  *shard.Shard
	said   map[Question][]uint32 // the right answers
}

// NewModel makes a model in a folder.
func NewModel(ctx context.Context, dir string) (*Model, error) {
	spec := synthetic.Spec{
		Vocab: 4096, Hidden: 64, Intermediate: 64, Layers: Layers, Heads: 2, Context: 256, Position: "rope", NormHead: true,
		Seed: 1, Tokenizer: synthetic.Tokenizer(),
	}
	if err := synthetic.Write(dir+"/from", spec); err != nil {
		return nil, err
	}
	from, err := checkpoint.Open(dir + "/from")
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := store.Open(dir + "/home")
	if err != nil {
		return nil, err
	}
	stored, err := store.Import(ctx, to, from, store.ImportOptions{Name: "tiny", Weights: "nf4", KV: "int8"})
	if err != nil {
		return nil, err
	}
	shown, err := client.ModelOf(stored)
	if err != nil {
		return nil, err
	}
	device := kernels.NewCPU(1)
	whole, err := shard.Load(ctx, stored, store.Span{End: Layers}, device, shard.Config{})
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	m := &Model{stored: stored, shown: shown, device: device, whole: whole, said: make(map[Question][]uint32)}
	for _, q := range questions() {
		if m.said[q], err = m.answer(ctx, q); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// Close gives the model's memory back.
func (m *Model) Close() error { return errors.Join(m.whole.Close(), m.device.Close()) }

// answer is what one process says to a question.
func (m *Model) answer(ctx context.Context, q Question) ([]uint32, error) {
	s, err := local.New(m.whole)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out, err := generate(ctx, client.NewConversation(m.shown, s), q)
	if err != nil {
		return nil, err
	}
	return out.IDs, nil
}

// Question is a prompt of so many tokens that look like no others, and how many the answer has.
type Question struct {
	Seed, Prompt, Answer int
}

// questions are all that is ever asked: short ones and long ones, some of which begin alike.
func questions() (all []Question) {
	for seed := range 4 {
		for i, prompt := range []int{8, 70, 140} {
			all = append(all, Question{Seed: seed, Prompt: prompt, Answer: 4 + 2*i + seed})
		}
	}
	return all
}

func (q Question) ids() []uint32 {
	ids := make([]uint32, q.Prompt)
	for i := range ids {
		k := uint32(i + 1000*q.Seed)
		ids[i] = 300 + (k*k*31+7*k)%3500
	}
	return ids
}

func (q Question) options() client.Options {
	return client.Options{
		MaxTokens: q.Answer, Sampling: sample.Params{Temperature: 1, TopK: 50, TopP: 0.95, Penalty: 1.1}, Seed: uint64(q.Seed), IgnoreEOS: true,
	}
}

func generate(ctx context.Context, c *client.Conversation, q Question) (*client.Outcome, error) {
	for chunk, err := range c.Generate(ctx, q.ids(), q.options()) {
		if err != nil {
			return nil, err
		}
		if chunk.Outcome != nil {
			return chunk.Outcome, nil
		}
	}
	return nil, errors.New("the answer has no end")
}

// pacer is a device that takes its time: under a clock that stands still while anything is computed, nothing else would
// tell a slow node from a fast one.
type pacer struct {
	kernels.Device
	tables kernels.Device // makes the caches: what it has worked out for one of them it has for all
	perRow atomic.Int64   // nanoseconds, through one layer
}

// Cache is part of kernels.Device.
func (p *pacer) Cache(s kernels.CacheShape) (kernels.Cache, error) { return p.tables.Cache(s) }

// Attend is done once for each layer.
func (p *pacer) Attend(dst kernels.Buffer, c kernels.Cache, layer int, qkv kernels.Buffer, seats []kernels.Seat, at kernels.Place) {
	time.Sleep(time.Duration(len(seats)) * time.Duration(p.perRow.Load()))
	p.Device.Attend(dst, c, layer, qkv, seats, at)
}
