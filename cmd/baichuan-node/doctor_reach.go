package main

import (
	"context"
	"io"
	"net"
	"strings"
	"time"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
)

// examineReach finds out how others reach this machine. Only other peers can tell: without any it says what can be known
// alone. It listens as serve does by default, so that what works here works there.
func examineReach(ctx context.Context, f *swarmFlags, host *serveFlags, listen []string) []finding {
	ports := examinePorts(listen)
	peers, err := f.peers()
	if err == nil && ports.OK {
		return append([]finding{ports, examineIP6()}, reachedAs(ctx, f, host, listen, len(peers) > 0)...)
	}
	if err != nil {
		return []finding{ports, examineIP6(), {Name: "reached", Found: err.Error(), Remedy: "give --join as serve prints it"}}
	}
	return []finding{ports, examineIP6()}
}

// examinePorts tries whether the addresses that would be listened on are free.
func examinePorts(listen []string) finding {
	f := finding{Name: "ports", OK: true, Found: "free: " + strings.Join(listen, ", ")}
	h, err := routing.NewHost(routing.HostConfig{Listen: listen})
	if err != nil {
		return finding{Name: "ports", Found: oneLine(err.Error()), Remedy: "end what uses the port, or name another by --listen"}
	}
	if err := h.Close(); err != nil {
		return finding{Name: "ports", Found: oneLine(err.Error()), Remedy: "name other ports by --listen"}
	}
	return f
}

// examineIP6 looks for an address of IPv6 that others can reach. Many homes have none, and live.
func examineIP6() finding {
	f := finding{Name: "IPv6", OK: true, Found: "no public address: IPv4 alone"}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return f
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsGlobalUnicast() && !n.IP.IsPrivate() {
			f.Found = n.IP.String()
			return f
		}
	}
	return f
}

// reachedAs joins a swarm as serve would, without serving, and waits for what the router and the others say.
func reachedAs(ctx context.Context, f *swarmFlags, host *serveFlags, listen []string, named bool) []finding {
	s, err := openSwarm(ctx, f, nil, listen, routing.ReachConfig{})
	if err != nil {
		return []finding{{Name: "reached", Found: oneLine(err.Error()), Remedy: "mend what is named"}}
	}
	found, err := askAround(ctx, s, f, host)
	if closed := s.close(); err == nil {
		err = closed
	}
	if err != nil {
		return []finding{{Name: "reached", Found: oneLine(err.Error()), Remedy: "ask the swarm's people for another address, and for the swarm key if it is a private one"}}
	}
	if found[0].OK && !named && found[0].Found == (routing.Reached{}).String() {
		found[0].Found = "unknown: only other peers can tell; give one of them by --join"
	}
	return found
}

// askAround joins and waits until what is known of this machine has settled.
func askAround(ctx context.Context, s *swarm, f *swarmFlags, host *serveFlags) ([]finding, error) {
	peers, err := f.peers()
	if err != nil {
		return nil, err
	}
	joined, err := s.join(ctx, f, peers, io.Discard)
	if err != nil {
		return nil, err
	}
	var end time.Time
	if joined && s.reach.BeyondLoopback() {
		s.reach.Settle(ctx)
		end = time.Now().Add(reachTimeout)
	}
	poll := time.NewTicker(reachPoll)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		now := s.reach.Now()
		if len(now.Confirmed) > 0 || !now.Asking && time.Now().After(end) {
			remedy := now.Remedy()
			found := []finding{{Name: "reached", OK: remedy == "" || len(now.Relays) > 0, Found: now.String(), Remedy: remedy}}
			if joined {
				found = append(found, examineSwarmHosting(ctx, s, host)...)
			}
			return append(found, examineClock(time.Now(), s.directory.Known(protocol.ModelID{}))), nil
		}
	}
}
