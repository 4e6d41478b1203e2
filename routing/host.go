package routing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"

	wire "github.com/baichuan-node/baichuan-node/protocol"
)

// agentPrefix comes before the version in what hosts call themselves.
const agentPrefix = "baichuan-node/"

// kadID is the protocol of our own DHT, never the public one.
const (
	kadPrefix = protocol.ID("/baichuan")
	kadID     = kadPrefix + "/kad/1.0.0"
)

// HostConfig says how a process takes part in a swarm.
type HostConfig struct {
	// Key is the process's identity. Nil: a fresh one, as clients have it.
	Key crypto.PrivKey

	// Listen is the addresses to listen on, for example /ip4/0.0.0.0/tcp/4001. None: the process only dials.
	Listen []string

	// Announce is the addresses that others are told instead of those that are listened on: where a forwarded port is.
	// None: those that are listened on.
	Announce []string

	// SwarmKey closes the swarm to all who don't have it. It works over TCP alone: QUIC addresses in Listen are refused
	// with it. Nil: an open swarm.
	SwarmKey pnet.PSK

	// Version is the program's, which others are told. "": none.
	Version string

	// Traffic counts the bytes that pass over the host's streams. Nil: they are not counted.
	Traffic *Traffic

	// Reach sees to it that the process can be reached from behind a NAT, and finds out how it is. Nil: it is left alone,
	// with relays to dial over and nothing more.
	Reach *Reach
}

// NewHost starts a libp2p host as our peers need it: TCP and QUIC, Noise and TLS, and limits under which many
// sessions of one home fit while no stranger takes everything. The caller closes it.
func NewHost(cfg HostConfig) (host.Host, error) {
	listenOn, err := listenAddrs(cfg)
	if err != nil {
		return nil, err
	}
	announced, err := announcedAddrs(cfg)
	if err != nil {
		return nil, err
	}
	resources, err := newResources()
	if err != nil {
		return nil, err
	}
	cfg.Reach.prepare(listenOn, announced)
	conns, err := connmgr.NewConnManager(connsLow, connsHigh, connmgr.WithGracePeriod(connsGrace))
	if err != nil {
		resources.Close()
		return nil, fmt.Errorf("start the network: connection manager: %w", err)
	}
	guarded := newGuard(resources)
	h, err := libp2p.New(append(hostOptions(cfg, announced), libp2p.ResourceManager(guarded), libp2p.ConnectionGater(guarded), libp2p.ConnectionManager(conns))...)
	if err != nil {
		conns.Close()
		resources.Close()
		return nil, fmt.Errorf("start the network: %w", err)
	}
	if err := listen(h, listenOn); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// listenAddrs parses the addresses to listen on. With a swarm key libp2p would drop those for QUIC without a word.
func listenAddrs(cfg HostConfig) (all []ma.Multiaddr, err error) {
	for _, s := range cfg.Listen {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("listen on %q: %w", s, err)
		}
		if _, err := a.ValueForProtocol(ma.P_TCP); err != nil && cfg.SwarmKey != nil {
			return nil, fmt.Errorf("listen on %s: a private swarm works over TCP alone", s)
		}
		all = append(all, a)
	}
	return all, nil
}

// announcedAddrs parses the addresses to announce.
func announcedAddrs(cfg HostConfig) (all []ma.Multiaddr, err error) {
	for _, s := range cfg.Announce {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("announce %q: %w", s, err)
		}
		all = append(all, a)
	}
	return all, nil
}

// listen opens one address after the other: given all at once, libp2p is content if one of them works. A machine without
// IPv6 is no reason to fail where all addresses of IPv6 are asked for beside others.
func listen(h host.Host, addrs []ma.Multiaddr) error {
	for _, a := range addrs {
		err := h.Network().Listen(a)
		if err != nil && (len(h.Network().ListenAddresses()) == 0 || !anyIP6(a) || !noIP6(err)) {
			return fmt.Errorf("listen on %s: %w", a, oneLine(err))
		}
	}
	return nil
}

// anyIP6 says whether an address stands for all of this machine's of IPv6.
func anyIP6(a ma.Multiaddr) bool {
	ip, err := a.ValueForProtocol(ma.P_IP6)
	return err == nil && ip == "::"
}

