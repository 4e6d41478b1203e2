package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/gateway"
	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// gatewayFlags are those of the gateway command.
type gatewayFlags struct {
	swarm     swarmFlags
	lists     listFlags
	listen    string
	keyFile   string
	cors      []string
	hosts     []string
	readyFile string
}

func newGatewayCommand(a *app) *cobra.Command {
	var f gatewayFlags
	cmd := &cobra.Command{
		Use:   "gateway [MODEL...]",
		Short: "Answer OpenAI's HTTP API, and Ollama's, with models of a swarm",
		Long: "Answers OpenAI's HTTP API (/v1/models, /v1/chat/completions, /v1/completions) and Ollama's (/api/tags, /api/chat,\n" +
			"/api/generate) with models of a swarm: names, ids or beginnings of ids; none where the swarm serves one model.\n" +
			"Without --api-key-file everybody who reaches it may ask; key api makes keys. /metrics is for Prometheus, /api/swarm\n" +
			"tells who serves.",
		RunE: func(cmd *cobra.Command, args []string) error { return runGateway(cmd, a, &f, args) },
	}
	f.swarm.add(cmd)
	f.lists.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address and port to answer at")
	flags.StringVar(&f.keyFile, "api-key-file", "", "file of the keys that clients must show (key api adds to it)")
	flags.StringArrayVar(&f.cors, "cors", nil, "let pages from elsewhere ask: --cors for all, --cors=https://chat.example for some (repeatable)")
	flags.Lookup("cors").NoOptDefVal = "*"
	flags.StringArrayVar(&f.hosts, "host", nil, "a name by which clients call this machine, beside its addresses and localhost (repeatable)")
	flags.StringVar(&f.readyFile, "ready-file", "", "write a JSON file when requests are accepted")
	return cmd
}

func runGateway(cmd *cobra.Command, a *app, f *gatewayFlags, names []string) (err error) {
	ctx := cmd.Context()
	if err := f.check(names); err != nil {
		return err
	}
	cfg := gateway.Config{Origins: f.cors, Hosts: f.hosts, Log: a.log, Private: f.swarm.swarmKey != ""}
	if f.keyFile != "" {
		if cfg.Keys, err = gateway.OpenKeys(f.keyFile, a.log); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	var opened closers
	defer func() { err = errors.Join(err, opened.close()) }()
	opened.closes(func() error { return ignoreClosed(l.Close()) })
	if f.keyFile == "" && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		a.log.Warn("everybody in the network may ask: --api-key-file would ask for keys", "listen", f.listen)
	}
	key, release, err := gatewayIdentity(a.log)
	if err != nil {
		return err
	}
	opened.closes(release)
	s, err := enterSwarm(ctx, &f.swarm, key, cmd.ErrOrStderr(), "")
	if err != nil {
		return err
	}
	opened.closes(s.close)
	models, err := swarmModels(ctx, s, names, &f.lists)
	if err != nil {
		return err
	}
	cfg.Directory = s.directory
	cfg.Process.Traffic = s.traffic
	cfg.Process.Version, cfg.Process.Commit = buildVersion()
	for _, m := range models {
		cfg.Models = append(cfg.Models, m)
	}
	server, err := gateway.New(cfg)
	if err != nil {
		return usageError{err}
	}
	opened.closes(server.Close)
	a.log.Info("the gateway answers", "url", gatewayURL(l.Addr()), "models", len(models), "keys", f.keyFile != "",
		"version", cfg.Process.Version, "commit", cfg.Process.Commit)
	if err := f.ready(cmd, l, s.directory, models); err != nil {
		return err
	}
	if f.readyFile != "" {
		opened.closes(func() error { return removeIfThere(f.readyFile) })
	}
	return server.Serve(ctx, l)
}

// check finds what is wrong with the command line alone.
func (f *gatewayFlags) check(names []string) error {
	for _, name := range names {
		if strings.Contains(name, "://") {
			return usagef("%q is no model: write an origin as --cors=%s", name, name)
		}
	}
	for i, origin := range f.cors {
		if origin == "true" { // as a configuration may say
			f.cors[i] = "*"
		}
		if !gateway.IsOrigin(f.cors[i]) {
			return usagef("--cors %q: want an origin like https://chat.example, or nothing for all", origin)
		}
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return usagef("--listen %q: want an address and a port, such as 127.0.0.1:8080", f.listen)
	}
	if _, _, err := f.lists.sets(); err != nil {
		return err
	}
	_, err := f.swarm.peers()
	return err
}

// ignoreClosed forgets that a listener has been closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// gatewayIdentity loads the identity that a home's gateway keeps. A second gateway of the home is somebody new each time.
func gatewayIdentity(log *slog.Logger) (crypto.PrivKey, func() error, error) {
	home, err := homeDir()
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make the home directory: %w", err)
	}
	key, release, err := routing.LoadIdentity(filepath.Join(home, "gateway.key"))
	if used := (*routing.IdentityInUseError)(nil); errors.As(err, &used) {
		log.Info("another gateway runs here: this one takes a fresh identity")
		return nil, func() error { return nil }, nil
	}
	return key, release, err
}

// swarmModels finds models in a swarm; without names the only one that it serves. A name that the store
// knows stands for that model's id, so that another model of the same name is not taken for it.
func swarmModels(ctx context.Context, s *swarm, names []string, lists *listFlags) ([]*client.Client, error) {
	allow, block, err := lists.sets()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{""}
	}
	var models []*client.Client
	for _, name := range names {
		if stored := knownModel(name); stored != nil {
			name = stored.ID.String()
		}
		c, err := client.Connect(ctx, s.host, s.directory, client.Config{Model: name, Allow: allow, Block: block})
		if err != nil {
			return nil, err
		}
		models = append(models, c)
	}
	return models, nil
}

// gatewayReady is the ready file of a gateway.
type gatewayReady struct {
	URL   string         `json:"url"`
	PID   int            `json:"pid"`
	Nodes []launch.Ready `json:"nodes"` // those that serve; of others' processes there is no pid
}

// ready tells whoever waits that requests are accepted.
func (f *gatewayFlags) ready(cmd *cobra.Command, l net.Listener, d *routing.Directory, models []*client.Client) error {
	r := gatewayReady{URL: gatewayURL(l.Addr()), PID: os.Getpid(), Nodes: []launch.Ready{}}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "OpenAI's API at %s/v1\n", r.URL)
	for _, m := range models {
		known := m.Model()
		fmt.Fprintf(out, "  %s (%s)\n", known.Name, known.ID)
		for _, x := range d.Known(known.ID) {
			r.Nodes = append(r.Nodes, nodeOf(x.Offer))
		}
	}
	if f.readyFile == "" {
		return nil
	}
	return launch.WriteReady(f.readyFile, r)
}

// nodeOf is what an offer tells of a node, in the form of its ready file.
func nodeOf(o protocol.Offer) launch.Ready {
	r := launch.Ready{Peer: o.Peer.String(), Addrs: []string{}, Model: o.Model.String(), Layers: o.Span.String()}
	for _, addr := range o.Addrs {
		r.Addrs = append(r.Addrs, addr+"/p2p/"+r.Peer)
	}
	return r
}

// gatewayURL is where a browser on this machine finds what listens at an address.
func gatewayURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
}
