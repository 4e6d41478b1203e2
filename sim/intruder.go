package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// Intruder says what a hostile peer does. It is a process of its own: what it costs itself is nobody's but its own.
type Intruder struct {
	Attack   string          // by its name
	Target   string          // a node's address
	Limits   protocol.Limits // of the model
	Listen   []string        // where it lives; none: it only dials
	Announce []string
}

// Intruded is how often it did something, and how often in vain.
type Intruded struct{ Did, Refused int64 }

// Intrude is the hostile peer's process: it calls begun when it is connected, and does what it does until ctx ends.
func Intrude(ctx context.Context, in Intruder, begun func()) (_ Intruded, err error) {
	all := append(slices.Clone(attacks), allAttacks)
	i := slices.IndexFunc(all, func(a attack) bool { return a.name == in.Attack })
	if i < 0 {
		return Intruded{}, fmt.Errorf("no attack is named %q", in.Attack)
	}
	to, err := peer.AddrInfoFromString(in.Target)
	if err != nil {
		return Intruded{}, fmt.Errorf("the node's address: %w", err)
	}
	h, err := routing.NewHost(routing.HostConfig{Listen: in.Listen, Announce: in.Announce})
	if err != nil {
		return Intruded{}, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := connect(ctx, h, *to); err != nil {
		return Intruded{}, err
	}
	begun()
	hostile := &hostile{host: h, target: to.ID, limits: in.Limits}
	all[i].does(hostile, ctx)
	return Intruded{hostile.did.Load(), hostile.refused.Load()}, nil
}

// connect is patient: a process that is told to give way to all others takes its time.
func connect(ctx context.Context, h host.Host, to peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, intruderLimit)
	defer cancel()
	if err := h.Connect(ctx, to); err != nil {
		return fmt.Errorf("connect to the node: %w", err)
	}
	return nil
}

// intruderLimit is for a hostile peer to begin, and to end.
const intruderLimit = 20 * time.Second

// intruder is such a process, seen from the one that has started it.
type intruder struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stop   context.CancelFunc
	free   func() error // its home
}

// intrudes starts a hostile peer against a node and returns when it is connected. Where times are compared it gives way to all
// other processes: else it would take what it costs itself from the machine that they share with it, as no peer elsewhere can.
func (sc *scene) intrudes(ctx context.Context, attack string, n *process) (_ *intruder, err error) {
	m := sc.stage.model
	cfg := Intruder{Attack: attack, Target: n.ready.Addrs[0], Limits: protocol.Limits{
		Model: protocol.ModelID(m.ID), Layers: m.Manifest.Layers, Hidden: m.Manifest.Hidden, Vocab: m.Manifest.Vocab, Context: m.Manifest.Context,
	}}
	in := &intruder{free: func() error { return nil }}
	if sc.net != nil {
		home, err := sc.net.Home(sc.cast.link(0))
		if err != nil {
			return nil, err
		}
		cfg.Listen, cfg.Announce, in.free = []string{address(home.Inside())}, []string{address(home.Door())}, home.Close
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.free())
		}
	}()
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	line := []string{sc.stage.cfg.Binary, "sim", "intrude", string(text)}
	if nice, err := exec.LookPath("nice"); err == nil && sc.stage.cfg.Long {
		line = append([]string{nice, "-n", "19"}, line...)
	}
	ctx, in.stop = context.WithCancel(ctx)
	in.cmd = exec.CommandContext(ctx, line[0], line[1:]...)
	in.cmd.Stderr = sc.stage.cfg.Stderr
	if in.stdin, err = in.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := in.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := in.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a hostile peer: %w", err)
	}
	in.stdout = bufio.NewReader(out)
	if _, err := in.stdout.ReadString('\n'); err != nil {
		in.stop()
		return nil, errors.Join(fmt.Errorf("wait for a hostile peer: %w", err), in.cmd.Wait())
	}
	return in, nil
}

// ends has it leave, and tells what it has done.
func (in *intruder) ends() (did Intruded, err error) {
	late := time.AfterFunc(intruderLimit, in.stop)
	defer late.Stop()
	defer in.stop()
	_ = in.stdin.Close()
	err = json.NewDecoder(in.stdout).Decode(&did)
	if err = errors.Join(err, in.cmd.Wait(), in.free()); err != nil {
		err = fmt.Errorf("a hostile peer: %w", err)
	}
	return did, err
}
