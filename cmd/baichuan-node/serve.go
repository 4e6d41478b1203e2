package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/node/auto"
	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// serveFlags are those of the serve command.
type serveFlags struct {
	swarm      swarmFlags
	layers     string
	threads    int
	device     string
	listen     []string
	announce   []string
	upload     byteRate
	identity   string
	nick       string
	kvTokens   int
	memory     byteSize
	metrics    string
	readyFile  string
	untilStdin bool
	relay      bool
	idle       time.Duration
	losePushes float64
	loseSeed   uint64
}

func newServeCommand(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve MODEL|ID",
		Short: "Host layers of a model for a swarm",
		Long: "Hosts a range of a model's layers. Who hosts layer 0 also holds the embedding, who hosts the last layer also the\n" +
			"final norm and the lm_head. Without --join it begins a swarm: it prints addresses that others can join. Of a model\n" +
			"that is not stored here, all that lacks comes from peers.\n\n" +
			"With --layers auto it hosts as many layers as fit, where they help the swarm most: it announces them, loads them, and\n" +
			"later moves where a gap or a gain is, while it goes on serving; it leaves layers only when others promise to stay.\n\n" +
			"--memory is for the layers that are served, their cache and the program. During a move those that come are there\n" +
			"beside those that go: the weights as pages of files, which the system takes back where memory is short, the second\n" +
			"cache as sessions fill it.",
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runServe(cmd, a, &f, args[0]) },
	}
	f.swarm.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.layers, "layers", "auto", "layers A:B (A to B-1), auto: as many as fit, where they help the swarm most, or auto:N: N of them at most")
	flags.IntVar(&f.threads, "threads", 0, "CPU threads (default: all)")
	flags.StringVar(&f.device, "device", "auto", "auto or cpu")
	flags.StringArrayVar(&f.listen, "listen", defaultListen, "address to listen on (repeatable)")
	flags.StringArrayVar(&f.announce, "announce", nil, "address by which others reach this machine, instead of those listened on: of a forwarded port, say (repeatable)")
	flags.Var(&f.upload, "upload", "the upload that handing over caches and parts may use, such as 20Mbit: three quarters of it, the rest is for steps (default: no bound)")
	flags.BoolVar(&f.relay, "relay", false, "pass on the bytes of peers that can't reach each other")
	flags.StringVar(&f.identity, "identity", "", "file with this peer's key (default: identity.key in the home, or the next that is free)")
	flags.StringVar(&f.nick, "nick", "", "a name to show beside the peer's id")
	flags.IntVar(&f.kvTokens, "kv-tokens", 0, "tokens of KV cache over all sessions (default: four times the model's context, or what --memory leaves)")
	flags.Var(&f.memory, "memory", "the most memory to take, such as 8GiB: weights, cache and the rest (default: no bound for --layers A:B, half of the machine's for auto)")
	flags.StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics on this address, such as 127.0.0.1:9100")
	flags.StringVar(&f.readyFile, "ready-file", "", "write a JSON file when requests are accepted")
	flags.BoolVar(&f.untilStdin, "until-stdin-closes", false, "leave when standard input ends")
	flags.Float64Var(&f.losePushes, "lose-pushes", 0, "break the stream to the next hop in this part of all frames, 0 to 1")
	flags.Uint64Var(&f.loseSeed, "lose-seed", 0, "of the frames that are lost")
	flags.DurationVar(&f.idle, "idle", 0, "forget sessions that nobody has used for so long (default: 5 minutes)")
	for _, name := range []string{"until-stdin-closes", "idle", "lose-pushes", "lose-seed"} {
		_ = flags.MarkHidden(name) // for the processes that demo and sim start; the flag exists
	}
	return cmd
}

func runServe(cmd *cobra.Command, a *app, f *serveFlags, name string) error {
	want, err := f.check(cmd.Flags().Changed("listen"))
	if err != nil {
		return err
	}
	if f.untilStdin && !cmd.Flags().Changed("remember") {
		f.swarm.remember = false // who started this process knows the others
	}
	if err := removeStale(f.readyFile); err != nil {
		return err
	}
	ctx := cmd.Context()
	if f.untilStdin {
		var stop func()
		ctx, stop = launch.UntilClosed(ctx, cmd.InOrStdin())
		defer stop()
	}
	return f.serve(ctx, cmd, a.log, name, want)
}

// check tells what makes no sense before anything is started.
func (f *serveFlags) check(listen bool) (want wantedLayers, err error) {
	switch {
	case f.device != "auto" && f.device != "cpu":
		return want, usagef("--device %q: this version computes on the cpu alone", f.device)
	case f.kvTokens < 0 || f.threads < 0:
		return want, usagef("--kv-tokens and --threads can't be negative")
	case !(f.losePushes >= 0 && f.losePushes <= 1):
		return want, usagef("--lose-pushes %v: want 0 to 1", f.losePushes)
	case len(f.nick) > protocol.MaxNickBytes:
		return want, usagef("--nick: it has %d bytes, at most %d are allowed", len(f.nick), protocol.MaxNickBytes)
	}
	if err := checkThreads(f.threads); err != nil {
		return want, err
	}
	if err := f.checkListen(listen); err != nil {
		return want, err
	}
	return parseLayers(f.layers)
}

