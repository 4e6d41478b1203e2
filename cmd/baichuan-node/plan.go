package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// planFlags are those of the plan command.
type planFlags struct {
	swarm   swarmFlags
	lists   listFlags
	host    serveFlags // of which layers, memory, kvTokens and threads are taken
	json    bool
	measure bool
}

func newPlanCommand() *cobra.Command {
	f := planFlags{host: serveFlags{device: "auto"}}
	cmd := &cobra.Command{
		Use:   "plan [MODEL]",
		Short: "Say which chain a client would take now and what this machine would host, and do neither",
		Long: "Shows the chain that `generate` would take now, hop by hop with the time that a token is predicted to take, and for\n" +
			"every other peer of the swarm why it is not in it. Then what `serve MODEL` on this machine would host with the same\n" +
			"--layers and --memory, and what the swarm would gain. Peers are asked how they are; nothing is opened, loaded or announced.\n\n" +
			"A peer is in the chain or not by the time of a token alone: computing (its layers, and at the last hop the head), the\n" +
			"network, and waiting for other sessions there. A session that begins like others may be drawn to peers that are\n" +
			"nearly as good and keep that beginning.\n\n" +
			"--measure has some tokens generated, and prints what they took beside what was predicted. Where layers have no peer,\n" +
			"plan says so and ends with code 1.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return runPlan(cmd, &f, name)
		},
	}
	f.swarm.add(cmd)
	f.lists.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.host.layers, "layers", "auto", "layers that this machine would host: A:B, auto: as many as fit, where they help most, or auto:N: N of them at most")
	flags.Var(&f.host.memory, "memory", "the most memory that it would take, such as 8GiB (default: no bound for --layers A:B, half of the machine's for auto)")
	flags.IntVar(&f.host.kvTokens, "kv-tokens", 0, "tokens of KV cache that it would have over all sessions (default: as serve)")
	flags.IntVar(&f.host.threads, "threads", 0, "CPU threads that it would use (default: all)")
	flags.BoolVar(&f.measure, "measure", false, "generate some tokens, and print what they took beside what was predicted")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

// planReport is what plan says, as --json has it.
type planReport struct {
	Model     string     `json:"model"`
	ModelID   string     `json:"model_id"`
	Layers    int        `json:"layers"`
	Chain     []planHop  `json:"chain"`
	Predicted float64    `json:"predicted_ms_per_token"` // 0 without a chain, as the next
	PerSecond float64    `json:"tokens_per_s"`
	Missing   []string   `json:"missing"` // layers that no peer serves which may be asked
	Unused    []planPeer `json:"unused"`

	Host     *planHost     `json:"host"`
	Measured *planMeasured `json:"measured,omitempty"`
}

// planHop is a hop of the chain with what a token takes there.
type planHop struct {
	Peer    string  `json:"peer"`
	Nick    string  `json:"nick"`
	Layers  string  `json:"layers"`
	Compute float64 `json:"compute_ms"`
	Network float64 `json:"network_ms"` // the way there and what the hop itself costs; of the last one the way back as well
	Waiting float64 `json:"waiting_ms"` // for other sessions
	Full    bool    `json:"full"`       // it has less free cache than the session may reach, which would wait for it
}

// planPeer is a peer that is not in the chain.
type planPeer struct {
	Peer   string `json:"peer"`
	Nick   string `json:"nick"`
	Layers string `json:"layers"`
	Why    string `json:"why"`
}

// planMeasured is what tokens took beside what was predicted.
type planMeasured struct {
	Tokens int     `json:"tokens"`
	Median float64 `json:"median_ms_per_token"`
	Share  float64 `json:"predicted_share"` // of the prediction in it: 1 is exact
	Note   string  `json:"note,omitempty"`
}

func runPlan(cmd *cobra.Command, f *planFlags, name string) (err error) {
	want, err := f.host.check(true)
	if err != nil {
		return err
	}
	asked := client.Config{Model: name}
	if asked.Allow, asked.Block, err = f.lists.sets(); err != nil {
		return err
	}
	ctx := cmd.Context()
	s, err := enterSwarm(ctx, &f.swarm, nil, cmd.ErrOrStderr(), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newPlanning(ctx, s, asked)
	if err != nil {
		return err
	}
	r := p.report(p.model.Manifest.Layers)
	rate := func(m *store.Model) (int64, error) { return f.host.expectedRate(ctx, m) }
	if r.Host, err = f.host.wouldHost(s, p, want, rate); err != nil {
		return err
	}
	if f.measure && p.explained.Err == nil {
		if r.Measured, err = p.measure(ctx); err != nil {
			return fmt.Errorf("generate along the chain: %w", err)
		}
	}
	if f.json {
		err = printJSON(cmd, r)
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), r.text())
	}
	if err == nil && p.explained.Err != nil {
		err = p.lacking()
	}
	return err
}

