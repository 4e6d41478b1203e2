package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/gateway"
	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// demo is a swarm of processes with its front door, which is in this process.
type demo struct {
	flags  *demoFlags
	cmd    *cobra.Command
	app    *app
	nodes  []launch.Ready
	client *client.Client
	server *gateway.Server
	closers
}

// open opens where the gateway listens. Where nobody has said an address, one that is taken is no reason to fail; and a
// demo that answers once and leaves has no use for a port that people know.
func (f *demoFlags) open(cmd *cobra.Command, stays bool) (net.Listener, error) {
	given := cmd.Flags().Changed("listen")
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return nil, usagef("--listen %q: want an address and a port, such as 127.0.0.1:8080", f.listen)
	}
	if given || stays {
		l, err := net.Listen("tcp", f.listen)
		if err == nil {
			return l, nil
		}
		if given {
			return nil, fmt.Errorf("--listen: %w", err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s is taken, so the web page is at another port\n", f.listen)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a port for the web page: %w", err)
	}
	return l, nil
}

// enter joins the swarm of the processes with a client and a gateway.
func (f *demoFlags) enter(cmd *cobra.Command, a *app, processes *demoProcesses, nodes []launch.Ready) (_ *demo, err error) {
	d := &demo{flags: f, cmd: cmd, app: a, nodes: nodes}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	s, err := enterSwarm(cmd.Context(), joinAll(nodes...), nil, cmd.ErrOrStderr(), "")
	if err != nil {
		return nil, err
	}
	d.closes(s.close)
	processes.met = func(r launch.Ready) { // it may be the only one that lives
		if peers, err := joinAll(r).peers(); err == nil {
			_ = s.directory.Join(cmd.Context(), peers) // else others tell of it
		}
	}
	if d.client, err = client.Connect(cmd.Context(), s.host, s.directory, client.Config{Model: nodes[0].Model}); err != nil {
		return nil, err
	}
	cfg := gateway.Config{Models: []gateway.Model{d.client}, Directory: s.directory, Demo: processes, Log: a.log}
	cfg.Process.Traffic = s.traffic
	cfg.Process.Version, cfg.Process.Commit = buildVersion()
	if d.server, err = gateway.New(cfg); err != nil {
		return nil, err
	}
	d.closes(d.server.Close)
	return d, nil
}

// joinAll joins a swarm by all of its nodes, as any of them may be killed.
func joinAll(nodes ...launch.Ready) *swarmFlags {
	f := &swarmFlags{}
	for _, n := range nodes {
		f.join = append(f.join, n.Addrs[0])
	}
	return f
}

// run answers the prompt, chats, or serves until it is interrupted. The gateway answers meanwhile.
func (d *demo) run(l net.Listener, options client.Options, args []string) (err error) {
	url := gatewayURL(l.Addr())
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		d.app.log.Warn("everybody in the network may ask, and kill and start peers of this demo", "listen", l.Addr().String())
	}
	if file := d.flags.readyFile; file != "" {
		if err := launch.WriteReady(file, gatewayReady{URL: url, PID: os.Getpid(), Nodes: d.nodes}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, removeIfThere(file)) }()
	}
	chats := isTerminal(d.cmd.InOrStdin())
	if len(args) == 0 && !chats {
		d.tell(d.cmd.OutOrStdout(), url)
		return d.server.Serve(d.cmd.Context(), l)
	}
	ctx, stop := context.WithCancel(d.cmd.Context())
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(ctx, l) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()
	session := d.client.NewSession(sessionConfig(d.cmd.ErrOrStderr(), false))
	defer func() { err = errors.Join(err, session.Close()) }()
	answers := &answerer{model: d.client.Model()}
	answers.asks(session)
	if len(args) > 0 {
		return d.answer(answers, options, args[0])
	}
	d.tell(d.cmd.ErrOrStderr(), url)
	c := newChat(d.cmd, d.app, answers, options)
	c.setSystem(d.flags.system)
	return c.run(d.cmd.Context())
}

// tell says where everything is.
func (d *demo) tell(w io.Writer, url string) {
	fmt.Fprintf(w, "  web chat      %s/\n", url)
	fmt.Fprintf(w, "  the swarm     %s/swarm (kill a peer there in the middle of an answer)\n", url)
	fmt.Fprintf(w, "  OpenAI's API  %s/v1\n", url)
	fmt.Fprintf(w, "  a terminal    baichuan-node chat --join %s\n", d.nodes[0].Addrs[0])
}

// answer answers one prompt and tells who computed it.
func (d *demo) answer(answers *answerer, options client.Options, prompt string) error {
	messages := []tokenizer.Message{{Role: "user", Content: prompt}}
	if d.flags.system != "" {
		messages = append([]tokenizer.Message{{Role: "system", Content: d.flags.system}}, messages...)
	}
	ctx, errOut := d.cmd.Context(), d.cmd.ErrOrStderr()
	chunks, _, err := answers.conversation.Chat(ctx, messages, options)
	if err != nil {
		return err
	}
	outcome, err := printAnswer(ctx, textWriter(d.cmd.OutOrStdout()), chunks)
	if err != nil {
		return err
	}
	fmt.Fprintf(errOut, "%d tokens, %.1f tokens/s, through\n", len(outcome.IDs), outcome.Timings.TokensPerSecond())
	printChain(errOut, outcome.Chain, outcome.Failovers)
	fmt.Fprintln(errOut, "without a prompt, demo opens a chat here and in the browser, where you may kill peers while they answer")
	return nil
}
