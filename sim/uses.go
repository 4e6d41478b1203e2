package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// What a peer may hold more of after a soak than before it, and why that is no leak.
const (
	// moreFiles: it may be connected to some peers that it happened not to be connected to before, by a file each.
	moreFiles = 6
	// moreGoroutines: each connection has three or four.
	moreGoroutines = 4 * moreFiles
	// moreHeap: those connections' buffers, what is remembered for a while of peers that are gone, and frames' memory that is
	// kept for reuse until the next collections: idle nodes were seen to hold 6 to 12 MiB.
	moreHeap = 8 << 20
	// moreResident: the cache's pages stay with the process once they have been used, 14 MiB here, and what the collector
	// has freed goes back to the system by and by.
	moreResident = 40 << 20
	// collections is after how many of them all is freed: what is kept for reuse survives the first.
	collections = 2
)

// holdings is what idle processes hold: the nodes, and this one.
type holdings struct {
	nodes map[*process]Gauges
	own   Gauges
}

// of gives what a node held, or if it was not there yet the most that one of its layers did.
func (h *holdings) of(n *process) (g Gauges) {
	if g, ok := h.nodes[n]; ok {
		return g
	}
	for other, of := range h.nodes {
		if other.span == n.span && of.Resident > g.Resident {
			g = of
		}
	}
	return g
}

// settles waits until nothing is going on any more, and gives what is held then. After a soak it waits, for a while, until
// that is no more than before.
func (sc *scene) settles(ctx context.Context, before *holdings, idle time.Duration) (*holdings, error) {
	deadline := time.Now().Add(idle + settleLimit)
	for busy := true; busy && time.Now().Before(deadline); time.Sleep(settlePoll) {
		busy = false
		for _, n := range sc.living() {
			all, err := n.metrics(ctx)
			if err != nil {
				return nil, err
			}
			busy = busy || all["baichuan_node_sessions"]+all["baichuan_node_streams"] > 0
		}
	}
	for {
		now, err := sc.held(ctx)
		if err != nil || before == nil {
			return now, err
		}
		more := len(over(before.own, now.own, len(sc.clients)))
		for n, g := range now.nodes {
			more += len(over(before.of(n), g, 1))
		}
		if more == 0 || time.Now().After(deadline) {
			return now, nil
		}
		time.Sleep(time.Second)
	}
}

// held reads what all hold.
func (sc *scene) held(ctx context.Context) (*holdings, error) {
	http.DefaultClient.CloseIdleConnections() // which are ours alone
	h := &holdings{nodes: make(map[*process]Gauges)}
	for _, n := range sc.living() {
		g, err := n.gauges(ctx)
		if err != nil {
			return nil, err
		}
		h.nodes[n] = g
	}
	http.DefaultClient.CloseIdleConnections()
	var err error
	h.own, err = ownGauges()
	return h, err
}

// gauges reads what a node holds, after some collections of garbage: asking it makes some.
func (n *process) gauges(ctx context.Context) (g Gauges, err error) {
	const count = "go_gc_duration_seconds_count"
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	first := -1.0
	for {
		all, err := n.metrics(ctx)
		if err != nil {
			return g, err
		}
		if first < 0 {
			first = all[count]
		}
		if all[count] >= first+collections {
			return g, all.read(g.names())
		}
	}
}

// names says by which names nodes tell the gauges.
func (g *Gauges) names() map[string]*int {
	return map[string]*int{
		"go_goroutines": &g.Goroutines, "go_memstats_heap_alloc_bytes": &g.Heap, "process_resident_memory_bytes": &g.Resident,
		"process_open_fds": &g.Files, "baichuan_node_streams": &g.Streams, "baichuan_node_sessions": &g.Sessions,
		"baichuan_node_cache_bytes": &g.Cache,
	}
}

// ownGauges are those of this process, as far as this machine tells.
func ownGauges() (g Gauges, err error) {
	for range collections {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	g.Goroutines, g.Heap = runtime.NumGoroutine(), int(m.HeapAlloc)
	files, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return g, nil
	}
	g.Files = len(files)
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return g, err
	}
	var size int
	_, err = fmt.Sscan(string(raw), &size, &g.Resident)
	g.Resident *= os.Getpagesize()
	return g, err
}

// over tells what is more than it was, in a process that is so many peers.
func over(before, after Gauges, peers int) (all []string) {
	check := func(what string, was, is, more int) {
		if is > was+more {
			all = append(all, fmt.Sprintf("%d %s, before there were %d", is, what, was))
		}
	}
	check("goroutines", before.Goroutines, after.Goroutines, peers*moreGoroutines)
	check("bytes of heap", before.Heap, after.Heap, moreHeap)
	check("bytes resident", before.Resident, after.Resident, moreResident)
	check("open files", before.Files, after.Files, peers*moreFiles)
	check("streams", 0, after.Streams, 0)
	check("sessions", 0, after.Sessions, 0)
	return all
}

// compare holds what is held after a soak against what was before.
func (sc *scene) compare(before, after *holdings) {
	take := func(name string, was, is Gauges, peers int) {
		sc.result.Uses = append(sc.result.Uses, Use{Process: name, Before: was, After: is})
		for _, o := range over(was, is, peers) {
			sc.result.wrong("%s has %s", name, o)
		}
	}
	for _, n := range sc.living() {
		take(fmt.Sprintf("the node of layers %v with pid %d", n.span, n.PID()), before.of(n), after.nodes[n], 1)
	}
	take("the clients' process", before.own, after.own, len(sc.clients))
}