// planning is what is known of a model and of who serves it.
type planning struct {
	client    *client.Client // nil: nobody serves the model
	name      string
	model     hostModel
	explained *client.Explanation
}

// newPlanning looks at a swarm as a client does that is about to ask a model. What the store knows can be planned for though
// nobody serves it.
func newPlanning(ctx context.Context, s *swarm, asked client.Config) (*planning, error) {
	stored := knownModel(asked.Model)
	if stored != nil {
		asked.Model = stored.ID.String()
	}
	c, err := client.Connect(ctx, s.host, s.directory, asked)
	if err != nil {
		if stored == nil || ctx.Err() != nil {
			return nil, err
		}
		return unserved(ctx, s, asked, hostModel{Name: stored.Name, ID: protocol.ModelID(stored.ID), Manifest: stored.Manifest})
	}
	m := c.Model()
	p := &planning{client: c, name: m.Name, model: hostModel{Name: m.Name, ID: m.ID, Manifest: m.Manifest}}
	if stored != nil {
		p.name = stored.Name
	}
	p.explained, err = c.Explain(ctx, planPrompt)
	return p, err
}

// unserved is of a model that no peer serves, or of whose peers none answers.
func unserved(ctx context.Context, s *swarm, asked client.Config, m hostModel) (*planning, error) {
	seen, err := s.directory.Offers(ctx, protocol.ModelID{})
	if err != nil {
		return nil, err
	}
	measures := s.directory.Measures()
	measures.Allow, measures.Block, measures.Why = asked.Allow, asked.Block, make(map[peer.ID]string)
	offers := make([]protocol.Offer, len(seen))
	for i, x := range seen {
		if offers[i] = x.Offer; x.Offer.Model == m.ID {
			measures.Banned[x.Offer.Peer], measures.Why[x.Offer.Peer] = true, "it did not answer"
		}
	}
	e := routing.Explain(offers, measures, m.ID, m.Manifest.Layers)
	return &planning{name: m.Name, model: m, explained: &client.Explanation{Explanation: e, Silent: measures.Why}}, nil
}

// report is the chain over so many layers, and why others are not in it.
func (p *planning) report(layers int) *planReport {
	e := p.explained
	r := &planReport{
		Model: p.name, ModelID: p.model.ID.String(), Layers: layers,
		Chain: []planHop{}, Missing: []string{}, Unused: []planPeer{},
	}
	for _, h := range e.Chain {
		r.Chain = append(r.Chain, planHop{
			Peer: h.Peer.String(), Nick: h.Offer.Nick, Layers: h.Span.String(),
			Compute: inMillis(h.Cost.Compute), Network: inMillis(h.Cost.Network), Waiting: inMillis(h.Cost.Wait), Full: h.Cost.Lacking > 0,
		})
	}
	if e.Token > 0 {
		r.Predicted, r.PerSecond = inMillis(e.Token), float64(time.Second)/float64(e.Token)
	}
	for _, span := range p.missing() {
		r.Missing = append(r.Missing, span.String())
	}
	for _, o := range e.Others {
		r.Unused = append(r.Unused, planPeer{Peer: o.Peer.String(), Nick: o.Offer.Nick, Layers: o.Offer.Span.String(), Why: o.Why})
	}
	return r
}

// missing are the layers that keep a chain from being complete.
func (p *planning) missing() []protocol.Span {
	var none *routing.NoChainError
	if errors.As(p.explained.Err, &none) {
		return none.Missing
	}
	return nil
}

// lacking says that there is no chain, and what would mend it.
func (p *planning) lacking() error {
	var serve []string
	for _, s := range p.missing() {
		serve = append(serve, "--layers "+s.String())
	}
	return fmt.Errorf("no chain: %w: somebody has to serve them (baichuan-node serve %s %s), and clients wait until then",
		p.explained.Err, p.name, strings.Join(serve, ", "))
}

func inMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
