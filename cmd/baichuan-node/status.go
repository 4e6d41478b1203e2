package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/routing"
)

// statusFlags are those of the status command.
type statusFlags struct {
	swarm    swarmFlags
	json     bool
	watch    bool
	counters bool
}

func newStatusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [MODEL]",
		Short: "Show a swarm: who serves which layers and how they are doing, and which layers lack a host",
		Long: "Shows who serves a model, or without MODEL every model of the swarm. Each peer is asked itself: one that gives no\n" +
			"answer is shown as unreachable, and its layers count as missing. Speeds are tokens/s through the peer's own layers.\n" +
			"With --json each model is one object on a line of its own.",
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return runStatus(cmd, &f, name)
		},
	}
	f.swarm.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object for each model")
	cmd.Flags().BoolVar(&f.watch, "watch", false, "look again each second until interrupted")
	cmd.Flags().BoolVar(&f.counters, "counters", false, "also show what each peer has counted since its start (--json always does)")
	return cmd
}

func runStatus(cmd *cobra.Command, f *statusFlags, name string) (err error) {
	ctx := cmd.Context()
	s, err := enterSwarm(ctx, &f.swarm, nil, cmd.ErrOrStderr(), "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	look := newLookout(s, name)
	show := f.printer(cmd)
	if f.watch {
		return watchStatus(ctx, look, show)
	}
	all, err := look.look(ctx)
	if err != nil {
		return err
	}
	return show.show(all)
}

// tellUnjoined names the peers of --join that have not answered where another one has.
func tellUnjoined(w io.Writer, s *swarm, peers []peer.AddrInfo) {
	for _, p := range peers {
		if !routing.Connected(s.host, p.ID) {
			fmt.Fprintf(w, "note: --join: no answer from %s yet\n", p.ID)
		}
	}
}

// statusPrinter shows what a look at the swarm has found.
type statusPrinter interface {
	// show shows it once, or in place of what was shown before.
	show([]swarmStatus) error
	// fail shows why there is nothing new.
	fail(error) error
	// end leaves the output as it was found.
	end() error
}

// printer chooses how to show: as JSON, on a terminal that is drawn anew, or as text.
func (f *statusFlags) printer(cmd *cobra.Command) statusPrinter {
	out := cmd.OutOrStdout()
	switch {
	case f.json:
		return &jsonStatus{out, cmd.ErrOrStderr()}
	case f.watch && isTerminal(out):
		return newScreen(out, f.counters)
	}
	return newTextStatus(out, cmd.ErrOrStderr(), f.counters)
}

// watchStatus shows the swarm again and again until ctx ends. Somebody who watches wants to see as well how it comes back:
// a look that fails is told, and is not the end.
func watchStatus(ctx context.Context, look *lookout, p statusPrinter) (err error) {
	defer func() { err = errors.Join(err, p.end()) }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		all, err := look.look(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			err = p.fail(err)
		default:
			err = p.show(all)
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// jsonStatus prints one JSON object for each model.
type jsonStatus struct{ out, errOut io.Writer }

func (j *jsonStatus) show(all []swarmStatus) error {
	if len(all) == 0 {
		all = []swarmStatus{{Peers: []peerStatus{}, Missing: []string{}}}
	}
	e := json.NewEncoder(j.out)
	e.SetEscapeHTML(false)
	for _, s := range all {
		if err := e.Encode(s); err != nil {
			return fmt.Errorf("print the status: %w", err)
		}
	}
	return nil
}

func (j *jsonStatus) fail(err error) error {
	_, err = fmt.Fprintf(j.errOut, "baichuan-node: %s\n", oneLine(err.Error()))
	return err
}

func (j *jsonStatus) end() error { return nil }
