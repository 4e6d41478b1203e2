package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/baichuan-node/baichuan-node/client"
)

// job is one choice to be made.
type job struct {
	index   int
	prompt  []uint32
	options client.Options
	first   bool          // of its prompt's choices
	begun   chan struct{} // closed when that one has begun, or has ended

	waits func(client.Waiting) // is told that the answer, which has begun, waits for peers; nil: nobody is
}

// jobs makes n choices of each prompt. Choice i is drawn with the seed + i.
func (a *ask) jobs(prompts ...[]uint32) []job {
	var jobs []job
	for _, prompt := range prompts {
		begun := make(chan struct{})
		for i := range a.n {
			j := job{index: len(jobs), prompt: prompt, options: a.options, first: i == 0, begun: begun}
			j.options.Seed += uint64(j.index)
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// randomSeed gives 53 random bits: as many as a JSON number keeps in every language.
func randomSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) >> 11
}

// run answers jobs, some side by side, and gives what comes to take, one chunk at a time. It returns when all are done, or
// with the first error, when nothing of them runs any more.
//
// The choices of a prompt begin when the first of them has begun: then they find the prompt in its peers' caches.
func (s *Server) run(c *call, m *served, jobs []job, take func(index int, chunk client.Chunk) error) error {
	var mu sync.Mutex // take is for one at a time
	group, ctx := errgroup.WithContext(c.r.Context())
	group.SetLimit(sideBySide)
	c.told.model = m.Name
	for _, j := range jobs {
		if j.first {
			c.told.prompt += len(j.prompt)
		}
		group.Go(func() error {
			drawn := 0
			begun := func() {}
			if j.first {
				begun = sync.OnceFunc(func() { close(j.begun) })
				defer begun()
			} else {
				select {
				case <-j.begun:
				case <-ctx.Done():
				}
			}
			return s.complete(ctx, m, c.key.salt(), j, func(chunk client.Chunk) error {
				begun()
				mu.Lock()
				defer mu.Unlock()
				s.note(c, chunk.News, drawn)
				drawn = chunk.News.Drawn
				return take(j.index, chunk)
			})
		})
	}
	return group.Wait()
}

// complete has one choice made by a session of its own.
func (s *Server) complete(ctx context.Context, m *served, salt [16]byte, j job, take func(client.Chunk) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	x := m.pool.borrow(salt, j.prompt)
	m.pool.start(x, give, j.waits)
	var holds []uint32
	drawn := 0
	defer func() {
		s.metrics.spent(x.stepper.Stats())
		m.pool.giveBack(x, holds)
	}()
	for chunk, err := range x.talk.Generate(ctx, j.prompt, j.options) {
		if err == nil {
			s.metrics.news(chunk.News, drawn)
			drawn = chunk.News.Drawn
			m.pool.began(x)
			err = take(chunk)
		}
		if err != nil {
			s.metrics.aborted.Inc()
			if waited := (*waitedError)(nil); errors.As(context.Cause(ctx), &waited) {
				return waited
			}
			return err
		}
		if o := chunk.Outcome; o != nil {
			s.metrics.count(o)
			holds = slices.Concat(o.PromptIDs, o.IDs[:len(o.IDs)-1]) // nothing has been computed of the last
		}
	}
	return nil
}

// usage is what an answer has cost, in tokens.
type usage struct {
	Prompt     int          `json:"prompt_tokens"`
	Completion int          `json:"completion_tokens"`
	Total      int          `json:"total_tokens"`
	Details    usageDetails `json:"prompt_tokens_details"`
}

type usageDetails struct {
	Cached int `json:"cached_tokens"`
}

// add counts a finished choice. A prompt counts once, however many choices are made of it.
func (u *usage) add(j job, o *client.Outcome) {
	if j.first {
		u.Prompt += len(o.PromptIDs)
		u.Details.Cached += o.Cached
	}
	u.Completion += len(o.IDs)
	u.Total = u.Prompt + u.Completion
}
