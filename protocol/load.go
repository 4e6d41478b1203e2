package protocol

// Load is what a node tells about itself in answer to Info: what it has to do now, and what it has done since it started.
// It is not signed, and nobody decides by it: it is for people who look at a swarm.
type Load struct {
	UptimeMS  uint64
	Sessions  uint64 // open now
	Queue     uint64 // steps that wait now
	CacheUsed uint64 // tokens of cache that sessions have been promised
	CacheFree uint64 // tokens of cache that a new session may be promised

	Tokens        uint64 // computed through the node's layers, replayed ones included
	Replayed      uint64 // of Tokens: for a session that had lost a peer
	PrefixHits    uint64 // tokens found in the cache and not computed
	Steps         uint64
	LedgerAnswers uint64 // steps that came again and were answered without computing
	PagesHanded   uint64 // pages of cache sent to a node that takes over a session
	Repairs       uint64 // push streams that broke
	DirectPushes  uint64 // frames of rows sent straight to the next hop
	ClientPushes  uint64 // frames of rows sent by way of the client
	Passes        uint64 // of the device
	PassRows      uint64 // tokens in all of them together
}

// BatchRows is how many tokens a pass has on average.
func (l *Load) BatchRows() float64 { return float64(l.PassRows) / float64(max(l.Passes, 1)) }

// loadRecord is a load on the wire: a map of short keys in the header. Absent and zero are the same.
type loadRecord struct {
	Uptime       uint64 `msgpack:"u,omitempty"`
	Sessions     uint64 `msgpack:"s,omitempty"`
	Queue        uint64 `msgpack:"q,omitempty"`
	CacheUsed    uint64 `msgpack:"cu,omitempty"`
	CacheFree    uint64 `msgpack:"cf,omitempty"`
	Tokens       uint64 `msgpack:"t,omitempty"`
	Replayed     uint64 `msgpack:"tr,omitempty"`
	PrefixHits   uint64 `msgpack:"tp,omitempty"`
	Steps        uint64 `msgpack:"n,omitempty"`
	Ledger       uint64 `msgpack:"l,omitempty"`
	PagesHanded  uint64 `msgpack:"h,omitempty"`
	Repairs      uint64 `msgpack:"r,omitempty"`
	DirectPushes uint64 `msgpack:"pd,omitempty"`
	ClientPushes uint64 `msgpack:"pc,omitempty"`
	Passes       uint64 `msgpack:"b,omitempty"`
	PassRows     uint64 `msgpack:"br,omitempty"`
}

// record gives the load as it travels; none is none.
func (l *Load) record() *loadRecord {
	if l == nil {
		return nil
	}
	return &loadRecord{
		Uptime: l.UptimeMS, Sessions: l.Sessions, Queue: l.Queue, CacheUsed: l.CacheUsed, CacheFree: l.CacheFree,
		Tokens: l.Tokens, Replayed: l.Replayed, PrefixHits: l.PrefixHits, Steps: l.Steps, Ledger: l.LedgerAnswers,
		PagesHanded: l.PagesHanded, Repairs: l.Repairs, DirectPushes: l.DirectPushes, ClientPushes: l.ClientPushes,
		Passes: l.Passes, PassRows: l.PassRows,
	}
}

// load checks a load from the wire. What an older peer does not tell is no load.
func (f *fields) load(r *loadRecord) *Load {
	if r == nil {
		return nil
	}
	count := func(name string, v uint64) uint64 { return uint64(f.num(name, v, 0, maxCount)) }
	l := &Load{
		UptimeMS: uint64(f.num("uptime", r.Uptime, 0, maxUptimeMS)), Sessions: uint64(f.num("sessions", r.Sessions, 0, maxSessions)),
		Queue:     uint64(f.num("queue", r.Queue, 0, maxQueue)),
		CacheUsed: uint64(f.u32("used cache", r.CacheUsed)), CacheFree: uint64(f.u32("free cache", r.CacheFree)),
		Tokens: count("tokens", r.Tokens), Replayed: count("replayed tokens", r.Replayed), PrefixHits: count("tokens found", r.PrefixHits),
		Steps: count("steps", r.Steps), LedgerAnswers: count("ledger answers", r.Ledger), PagesHanded: count("pages handed over", r.PagesHanded),
		Repairs: count("push repairs", r.Repairs), DirectPushes: count("direct pushes", r.DirectPushes),
		ClientPushes: count("pushes by the client", r.ClientPushes), Passes: count("passes", r.Passes), PassRows: count("rows of passes", r.PassRows),
	}
	switch {
	case l.Replayed > l.Tokens:
		f.fail("%d tokens were replayed, of %d in all", l.Replayed, l.Tokens)
	case l.PassRows < l.Passes:
		f.fail("%d passes had %d rows together", l.Passes, l.PassRows)
	}
	return l
}
