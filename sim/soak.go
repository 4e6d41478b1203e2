package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	soakCopies  = 3
	soakClients = 4
	soakLosses  = "0.002" // of what a node sends to the next
)

// soak has clients chat while nodes come and go, and looks at what is left when nobody wants anything any more. The first
// copy of each span lives through all of it.
func soak(ctx context.Context, st *stage) error {
	long, pause, idle := st.cfg.For, soakPause, soakIdle
	switch {
	case long == 0 && st.cfg.Long:
		long = soakLong
	case long == 0:
		long, pause, idle = soakShort, loadPause/2, soakIdleShort
	}
	c := cast{
		copies: soakCopies, clients: soakClients, limit: long + idle + stepLimit,
		args: func(n int) []string {
			return []string{"--lose-pushes", soakLosses, "--lose-seed", fmt.Sprint(st.cfg.Seed<<16 + uint64(n)), "--idle", idle.String()}
		},
	}
	name := fmt.Sprintf("%v, %d copies of each span, %d clients, seed %d", long, soakCopies, soakClients, st.cfg.Seed)
	return st.stepWith(ctx, name, c, func(ctx context.Context, sc *scene) error {
		if err := sc.warmUp(ctx); err != nil {
			return err
		}
		before, err := sc.settles(ctx, nil, idle)
		if err != nil {
			return err
		}
		if err := sc.soaks(ctx, long, pause); err != nil {
			return err
		}
		after, err := sc.settles(ctx, before, idle)
		if err != nil {
			return err
		}
		sc.compare(before, after)
		return nil
	})
}

// warmUp has every client use each node, and fills their caches: what a process takes once and keeps is taken then. All
// ask the same, each for itself, so that the right answer has to be found once.
func (sc *scene) warmUp(ctx context.Context) error {
	return sc.each(func(i int) error {
		for range soakCopies * 2 {
			t := sc.talk(i, private)
			_, err := t.answers(ctx, ask(someIDs(promptTokens, 100), answerTokens))
			if err := errors.Join(err, t.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// each does something for each client, side by side.
func (sc *scene) each(do func(client int) error) error {
	errs := make([]error, len(sc.clients))
	var doing sync.WaitGroup
	for i := range sc.clients {
		doing.Go(func() { errs[i] = do(i) })
	}
	doing.Wait()
	return errors.Join(errs...)
}

// soaks has the clients chat while things happen.
func (sc *scene) soaks(ctx context.Context, long, pause time.Duration) error {
	nodes := sc.newChurn(pause, someDie, someDie, someHang, someHang, someLeave, someClientDies)
	nodes.stays = len(sc.stage.spans())
	over := make(chan struct{})
	defer time.AfterFunc(long, func() { close(over) }).Stop()
	var churning sync.WaitGroup
	var failed error
	churning.Go(func() { failed = nodes.run(ctx, over) })
	chatters := make([]*chatter, len(sc.clients))
	err := sc.each(func(i int) error {
		chatters[i] = sc.newChatter(i)
		return chatters[i].chats(ctx, over)
	})
	churning.Wait()
	sc.result.Events = nodes.happened
	for _, c := range chatters {
		for name, n := range c.did {
			sc.result.Events[name] += n
		}
	}
	return errors.Join(err, failed)
}
