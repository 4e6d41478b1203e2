package routing

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
)

func randomPeers(t *testing.T, n int) (all []peer.AddrInfo) {
	t.Helper()
	for i := range n {
		id, err := test.RandPeerID()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/8.8.8.8/tcp/%d", i+1))}})
	}
	return all
}

func TestRemembered_KeepsEachSwarmsPeers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "peers.json")
	open := NewRemembered(path, nil, slog.Default())
	if got := open.Peers(); len(got) != 0 {
		t.Errorf("it begins with %v", got)
	}
	private := NewRemembered(path, bytes.Repeat([]byte{1}, 32), slog.Default())
	other := NewRemembered(path, bytes.Repeat([]byte{2}, 32), slog.Default())
	peers := randomPeers(t, 4)
	for _, keep := range []struct {
		m     *Remembered
		peers []peer.AddrInfo
	}{{open, peers[:2]}, {private, peers[2:3]}, {open, peers[3:]}, {open, nil}} {
		if err := keep.m.Keep(keep.peers); err != nil {
			t.Fatal(err)
		}
	}
	if got := open.Peers(); len(got) != 3 {
		t.Errorf("the open swarm's: %v", got)
	}
	if got := private.Peers(); len(got) != 1 || got[0].ID != peers[2].ID || !got[0].Addrs[0].Equal(peers[2].Addrs[0]) {
		t.Errorf("the private swarm's: %v", got)
	}
	if got := other.Peers(); len(got) != 0 {
		t.Errorf("another key's: %v", got)
	}
	if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, bytes.Repeat([]byte("01"), 8)) {
		t.Errorf("the file tells the key, or %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".peers-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRemembered_IsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	m := NewRemembered(path, nil, slog.Default())
	if err := m.Keep(randomPeers(t, maxMet)); err != nil {
		t.Fatal(err)
	}
	last := randomPeers(t, maxMet+5)
	if err := m.Keep(last[:1]); err != nil {
		t.Fatal(err)
	}
	if err := m.Keep(last); err != nil {
		t.Fatal(err)
	}
	if got := m.Peers(); len(got) != maxMet {
		t.Errorf("%d peers", len(got))
	}
	for i := range maxSwarms + 3 {
		if err := NewRemembered(path, bytes.Repeat([]byte{byte(i)}, 32), slog.Default()).Keep(last[:1]); err != nil {
			t.Fatal(err)
		}
	}
	if whole, err := readMemory(path); err != nil || len(whole.Swarms) != maxSwarms {
		t.Errorf("%d swarms, %v", len(whole.Swarms), err)
	}
}

func TestRemembered_PassesOverWhatIsDamaged(t *testing.T) {
	good := randomPeers(t, 1)[0]
	entry := fmt.Sprintf(`{"peer":%q,"addrs":["/ip4/8.8.8.8/tcp/1"],"met":1}`, good.ID)
	for name, c := range map[string]struct {
		file string
		want int
		told bool
	}{
		"no JSON":            {"\x00\x01", 0, true},
		"cut off":            {`{"swarms":{"open":[` + entry, 0, true},
		"another form":       {`{"swarms":[1]}`, 0, true},
		"too long":           {`{"swarms":{}}` + strings.Repeat(" ", maxMemory), 0, true},
		"empty object":       {`{}`, 0, false},
		"one bad peer":       {`{"swarms":{"open":[{"peer":"x","addrs":["/ip4/1.2.3.4/tcp/1"]},` + entry + `]}}`, 1, false},
		"one without a home": {`{"swarms":{"open":[` + strings.Replace(entry, "/ip4/8.8.8.8/tcp/1", "nowhere", 1) + `]}}`, 0, false},
	} {
		path := filepath.Join(t.TempDir(), "peers.json")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		m := NewRemembered(path, nil, slog.New(slog.NewTextHandler(&log, nil)))
		if got := m.Peers(); len(got) != c.want || (log.Len() > 0) != c.told {
			t.Errorf("%s: %v, told %q", name, got, &log)
		}
		if err := m.Keep(randomPeers(t, 1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := m.Peers(); len(got) != c.want+1 {
			t.Errorf("%s: after one was met %v", name, got)
		}
	}
}
