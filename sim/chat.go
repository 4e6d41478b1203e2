package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/baichuan-node/baichuan-node/client"
)

// chatter is a client that chats, at random as people do.
type chatter struct {
	scene  *scene
	client int
	random *rand.Rand
	talk   *talk
	ids    []uint32 // of the conversation so far
	seed   uint32   // of the tokens that were made last
	did    map[string]int
}

// doing is something that a client does.
type doing struct {
	name string
	does func(*chatter, context.Context) error
}

// doings are what clients do, as often as it is listed.
var doings = []doing{
	{"short turn", (*chatter).shortTurn},
	{"short turn", (*chatter).shortTurn},
	{"short turn", (*chatter).shortTurn},
	{"long turn", (*chatter).longTurn},
	{"rollback", (*chatter).rollsBack},
	{"rollback", (*chatter).rollsBack},
	{"answer cancelled", (*chatter).cancels},
	{"answer cancelled", (*chatter).cancels},
	{"new session", (*chatter).beginsAnew},
	{"connections hung up", (*chatter).hangsUp},
	{"client gone", (*chatter).vanishes},
}

func (sc *scene) newChatter(client int) *chatter {
	return &chatter{
		scene: sc, client: client, random: rand.New(rand.NewPCG(sc.stage.cfg.Seed, uint64(client+1))), did: make(map[string]int),
	}
}

// chats goes on until it is told to stop. All that it has begun is closed then.
func (c *chatter) chats(ctx context.Context, over <-chan struct{}) (err error) {
	c.begin()
	defer func() { err = errors.Join(err, c.talk.Close()) }()
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		what := doings[c.random.IntN(len(doings))]
		if err := what.does(c, ctx); err != nil {
			return err
		}
		c.did[what.name]++
	}
}

// begin begins a conversation: a private one, or one that begins like those of others.
func (c *chatter) begin() {
	cfg := private
	c.ids = nil
	if c.random.IntN(2) == 0 {
		cfg = client.SessionConfig{}
		c.ids = someIDs(200, 1)
	}
	c.talk = c.scene.talk(c.client, cfg)
}

// says makes a question of so many more tokens; of a new conversation if the present one is too long for it.
func (c *chatter) says(tokens, answer int) (question, error) {
	if len(c.ids)+tokens+answer >= c.scene.stage.model.Manifest.Context {
		if err := c.talk.Close(); err != nil {
			return question{}, err
		}
		c.begin()
	}
	c.seed++
	c.ids = slices.Concat(c.ids, someIDs(tokens, uint32(c.client+1)<<16+c.seed))
	return ask(c.ids, answer), nil
}

// turn has a question answered.
func (c *chatter) turn(ctx context.Context, tokens, answer int) error {
	q, err := c.says(tokens, answer)
	if err != nil {
		return err
	}
	out, err := c.talk.answers(ctx, q)
	if out != nil {
		c.ids = slices.Concat(c.ids, out.IDs)
	}
	return err
}

func (c *chatter) shortTurn(ctx context.Context) error {
	return c.turn(ctx, 1+c.random.IntN(40), 1+c.random.IntN(60))
}

func (c *chatter) longTurn(ctx context.Context) error {
	return c.turn(ctx, 200+c.random.IntN(300), 1+c.random.IntN(20))
}

func (c *chatter) rollsBack(ctx context.Context) error {
	c.ids = c.ids[:c.random.IntN(len(c.ids)+1)]
	return c.shortTurn(ctx)
}

func (c *chatter) cancels(ctx context.Context) error {
	q, err := c.says(1+c.random.IntN(300), 40)
	if err != nil {
		return err
	}
	return c.talk.leaves(ctx, q, c.random.IntN(20), c.random.IntN(2) == 0)
}

func (c *chatter) beginsAnew(context.Context) error {
	err := c.talk.Close()
	c.begin()
	return err
}

func (c *chatter) hangsUp(context.Context) error { return c.scene.clients[c.client].hangUp() }

// vanishes leaves without a goodbye, and comes back as somebody else.
func (c *chatter) vanishes(ctx context.Context) error {
	gone := c.scene.clients[c.client]
	if err := errors.Join(gone.close(), c.talk.Close()); err != nil {
		return err
	}
	a, err := c.scene.newAsker(ctx, c.scene.living()...)
	if err != nil {
		return err
	}
	c.scene.clients[c.client] = a
	c.begin()
	return nil
}
