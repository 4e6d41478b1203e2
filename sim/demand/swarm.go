package demand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/baichuan-node/baichuan-node/node/launch"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// SwarmConfig says which swarm is started.
type SwarmConfig struct {
	Binary  string    // the program. Required
	Env     []string  // added to the environment of its processes
	Without []string  // variables that they do not get of ours
	Stderr  io.Writer // gets what the processes log; nil: nobody does

	// Model sees to it that the store below a home has the model. Required.
	Model   func(home string) (*store.Model, error)
	Nodes   int // processes, each with a span of the layers
	Threads int // of each; 0: all cores
	Cache   int // tokens of cache of each
}

// Swarm is processes on this machine that serve a model.
type Swarm struct {
	Model *store.Model
	Nodes []launch.Ready
	home  string
	group *launch.Group
	parts []*store.Mapped // that every token reads
}

// Stored is the memory that the weights lie in, the processes' own: for finding out how fast it can be read, until Stop.
func (w *Swarm) Stored() [][]byte {
	var stored [][]byte
	sum := byte(0)
	for _, p := range w.parts {
		stored = append(stored, p.Bytes())
		for at := 0; at < len(p.Bytes()); at += pageBytes { // else what is measured is how they are mapped
			sum += p.Bytes()[at]
		}
	}
	runtime.KeepAlive(sum)
	return stored
}

// Start makes a temporary home with the model and starts the processes. The caller stops them.
func Start(ctx context.Context, cfg SwarmConfig) (_ *Swarm, err error) {
	w := &Swarm{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Stop())
		}
	}()
	if w.home, err = os.MkdirTemp("", "baichuan-demand-"); err != nil {
		return nil, fmt.Errorf("make a temporary home: %w", err)
	}
	if w.Model, err = cfg.Model(w.home); err != nil {
		return nil, err
	}
	for i := range w.Model.Manifest.Layers + 1 { // all but the embedding
		part, err := w.Model.Part(i + 1)
		if err != nil {
			return nil, err
		}
		w.parts = append(w.parts, part)
	}
	if w.group, err = launch.NewGroup(launch.Config{}); err != nil {
		return nil, err
	}
	for i := range cfg.Nodes { // one after the other: each measures its speed when it starts
		ready, err := w.start(ctx, cfg, i)
		if err != nil {
			return nil, err
		}
		w.Nodes = append(w.Nodes, ready)
	}
	return w, nil
}

func (w *Swarm) start(ctx context.Context, cfg SwarmConfig, i int) (launch.Ready, error) {
	layers := w.Model.Manifest.Layers
	span := store.Span{Start: layers * i / cfg.Nodes, End: layers * (i + 1) / cfg.Nodes}
	args := []string{
		"serve", w.Model.Name, "--layers", span.String(), "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics", "127.0.0.1:0",
		"--threads", fmt.Sprint(cfg.Threads), "--kv-tokens", fmt.Sprint(cfg.Cache),
	}
	if i > 0 {
		args = append(args, "--join", w.Nodes[0].Addrs[0])
	}
	p, err := w.group.Start(launch.Command{
		Name: fmt.Sprintf("node %d (layers %v)", i+1, span), Binary: cfg.Binary, Args: args, Stderr: cfg.Stderr,
		Env:     append([]string{"BAICHUAN_HOME=" + w.home, "BAICHUAN_LOG_LEVEL=warn"}, cfg.Env...),
		Without: cfg.Without,
	})
	if err != nil {
		return launch.Ready{}, err
	}
	return p.Ready(ctx)
}

// Stop ends the processes and removes their home.
func (w *Swarm) Stop() error {
	var errs []error
	if w.group != nil {
		errs = append(errs, w.group.Stop())
	}
	for _, p := range w.parts {
		errs = append(errs, p.Close())
	}
	if w.home != "" {
		errs = append(errs, os.RemoveAll(w.home))
	}
	return errors.Join(errs...)
}
