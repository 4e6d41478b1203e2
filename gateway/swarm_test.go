package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// paper is a swarm on paper, which changes.
type paper struct {
	mu     sync.Mutex // guards all below
	offers []protocol.Offer
	told   map[protocol.PeerID]routing.Told
	err    error
	looks  int
	age    time.Duration
}

func (d *paper) Offers(context.Context, protocol.ModelID) ([]routing.Seen, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	return d.known(), d.err
}

func (d *paper) Known(protocol.ModelID) []routing.Seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known()
}

func (d *paper) known() (seen []routing.Seen) {
	for _, o := range d.offers {
		seen = append(seen, routing.Seen{Offer: o, Age: d.age})
	}
	return seen
}

func (d *paper) AskPeers(_ context.Context, peers []protocol.PeerID) []routing.Told {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := make([]routing.Told, len(peers))
	for i, id := range peers {
		told[i] = d.told[id]
	}
	return told
}

func (d *paper) Measures() routing.Measures { return routing.Measures{} }

// change changes the swarm.
func (d *paper) change(how func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	how()
}

// offerOf is a peer's that serves some layers of six.
func offerOf(peer protocol.PeerID, start, end int) protocol.Offer {
	s := protocol.Span{Start: start, End: end}
	return protocol.Offer{Peer: peer, Span: s, Target: s, Layers: 6, State: protocol.Online, DecodeRate: 6000, HeadRate: 1000,
		Addrs: []string{"/ip4/127.0.0.1/tcp/4001"}}
}

// knownModel is the bundled model without its weights.
func knownModel(t *testing.T) *quiet {
	t.Helper()
	stored, err := bundled.Open(bundled.Chat)
	if err != nil {
		t.Fatal(err)
	}
	known, err := client.ModelOf(stored)
	if err != nil {
		t.Fatal(err)
	}
	return &quiet{inProcess: inProcess{model: known}}
}

func TestDrawSwarm_TellsWhatEachPeerSays(t *testing.T) {
	m := knownModel(t).Model()
	near := offerOf("near", 0, 3)
	near.Near = []protocol.Near{{Peer: protocol.TailOf("moved"), RTT: 1500 * time.Microsecond}, {Peer: protocol.TailOf("nobody"), RTT: time.Second}}
	moved := offerOf("moved", 3, 6)
	moved.Target = protocol.Span{Start: 0, End: 3}
	gone, withdrawn, elsewhere := offerOf("gone", 0, 6), offerOf("withdrawn", 0, 6), offerOf("elsewhere", 0, 6)
	other := elsewhere
	other.Model[0]++
	s := sight{told: map[protocol.PeerID]routing.Told{
		"near": {Peer: "near", Offer: &near, Way: "punched quic", Version: "v1.2.3", Load: &protocol.Load{Sessions: 2, CacheFree: 5, Queue: 3}},
		"gone": {Peer: "gone", Err: errors.New("connection\nrefused")}, "withdrawn": {Peer: "withdrawn"}, "elsewhere": {Peer: "elsewhere", Offer: &other},
	}}
	for _, o := range []protocol.Offer{near, moved, gone, withdrawn, elsewhere} {
		s.seen = append(s.seen, routing.Seen{Offer: o})
	}
	o := drawSwarm(m, s, routing.Measures{RTT: map[protocol.PeerID]time.Duration{"near": time.Millisecond, "gone": time.Millisecond}})
	peers := make(map[string]peerObject)
	for _, p := range o.Peers {
		peers[p.Peer] = p
	}
	if len(peers) != 3 || !slices.Equal(o.Coverage, []int{1, 1, 1, 1, 1, 1}) || len(o.Missing) > 0 {
		t.Fatalf("%d peers, coverage %v, missing %v", len(peers), o.Coverage, o.Missing)
	}
	if p := peers[near.Peer.String()]; p.Reached != "punched quic" || p.Version != "v1.2.3" || *p.Sessions != 2 || p.CacheFree != 5 || p.Queue != 3 ||
		*p.RTT != 1 || !slices.Equal(p.Near, []nearObject{{moved.Peer.String(), 1.5}}) {
		t.Errorf("one that was asked: %+v", p)
	}
	if p := peers[moved.Peer.String()]; p.Target != "0:3" || p.State != "online" || p.Sessions != nil || p.RTT != nil {
		t.Errorf("one that was not asked: %+v", p)
	}
	if p := peers[gone.Peer.String()]; p.State != stateUnreachable || p.Error != "connection refused" || p.RTT != nil {
		t.Errorf("one that does not answer: %+v", p)
	}
	if a := o.Answer; a == nil || len(a.Chain) != 2 || a.Chain[1].Layers != "3:6" || a.TokenMS <= 0 || a.PerSecond < 999/a.TokenMS || a.PerSecond > 1001/a.TokenMS {
		t.Errorf("an answer would take %+v", a)
	}
	if want := "/ip4/127.0.0.1/tcp/4001/p2p/"; !strings.HasPrefix(o.Join, want) || strings.Contains(o.Join, gone.Peer.String()) {
		t.Errorf("one joins by %q", o.Join)
	}
}

