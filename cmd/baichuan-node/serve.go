package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/kernels"
	"github.com/baichuan-node/baichuan-node/node"
	"github.com/baichuan-node/baichuan-node/node/launch"
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
		Use:   "serve MODEL",
		Short: "Host layers of a stored model for a swarm",
		Long: "Hosts a range of a model's layers. Who hosts layer 0 also holds the embedding, who hosts the last layer also the\n" +
			"final norm and the lm_head. Without --join it begins a swarm: it prints addresses that others can join.",
		Args: wantArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runServe(cmd, a, &f, args[0]) },
	}
	f.swarm.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.layers, "layers", "auto", "layers A:B (A to B-1), or auto: all, or as many as --memory allows")
	flags.IntVar(&f.threads, "threads", 0, "CPU threads (default: all)")
	flags.StringVar(&f.device, "device", "auto", "auto or cpu")
	flags.StringArrayVar(&f.listen, "listen", defaultListen, "address to listen on (repeatable)")
	flags.BoolVar(&f.relay, "relay", false, "pass on the bytes of peers that can't reach each other")
	flags.StringVar(&f.identity, "identity", "", "file with this peer's key (default: identity.key in the home, or the next that is free)")
	flags.StringVar(&f.nick, "nick", "", "a name to show beside the peer's id")
	flags.IntVar(&f.kvTokens, "kv-tokens", 0, "tokens of KV cache over all sessions (default: four times the model's context, or what --memory leaves)")
	flags.Var(&f.memory, "memory", "the most memory to take, such as 8GiB: weights, cache and the rest (default: no bound)")
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
	if f.device != "auto" && f.device != "cpu" {
		return usagef("--device %q: this version computes on the cpu alone", f.device)
	}
	if f.kvTokens < 0 || f.threads < 0 {
		return usagef("--kv-tokens and --threads can't be negative")
	}
	if !(f.losePushes >= 0 && f.losePushes <= 1) {
		return usagef("--lose-pushes %v: want 0 to 1", f.losePushes)
	}
	if err := f.checkListen(cmd.Flags().Changed("listen")); err != nil {
		return err
	}
	f.swarm.remember = !f.untilStdin // who started this process knows the others
	if err := removeStale(f.readyFile); err != nil {
		return err
	}
	ctx := cmd.Context()
	if f.untilStdin {
		var stop func()
		ctx, stop = launch.UntilClosed(ctx, cmd.InOrStdin())
		defer stop()
	}
	model, err := storedModel(name)
	if err != nil {
		return err
	}
	span, err := f.span(model)
	if err != nil {
		return err
	}
	hold, err := fit(model.Manifest, span, f.layers == "auto", f.kvTokens, f.memory)
	if err != nil {
		return err
	}
	if f.memory > 0 {
		debug.SetMemoryLimit(hold.rest) // the garbage collector's part of it; the others are mapped
	}
	cfg := node.DefaultConfig(model)
	cfg.Nick, cfg.Log, cfg.LosePush = f.nick, a.log, f.losePush()
	if f.idle != 0 {
		cfg.Idle = f.idle
	}
	if err := cfg.Validate(); err != nil {
		return usageError{err}
	}
	return f.serve(ctx, cmd, cfg, hold)
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

// span reads --layers and holds it against the model.
func (f *serveFlags) span(m *store.Model) (store.Span, error) {
	whole := store.Span{Start: 0, End: m.Manifest.Layers}
	if f.layers == "auto" {
		return whole, nil
	}
	span, err := store.ParseSpan(f.layers)
	if err != nil {
		return span, usagef("--layers: %w", err)
	}
	if span.End > whole.End {
		return span, usagef("--layers %v: %s has layers %v", span, m.Name, whole)
	}
	return span, nil
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
func (f *serveFlags) serve(ctx context.Context, cmd *cobra.Command, cfg node.Config, hold budget) (err error) {
	model, span := cfg.Model, hold.span
	var opened closers
	defer func() { err = errors.Join(err, opened.close()) }()
	s, err := f.join(ctx, cmd.ErrOrStderr(), cfg.Log, &opened)
	if err != nil {
		return err
	}
	device, err := newDevice(f.threads)
	if err != nil {
		return err
	}
	opened.closes(device.Close)
	loaded, err := load(ctx, cmd, model, hold, device)
	if err != nil {
		return err
	}
	opened.closes(loaded.Close)

	metricsURL := ""
	var failed error // of what Ready does: set before Run returns
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var n *node.Node
	cfg.Ready = func() {
		opened.closes(openControl(n, cfg.Log, serving{Peer: s.host.ID().String(), Model: model.Name, Layers: span.String()}))
		failed = f.ready(cmd, s, model, span, metricsURL)
		switch {
		case failed != nil:
			stop()
		case f.readyFile != "":
			opened.closes(func() error { return removeIfThere(f.readyFile) })
		}
	}
	var keepSpeed func()
	n, keepSpeed, err = newNode(s, loaded, device, cfg)
	if err != nil {
		return err
	}
	keepSpeed()
	opened.closes(func() error { keepSpeed(); return nil }) // as real steps have corrected it
	if f.metrics != "" {
		url, end, err := serveMetrics(f.metrics, n.Metrics())
		if err != nil {
			return err
		}
		metricsURL = url
		opened.closes(end)
	}
	err = n.Run(ctx)
	return errors.Join(err, failed)
}

func load(ctx context.Context, cmd *cobra.Command, model *store.Model, hold budget, device kernels.Device) (*shard.Shard, error) {
	bar := newByteBar(cmd, "loading")
	defer bar.end()
	return shard.Load(ctx, model, hold.span, device, shard.Config{CacheTokens: hold.tokens, Progress: bar.update})
}

// ready tells whoever waits that requests are accepted.
func (f *serveFlags) ready(cmd *cobra.Command, s *swarm, model *store.Model, span store.Span, metrics string) error {
	id := s.host.ID().String()
	r := launch.Ready{Peer: id, Model: model.ID.String(), Layers: span.String(), PID: os.Getpid(), Metrics: metrics}
	for _, addr := range s.host.Addrs() {
		r.Addrs = append(r.Addrs, addr.String()+"/p2p/"+id)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "serving layers %s of %s (%s)\n", r.Layers, model.Name, r.Model)
	for _, addr := range r.Addrs {
		fmt.Fprintf(out, "  --join %s\n", addr)
	}
	if f.readyFile == "" {
		return nil
	}
	return launch.WriteReady(f.readyFile, r)
}

// serveMetrics answers on addr until end is called.
func serveMetrics(addr string, handler http.Handler) (url string, end func() error, err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("serve metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return "http://" + l.Addr().String() + "/metrics", func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// removeStale removes the ready file of a process that was killed: who waits for it would take it for this one's.
func removeStale(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil // whatever it is, writing the file will tell
	}
	return removeIfThere(path)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the ready file: %w", err)
	}
	return nil
}
