package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/client/local"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/sample"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// samplingFlags say how an answer is drawn. What is not given, the model's generation_config decides.
type samplingFlags struct {
	maxTokens   int
	temperature float64
	topK        int
	topP        float64
	penalty     float64
	seed        uint64
	stop        []string
	ignoreEOS   bool
}

func (f *samplingFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.maxTokens, "max-tokens", 0, "tokens of an answer at most (default: the model's, else 2048)")
	flags.Float64Var(&f.temperature, "temperature", 0, "0 is greedy (default: the model's)")
	flags.IntVar(&f.topK, "top-k", 0, "draw among the best K; 0 or -1: the most, 1024 (default: the model's)")
	flags.Float64Var(&f.topP, "top-p", 0, "draw among the best that hold this share (default: the model's)")
	flags.Float64Var(&f.penalty, "repetition-penalty", 0, "1 is none (default: the model's)")
	flags.Uint64Var(&f.seed, "seed", 0, "the same seed gives the same answer (default: random)")
	flags.StringArrayVar(&f.stop, "stop", nil, "text that ends the answer (repeatable)")
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on to the limit where the model would end")
}

// options joins the flags with what the model recommends.
func (f *samplingFlags) options(cmd *cobra.Command, d store.Drawing) (client.Options, error) {
	given := cmd.Flags().Changed
	o := client.Options{
		MaxTokens: cmp.Or(d.MaxTokens, defaultMaxTokens), Seed: f.seed, Stop: f.stop, IgnoreEOS: f.ignoreEOS,
		Sampling: sample.Params{
			Temperature: float32(d.Temperature), TopK: d.TopK, TopP: d.TopP, Penalty: float32(d.Penalty),
		},
	}
	if given("max-tokens") {
		if f.maxTokens < 1 {
			return o, usagef("--max-tokens %d: want 1 or more", f.maxTokens)
		}
		o.MaxTokens = f.maxTokens
	}
	if given("temperature") {
		o.Sampling.Temperature = float32(f.temperature)
	}
	if given("top-k") {
		if f.topK < -1 {
			return o, usagef("--top-k %d: want -1 or more", f.topK)
		}
		o.Sampling.TopK = f.topK
	}
	if given("top-p") {
		o.Sampling.TopP = f.topP
	}
	if given("repetition-penalty") {
		o.Sampling.Penalty = float32(f.penalty)
	}
	if !given("seed") {
		o.Seed = randomSeed()
	}
	if err := o.Validate(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// randomSeed gives 53 random bits: as many as a JSON number keeps in every language.
func randomSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) >> 11
}

// answerer is what answers prompts: a swarm or a model in this process.
type answerer struct {
	model        *client.Model
	conversation *client.Conversation
	stepper      client.Stepper // the conversation's: to be asked between two chunks of an answer alone
	closers                     // end the session and all that it runs on
}

// asks has the answers come from a stepper, which stays the caller's to close.
func (a *answerer) asks(s client.Stepper) {
	a.stepper, a.conversation = s, client.NewConversation(a.model, s)
}

// answerLocally loads a whole stored model into this process.
func answerLocally(ctx context.Context, name string, threads int, progress func(done, total int64)) (_ *answerer, err error) {
	stored, err := storedModel(name)
	if err != nil {
		return nil, err
	}
	a := &answerer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.model, err = client.ModelOf(stored); err != nil {
		return nil, err
	}
	device, err := newDevice(threads)
	if err != nil {
		return nil, err
	}
	a.closes(device.Close)
	whole := store.Span{Start: 0, End: stored.Manifest.Layers}
	loaded, err := shard.Load(ctx, stored, whole, device, shard.Config{Progress: progress})
	if err != nil {
		return nil, err
	}
	a.closes(loaded.Close)
	stepper, err := local.New(loaded)
	if err != nil {
		return nil, err
	}
	a.closes(stepper.Close)
	a.asks(stepper)
	return a, nil
}

// answerFromSwarm connects to a swarm. A name that the store knows stands for that model's id, so that another model
// of the same name is not taken for it. w gets notes.
func answerFromSwarm(ctx context.Context, name string, f *swarmFlags, lists *listFlags, w io.Writer, cfg client.SessionConfig) (_ *answerer, err error) {
	allow, block, err := lists.sets()
	if err != nil {
		return nil, err
	}
	a := &answerer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	wanted := name
	if stored := knownModel(name); stored != nil {
		wanted = stored.ID.String()
	}
	s, err := enterSwarm(ctx, f, nil, w, "; generate answers without one by --local")
	if err != nil {
		return nil, err
	}
	a.closes(s.close)
	c, err := client.Connect(ctx, s.host, s.directory, client.Config{Model: wanted, Allow: allow, Block: block})
	if err != nil {
		return nil, err
	}
	a.model = c.Model()
	session := c.NewSession(cfg)
	a.closes(session.Close)
	a.asks(session)
	return a, nil
}

// sessionConfig is that of a session whose user reads w.
func sessionConfig(w io.Writer, private bool) client.SessionConfig {
	var told time.Duration
	return client.SessionConfig{Private: private, Waiting: func(x client.Waiting) {
		left := (x.Grace - x.For).Round(time.Second)
		if told > 0 && x.For >= told && x.For < told+waitingEvery || left == 0 {
			return
		}
		told = max(x.For, 1)
		names := make([]string, len(x.Missing))
		for i, s := range x.Missing {
			names[i] = s.String()
		}
		lack := "nobody serves layers %s"
		if x.Busy {
			lack = "the peers of layers %s have no room now"
		}
		fmt.Fprintf(w, lack+": waiting for up to %v more\n", strings.Join(names, ", "), left)
	}}
}

// logFailovers logs who left while an answer was made.
func logFailovers(log *slog.Logger, o *client.Outcome) {
	for _, f := range o.Failovers {
		log.Info("layers went on elsewhere", f.Attrs()...)
	}
}

// knownModel opens a model of the store, if it is there.
func knownModel(name string) *store.Model {
	if name == "" {
		return nil
	}
	stored, err := storedModel(name)
	if err != nil {
		return nil
	}
	return stored
}

// deviceName is how a hop's device is shown.
func deviceName(h client.HopInfo) string { return cmp.Or(h.Device, "?") }
