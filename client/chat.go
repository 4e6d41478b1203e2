package client

import (
	"context"
	"errors"
	"iter"

	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// Chat answers the last of some messages, in the model's chat template. A conversation that has grown too long loses
// its oldest rounds: dropped says how many, so that the user can be told. The prompt leaves room for o.MaxTokens, or
// for half of the context where that is less or no limit is given; only the system's text and the last round may take
// of that room, and if they do not fit the context the error is a *PromptTooLongError.
func (c *Conversation) Chat(ctx context.Context, messages []tokenizer.Message, o Options) (answer iter.Seq2[Chunk, error], dropped int, err error) {
	most := c.model.Manifest.Context
	room := most / 2
	if o.MaxTokens > 0 {
		room = min(room, o.MaxTokens)
	}
	ids, dropped, err := c.model.Tokenizer.ChatFit(messages, c.model.Roles(), most-max(room, 1))
	if long := (*tokenizer.TooLongError)(nil); errors.As(err, &long) {
		ids, dropped, err = c.model.Tokenizer.ChatFit(messages, c.model.Roles(), min(long.Need, most-1))
		if errors.As(err, &long) {
			return nil, 0, &PromptTooLongError{Tokens: long.Need, Context: most}
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return c.Generate(ctx, ids, o), dropped, nil
}