// config is the node's, as the flags say.
func (f *serveFlags) config(m *store.Model, log *slog.Logger, budgets []budget) (node.Config, error) {
	cfg := node.DefaultConfig(m)
	cfg.Nick, cfg.Log, cfg.LosePush, cfg.NetRate = f.nick, log, f.losePush(), uint64(f.upload)
	cfg.Capacity, cfg.Fixed = longestOf(budgets), len(budgets) == 1
	if f.idle != 0 {
		cfg.Idle = f.idle
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// checkListen tells what is no address before anything is started. By default a private swarm, which works over TCP
// alone, is not listened to over QUIC.
func (f *serveFlags) checkListen(given bool) error {
	f.listen = privateListen(f.listen, f.swarm.swarmKey, given)
	for _, addr := range f.listen {
		if _, err := multiaddr.NewMultiaddr(addr); err != nil {
			return usagef("--listen %q: want an address like /ip4/0.0.0.0/tcp/4001: %w", addr, flagError(err))
		}
	}
	for _, text := range f.announce {
		if err := checkAnnounced(text); err != nil {
			return usagef("--announce %q: want an address like /ip4/203.0.113.7/tcp/4001: %w", text, flagError(err))
		}
	}
	return nil
}

// checkAnnounced refuses what nobody could dial. The peer's own id is added by whoever tells the address on.
func checkAnnounced(text string) error {
	addr, err := multiaddr.NewMultiaddr(text)
	if err != nil {
		return err
	}
	if _, err := addr.ValueForProtocol(multiaddr.P_P2P); err == nil {
		return errors.New("it is to end before /p2p/")
	}
	_, tcp := addr.ValueForProtocol(multiaddr.P_TCP)
	_, udp := addr.ValueForProtocol(multiaddr.P_UDP)
	if tcp != nil && udp != nil {
		return errors.New("it lacks a port")
	}
	return nil
}

// losePush draws which frames are lost; nil: none is.
func (f *serveFlags) losePush() func() bool {
	if f.losePushes == 0 {
		return nil
	}
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(f.loseSeed, 0)) // guarded by mu
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64() < f.losePushes
	}
}

// key loads the identity: another serve of the same home takes the next one.
func (f *serveFlags) key() (crypto.PrivKey, func() error, error) {
	if f.identity != "" {
		return routing.LoadIdentity(f.identity)
	}
	home, err := homeDir()
	if err != nil {
		return nil, nil, err
	}
	return routing.LoadServeIdentity(home)
}

// serve starts from the ground up, runs until ctx ends, and closes in the reverse order.
func (f *serveFlags) serve(ctx context.Context, cmd *cobra.Command, log *slog.Logger, name string, want wantedLayers) (err error) {
	var opened closers
	defer func() { err = errors.Join(err, opened.close()) }()
	device, err := newDevice(f.threads)
	if err != nil {
		return err
	}
	opened.closes(device.Close)
	s, err := f.join(ctx, cmd.ErrOrStderr(), log, &opened)
	if err != nil {
		return err
	}
	supply, err := obtain(ctx, cmd, s, name, uint64(f.upload), log)
	if err != nil {
		return err
	}
	opened.closes(supply.Close)
	budgets, err := f.budgets(supply.Model(), want, log)
	if err != nil {
		return err
	}
	cfg, err := f.config(supply.Model(), log, budgets)
	if err != nil {
		return err
	}
	cfg.Parts = supply.Parts()
	cfg.Process = node.Process{Traffic: s.traffic, Fetcher: supply.fetcher}
	cfg.Process.Version, cfg.Process.Commit = buildVersion()
	known, err := openSpeeds()
	if err != nil {
		return err
	}
	h := &hosting{cmd: cmd, log: log, swarm: s, supply: supply, device: device, cfg: cfg, budgets: budgets, bounded: f.memory > 0, speeds: known}
	opened.closes(h.close)
	return f.host(ctx, h, want, &opened)
}

// host joins the swarm with the layers that the node is to serve first, and serves until ctx ends.
func (f *serveFlags) host(ctx context.Context, h *hosting, want wantedLayers, opened *closers) error {
	var metrics net.Listener
	if f.metrics != "" {
		l, err := listenMetrics(f.metrics, opened)
		if err != nil {
			return err
		}
		metrics = l
	}
	driver := auto.New(h, auto.Config{ID: string(h.swarm.host.ID()), Choices: spansOf(h.budgets), Loading: h.loading(), Log: h.log})
	h.swarm.directory.OnPledge(func(from peer.ID, p protocol.Pledge) bool {
		return p.Model == h.model() && driver.Pledge(from, p.Layers, time.Duration(p.ForMS)*time.Millisecond)
	})
	if len(h.budgets) > 1 {
		if err := h.speeds.guess(ctx, h.cfg.Model, h.device); err != nil && ctx.Err() == nil {
			h.log.Warn("the layers are chosen without knowing how fast this machine is", "error", err)
		}
	}
	h.look(ctx)
	span, why, err := driver.Join(ctx)
	if err != nil {
		return err
	}
	if !want.auto {
		why = ""
	}
	var failed error // of what Ready does: set before Run returns
	metricsURL := ""
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var moving sync.WaitGroup
	h.cfg.Ready = func() {
		if failed = f.ready(h, span, why, metricsURL, opened); failed != nil {
			stop()
			return
		}
		moving.Go(func() { driver.Run(ctx) })
	}
	n, err := h.first(span)
	if err != nil {
		return err
	}
	h.supply.Live(n.Live)
	if metrics != nil {
		url, end := serveMetrics(metrics, n.Metrics())
		metricsURL = url
		opened.closes(end)
	}
	err = n.Run(ctx)
	stop()
	moving.Wait()
	return errors.Join(err, failed)
}

func load(ctx context.Context, cmd *cobra.Command, model *store.Model, hold budget, device kernels.Device) (*shard.Shard, error) {
	bar := newByteBar(cmd, "loading")
	defer bar.end()
	return shard.Load(ctx, model, hold.span, device, shard.Config{CacheTokens: hold.tokens, Progress: bar.update})
}