func TestSwarm_OfNobodyIsAPictureToo(t *testing.T) {
	d := &paper{err: errors.New("no peer\x1b is known")}
	f := newFront(t, Config{Models: []Model{knownModel(t)}, Directory: d, Private: true, Process: Process{Version: "v1"}})
	r := f.send("GET", "/api/swarm", "", nil)
	o := decodeLines[swarmObject](t, r.body)[0]
	if r.status != 200 || o.Error != "no peer is known" || len(o.Peers) > 0 || !slices.Equal(o.Missing, []string{"0:6"}) || o.Answer != nil || o.Join != "" ||
		!o.Private || o.Version != "v1" || o.Demo != nil {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// watcher watches the swarm in a synctest bubble, without a network.
type watcher struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
	left  chan struct{}
}

func watchEvents(t *testing.T, s *Server) *watcher {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	w := &watcher{httptest.NewRecorder(), leave, make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/api/swarm/events", nil)
	r.Host = "localhost"
	go func() {
		s.ServeHTTP(w, r)
		close(w.left)
	}()
	synctest.Wait()
	return w
}

// events are the pictures that have come, and how many signs of life.
func (w *watcher) events(t *testing.T) (all []swarmObject, beats int) {
	t.Helper()
	synctest.Wait()
	for event := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok {
			beats++
			continue
		}
		var o swarmObject
		if err := json.Unmarshal([]byte(data), &o); err != nil {
			t.Fatalf("%q: %v", event, err)
		}
		all = append(all, o)
	}
	return all, beats
}

func (w *watcher) hasLeft() bool {
	synctest.Wait()
	select {
	case <-w.left:
		return true
	default:
		return false
	}
}

// newWatched makes a server in a synctest bubble.
func newWatched(t *testing.T, m Model, d Directory) *Server {
	t.Helper()
	s, err := New(Config{Models: []Model{m}, Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestEvents_TellAtOnceAndWhenSomethingChanges(t *testing.T) {
	m := knownModel(t)
	synctest.Test(t, func(t *testing.T) {
		d := &paper{offers: []protocol.Offer{offerOf("a", 0, 6)}}
		s := newWatched(t, m, d)
		first := watchEvents(t, s)
		if all, _ := first.events(t); len(all) != 1 || len(all[0].Peers) != 1 || first.Header().Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Fatalf("at once: %+v, %v", all, first.Header())
		}
		d.change(func() { d.age = time.Second }) // is nothing to tell of
		time.Sleep(heartbeat + time.Second)
		if all, beats := first.events(t); len(all) != 1 || beats != 1 {
			t.Errorf("after nothing has changed: %d pictures, %d signs of life", len(all), beats)
		}
		d.change(func() {
			d.looks = 0
			d.told = map[protocol.PeerID]routing.Told{"a": {Peer: "a", Err: errors.New("refused")}}
		})
		second := watchEvents(t, s)
		time.Sleep(3*liveEvery + liveEvery/2)
		for _, w := range []*watcher{first, second} {
			if all, _ := w.events(t); all[len(all)-1].Peers[0].State != stateUnreachable || all[len(all)-1].Missing[0] != "0:6" {
				t.Errorf("what has changed: %+v", all)
			}
		}
		if all, _ := first.events(t); len(all) != 2 {
			t.Errorf("one change is told by %d pictures", len(all)-1)
		}
		d.change(func() {
			if d.looks > 6 {
				t.Errorf("in 3 s the swarm is asked %d times for two who watch", d.looks)
			}
		})
		first.leave()
		second.leave()
		if !first.hasLeft() || !second.hasLeft() || s.models[0].feed.watched() || len(s.watchers) > 0 {
			t.Error("who has left is still counted")
		}
		d.change(func() { d.looks = 0 })
		time.Sleep(watchEvery - liveEvery)
		d.change(func() {
			if d.looks > 1 {
				t.Errorf("while nobody watches the swarm is asked %d times in %v", d.looks, watchEvery)
			}
		})
	})
}

func TestEvents_HaveAnEnd(t *testing.T) {
	m := knownModel(t)
	synctest.Test(t, func(t *testing.T) {
		s := newWatched(t, m, &paper{})
		w := watchEvents(t, s)
		s.leave() // as Serve does when it is asked to stop
		if !w.hasLeft() || w.Code != http.StatusOK {
			t.Errorf("one who watches stays when the server stops (%d)", w.Code)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newWatched(t, m, &paper{})
		var all []*watcher
		for range maxWatchers {
			all = append(all, watchEvents(t, s))
		}
		if w := watchEvents(t, s); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !w.hasLeft() {
			t.Errorf("one too many: %d %s", w.Code, w.Body)
		}
		all[7].leave()
		synctest.Wait()
		if w := watchEvents(t, s); w.hasLeft() {
			t.Errorf("when one has left: %d %s", w.Code, w.Body)
		}
		s.leave()
	})
}

// A page that watches must not be what keeps its owner's questions from being answered.
func TestEvents_CountForNothingInAKeysLimits(t *testing.T) {
	keys, secrets := keysOf(t, "ann 0 1\n")
	f := newFront(t, Config{Models: []Model{knownModel(t)}, Directory: &paper{}, Keys: keys})
	r, err := http.NewRequestWithContext(t.Context(), "GET", f.url+"/api/swarm/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := http.DefaultClient.Do(r); err != nil || a.StatusCode != http.StatusUnauthorized {
		t.Fatalf("without a key: %v, %v", a, err)
	} else {
		a.Body.Close()
	}
	r.Header.Set("Authorization", "Bearer "+secrets["ann"])
	a, err := http.DefaultClient.Do(r)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", a, err)
	}
	defer a.Body.Close()
	f.key = secrets["ann"]
	if r := f.send("GET", "/v1/models", "", nil); r.status != http.StatusOK {
		t.Errorf("while she watches: %d %s", r.status, r.body)
	}
}

// puppets is a demo of nothing.
type puppets struct {
	mu    sync.Mutex // guards all below
	peers []string
	full  bool
}

func (p *puppets) Peers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.peers)
}

func (p *puppets) Kill(peer string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.peers)
	p.peers = slices.DeleteFunc(p.peers, func(id string) bool { return id == peer })
	return len(p.peers) < n
}

