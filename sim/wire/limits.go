package wire

import "time"

const (
	// addressTries is how often another address is tried: one that is free for TCP may be taken for UDP.
	addressTries = 16
	// chunkBytes is what a connection puts on a line at once, 1.6 ms at 20 Mbit/s: so the connections of a home take turns.
	chunkBytes = 4 << 10
	// packetBytes is what a TCP packet carries: an Ethernet frame without its headers.
	packetBytes = 1448
	// retransmission is the least time after which TCP sends again (Linux; RFC 6298 has a second).
	retransmission = 200 * time.Millisecond
	// underWay is the chunks of a connection that may be on their way: 4 MiB, 100 Mbit/s for 335 ms.
	underWay = 1024
	// maxBacklog is how long a datagram waits for its turn on a line; beyond it, it is dropped, as routers do.
	maxBacklog = 200 * time.Millisecond
	// maxDatagram is the largest there is; datagramsUnderWay those of one sender: 100 Mbit/s of 1,200 bytes for 100 ms.
	maxDatagram       = 64 << 10
	datagramsUnderWay = 1024
	// maxSenders is how many addresses may send datagrams to a home.
	maxSenders = 1024
	// catchUp is how late a busy machine may wake a sender without the line losing the time: some timer ticks.
	catchUp = 5 * time.Millisecond
	// dialTimeout is for reaching the process behind a door: it is on this machine, and listens or does not.
	dialTimeout = 5 * time.Second
	// socketBuffer is what the system keeps of a connection on the forwarder's side. By default it would be megabytes: seconds
	// on a line of 20 Mbit/s, that no home's router keeps.
	socketBuffer = 64 << 10
)