// noIP6 says whether listening failed because the machine has no IPv6.
func noIP6(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// hostOptions is all that we ask of libp2p, in one place. Everyone dials over relays; what else being behind a NAT takes is
// in Reach.
func hostOptions(cfg HostConfig, announced []ma.Multiaddr) []libp2p.Option {
	mux := *yamux.DefaultTransport
	mux.InitialStreamWindowSize = yamuxWindow
	mux.EnableKeepAlive = true
	mux.KeepAliveInterval = yamuxAlive // a stopped process is noticed after 10 s instead of 40
	mux.ConnectionWriteTimeout = yamuxAlive
	opts := []libp2p.Option{
		libp2p.Transport(tcp.NewTCPTransport),
		// Noise knows no time. A certificate of TLS, and so of QUIC, is refused by whoever's clock is more than an hour behind
		// that of the machine that made it at its start: one that takes the local time for UTC would reach nobody.
		libp2p.Security(noise.ID, noise.New),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, &mux),
		libp2p.SwarmOpts(swarm.WithDialRanker(rankDials)),
		libp2p.EnableRelay(),
		libp2p.AddrsFactory(func(own []ma.Multiaddr) []ma.Multiaddr {
			if len(announced) > 0 {
				own = slices.Clone(announced)
			}
			return append(own, cfg.Reach.ways()...)
		}),
		libp2p.DisableMetrics(),
		libp2p.UserAgent(strings.TrimSuffix(agentPrefix+cfg.Version, "/")),
	}
	if cfg.Traffic != nil {
		opts = append(opts, libp2p.BandwidthReporter(cfg.Traffic))
	}
	if cfg.Key != nil {
		opts = append(opts, libp2p.Identity(cfg.Key))
	}
	if cfg.SwarmKey != nil {
		opts = append(opts, libp2p.PrivateNetwork(cfg.SwarmKey))
	} else {
		opts = append(opts, libp2p.Transport(cfg.Reach.quicTransport))
	}
	opts = append(opts, cfg.Reach.options()...)
	return append(opts, libp2p.NoListenAddrs) // NewHost listens itself
}

// rankDials prefers TCP, which takes half of QUIC's time there and back and carries twice as much: QUIC and relays are
// dialled a little later, or as soon as TCP has failed.
func rankDials(addrs []ma.Multiaddr) []network.AddrDelay {
	ranked := swarm.DefaultDialRanker(slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool { return !isTCP(a) }))
	var behind time.Duration
	if n := len(ranked); n > 0 {
		behind = ranked[n-1].Delay + swarm.PublicQUICDelay
	}
	for _, a := range swarm.DefaultDialRanker(slices.DeleteFunc(slices.Clone(addrs), isTCP)) {
		a.Delay += behind
		ranked = append(ranked, a)
	}
	return ranked
}

// isTCP says whether an address is reached over TCP, and not by way of a relay.
func isTCP(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_TCP)
	return err == nil && !isCircuit(a)
}

// newResources makes the resource manager: libp2p's own limits scaled by this machine's memory, with ours where its are
// known to be too small.
func newResources() (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	system := &limits.SystemBaseLimit
	system.Conns, system.ConnsInbound, system.ConnsOutbound = systemConns, systemConns, systemConns
	system.Streams, system.StreamsInbound, system.StreamsOutbound = systemStreams, systemStreams, systemStreams
	each := &limits.PeerBaseLimit
	each.Streams, each.StreamsInbound, each.StreamsOutbound = peerStreams, peerStreams, peerStreams
	for _, id := range []protocol.ID{wire.SessionID, wire.PushID, wire.DirectoryID, wire.PartsID, kadID} {
		limits.AddProtocolLimit(id, rcmgr.BaseLimit{Streams: 2 * protocolStreams, StreamsInbound: protocolStreams,
			StreamsOutbound: protocolStreams, Memory: protocolMemory}, rcmgr.BaseLimitIncrease{})
		limits.AddProtocolPeerLimit(id, rcmgr.BaseLimit{Streams: 2 * protocolPeerStreams, StreamsInbound: protocolPeerStreams,
			StreamsOutbound: protocolPeerStreams, Memory: protocolMemory / 2}, rcmgr.BaseLimitIncrease{})
	}
	addRelayLimits(&limits)
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet([]rcmgr.ConnLimitPerSubnet{{ConnCount: subnetConns, PrefixLength: 32}},
			[]rcmgr.ConnLimitPerSubnet{{ConnCount: subnetConns, PrefixLength: 56}}),
		rcmgr.WithConnRateLimiters(newConnLimiter()))
	if err != nil {
		return nil, fmt.Errorf("start the network: resource limits: %w", err)
	}
	return m, nil
}

// newConnLimiter bounds how often one address connects. Loopback is exempt: a whole swarm may live on one machine.
func newConnLimiter() *rate.Limiter {
	limit := rate.Limit{RPS: connRate, Burst: connBurst}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")}},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: limit}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: limit}},
			GracePeriod:      time.Minute,
		},
	}
}

// ReadSwarmKey reads a private swarm's key in its standard form: /key/swarm/psk/1.0.0/, /base16/, 64 hex digits.
func ReadSwarmKey(r io.Reader) (pnet.PSK, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeyBytes))
	if err != nil {
		return nil, err
	}
	key, err := pnet.DecodeV1PSK(bytes.NewReader(text))
	if err != nil { // which says how far its reader came
		return nil, errors.New("it is not three lines, /key/swarm/psk/1.0.0/, /base16/ and 64 hex digits, as swarm-key new makes them")
	}
	return key, nil
}