func (p *puppets) Start() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return "", errors.New("2 run")
	}
	p.peers = append(p.peers, "new")
	return "new", nil
}

func TestDemo_KillsAndStartsForItsOwnPageAlone(t *testing.T) {
	m := knownModel(t)
	for _, path := range []string{"/api/demo/kill", "/api/demo/start"} {
		if r := newFront(t, Config{Models: []Model{m}, Directory: &paper{}}).post(path, `{"peer":"a"}`); r.status != http.StatusNotFound {
			t.Errorf("%s where there is no demo: %d", path, r.status)
		}
	}
	d := &puppets{peers: []string{"a", "b"}}
	f := newFront(t, Config{Models: []Model{m}, Directory: &paper{}, Demo: d})
	foreign := func(header, value string) func(*http.Request) {
		return func(r *http.Request) {
			if header == "Host" {
				r.Host = value
			}
			r.Header.Set(header, value)
		}
	}
	for _, tt := range []struct {
		name, method, body string
		change             func(*http.Request)
		status             int
	}{
		{"a link", "GET", "", nil, 405},
		{"a foreign page's form", "POST", `{"peer":"a"}`, foreign("Content-Type", "text/plain"), 415},
		{"a foreign page's script", "POST", `{"peer":"a"}`, foreign("Origin", "https://evil.example"), 403},
		{"a page of another port", "POST", `{"peer":"a"}`, foreign("Origin", "http://127.0.0.1:1"), 403},
		{"a name that was bound to us", "POST", `{"peer":"a"}`, foreign("Host", "evil.example"), 403},
		{"nobody", "POST", `{}`, nil, 400},
		{"a number", "POST", `{"peer":1}`, nil, 400},
		{"a stranger", "POST", `{"peer":"<b>c"}`, nil, 404},
		{"somebody", "POST", `{"peer":"a"}`, foreign("Origin", f.url), 200},
		{"somebody again", "POST", `{"peer":"a"}`, nil, 404},
	} {
		if r := f.send(tt.method, "/api/demo/kill", tt.body, tt.change); r.status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, r.status, r.body, tt.status)
		}
	}
	if r := f.post("/api/demo/start", `{}`); r.status != 200 || string(r.body) != "{\"peer\":\"new\"}\n" {
		t.Errorf("start: %d %s", r.status, r.body)
	}
	if o := decodeLines[swarmObject](t, f.send("GET", "/api/swarm", "", nil).body)[0]; o.Demo == nil || !slices.Equal(o.Demo.Peers, []string{"b", "new"}) {
		t.Errorf("the map tells of %+v", o.Demo)
	}
	d.full = true
	r := f.post("/api/demo/start", `{}`)
	if _, code := r.refused(t); r.status != 503 || code != "service_unavailable" || !strings.Contains(string(r.body), "2 run") {
		t.Errorf("start of one too many: %d %s", r.status, r.body)
	}
}
