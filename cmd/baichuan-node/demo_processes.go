package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/spf13/pflag"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// demoProcesses are the serve processes of a demo. It is safe for concurrent use, and is the gateway's Demo.
type demoProcesses struct {
	ctx    context.Context // ends with the demo
	group  *launch.Group
	binary string
	home   string
	model  *store.Model
	nodes  int
	most   int // that run at once

	// met, if not nil, is told of each process that Start has started.
	met func(launch.Ready)

	mu  sync.Mutex
	all []*demoProcess // guarded by mu; in the order of their starts
}

// demoProcess is one of them.
type demoProcess struct {
	*launch.Process
	part  int           // of the model's spans
	ready *launch.Ready // guarded by the demo's mu; nil: it does not serve yet
}

// runs says whether a process has not ended.
func (p *demoProcess) runs() bool {
	select {
	case <-p.Exited():
		return false
	default:
		return true
	}
}

// newDemoProcesses makes the home for the processes, and a group for them. Whoever makes one must close it.
func newDemoProcesses(ctx context.Context, model *store.Model, isBundled bool, nodes, most int) (_ *demoProcesses, err error) {
	d := &demoProcesses{ctx: ctx, model: model, nodes: nodes, most: most}
	if d.binary, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	if d.home, err = os.MkdirTemp("", "baichuan-demo-"); err != nil {
		return nil, fmt.Errorf("make a temporary home: %w", err)
	}
	if !isBundled {
		err = linkModels(d.home)
	}
	if err == nil {
		d.group, err = launch.NewGroup(launch.Config{})
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.home))
	}
	return d, nil
}

// close ends all processes and removes their home.
func (d *demoProcesses) close() error {
	return errors.Join(d.group.Stop(), os.RemoveAll(d.home))
}

// begin starts the swarm: the first process begins it, the others join. It returns when all serve.
func (d *demoProcesses) begin(n int) ([]launch.Ready, error) {
	var begun []*demoProcess
	for i := range n {
		p, err := d.launch()
		if err != nil {
			return nil, err
		}
		begun = append(begun, p)
		if i == 0 { // the others need its address
			if _, err := d.await(p); err != nil {
				return nil, err
			}
		}
	}
	var ready []launch.Ready
	for _, p := range begun {
		r, err := d.await(p)
		if err != nil {
			return nil, err
		}
		ready = append(ready, r)
	}
	return ready, nil
}

// launch starts a process for the span that the fewest hold.
func (d *demoProcesses) launch() (*demoProcess, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	running, holders := 0, make([]int, d.nodes)
	join := []string(nil)
	for _, p := range d.all {
		if !p.runs() {
			continue
		}
		running++
		holders[p.part]++
		if p.ready != nil {
			join = append(join, "--join", p.ready.Addrs[0])
		}
	}
	if running >= d.most {
		return nil, fmt.Errorf("%d processes run, as many as this demo starts", running)
	}
	part := 0
	for i := range holders {
		if holders[i] < holders[part] {
			part = i
		}
	}
	span := cut(d.model.Manifest.Layers, d.nodes, part)
	name := "node-" + strconv.Itoa(len(d.all)+1)
	args := []string{"serve", d.model.Name, "--layers", span.String(), "--listen", "/ip4/127.0.0.1/tcp/0", "--threads", "1", "--nick", name}
	p, err := d.group.Start(launch.Command{
		Name: fmt.Sprintf("%s (layers %v)", name, span), Binary: d.binary, Args: append(args, join...),
		Env:     []string{"BAICHUAN_HOME=" + d.home, "BAICHUAN_LOG_LEVEL=error"},
		Without: serveSettings(),
	})
	if err != nil {
		return nil, err
	}
	started := &demoProcess{Process: p, part: part}
	d.all = append(d.all, started)
	return started, nil
}

// await waits until a process serves. One that does not come to it is ended.
func (d *demoProcesses) await(p *demoProcess) (launch.Ready, error) {
	r, err := p.Ready(d.ctx)
	if err != nil {
		p.Kill()
		return r, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.ready = &r
	return r, nil
}

// Peers is part of gateway.Demo: those whose processes run and serve.
func (d *demoProcesses) Peers() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	peers := []string{}
	for _, p := range d.all {
		if p.runs() && p.ready != nil {
			peers = append(peers, p.ready.Peer)
		}
	}
	return peers
}

// Kill is part of gateway.Demo: it ends a peer's process as a crash would.
func (d *demoProcesses) Kill(peer string) bool {
	if p := d.running(peer); p != nil {
		p.Kill()
		return true
	}
	return false
}

// running finds a peer's process. A new one may have the identity of one that was killed.
func (d *demoProcesses) running(peer string) *demoProcess {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.all {
		if p.runs() && p.ready != nil && p.ready.Peer == peer {
			return p
		}
	}
	return nil
}

// Start is part of gateway.Demo: it starts a process that serves what lacks most, and returns when it does.
func (d *demoProcesses) Start() (peer string, err error) {
	p, err := d.launch()
	if err != nil {
		return "", err
	}
	r, err := d.await(p)
	if err != nil {
		return "", err
	}
	if d.met != nil {
		d.met(r)
	}
	return r.Peer, nil
}

// serveSettings names the environment's flags for serve: what a user has set for a swarm of their own is not for the
// demo's.
func serveSettings() []string {
	var names []string
	newServeCommand(&app{}).Flags().VisitAll(func(f *pflag.Flag) { names = append(names, envName(f.Name)) })
	return names
}

// cut gives span i of n that share the layers as evenly as can be.
func cut(layers, n, i int) store.Span {
	return store.Span{Start: layers * i / n, End: layers * (i + 1) / n}
}
