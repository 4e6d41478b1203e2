package protocol

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
)

// testKey makes the same key for the same seed.
func testKey(t testing.TB, seed string) (crypto.PrivKey, peer.ID) {
	t.Helper()
	sum := sha256.Sum256([]byte(seed))
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

func goodOffer(id peer.ID) Offer {
	return Offer{Version: OfferVersion, Model: Digest{1, 2}, ModelName: "mini", Peer: id, Sequence: 1_700_000_000_000, Boot: 77,
		LifeMS: 24_000, Span: Span{0, 2}, Target: Span{1, 3}, Layers: 4, State: Online, Device: "cpu avx2", DecodeRate: 900,
		PrefillRate: 9000, HeadRate: 300, NetRate: 1 << 30, CacheFree: 8192, Queue: 2, Capacity: 3, Fixed: true, Busy: 250,
		Near:    []Near{{PeerTail{1, 2, 3}, 12_345 * time.Microsecond}, {PeerTail{9}, 0}},
		Relayed: true, Relay: true, Nick: "百川",
		Advice: &Advice{Sampling: Sampling{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05}, MaxTokens: 2048},
		Addrs:  []string{"/ip4/127.0.0.1/tcp/4001", "/ip6/::1/udp/4001/quic-v1"}}
}

func TestOffer_SurvivesTheRoundTrip(t *testing.T) {
	key, id := testKey(t, "a")
	want := goodOffer(id)
	sealed, err := Seal(want, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unseal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v\nwant %+v", *got, want)
	}
	if info := got.Dialable(); info.ID != id || len(info.Addrs) != 2 {
		t.Errorf("dialable as %v", info)
	}
}

func TestOffer_FullOfAddressesAndTextStillFits(t *testing.T) {
	key, id := testKey(t, "a")
	o := goodOffer(id)
	o.ModelName, o.Device, o.Nick = strings.Repeat("m", 1000), strings.Repeat("d", 1000), strings.Repeat("川", 1000)
	relay := "/ip6/2001:db8:1111:2222:3333:4444:5555:6666/udp/40001/quic-v1/p2p/" + testPeer + "/p2p-circuit"
	o.Addrs, o.Near = nil, make([]Near, MaxNear)
	for range MaxAddrs {
		o.Addrs = append(o.Addrs, relay)
	}
	sealed, err := Seal(o, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unseal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.ModelName) != 64 || len(got.Device) != 128 || len(got.Nick) != 63 {
		t.Errorf("texts of %d, %d, %d bytes", len(got.ModelName), len(got.Device), len(got.Nick))
	}
}

func TestSeal_RefusesWhatUnsealWould(t *testing.T) {
	key, id := testKey(t, "a")
	_, other := testKey(t, "b")
	for name, change := range map[string]func(*Offer){
		"another's name":           func(o *Offer) { o.Peer = other },
		"no model":                 func(o *Offer) { o.Model = ModelID{} },
		"no version":               func(o *Offer) { o.Version = 0 },
		"no sequence":              func(o *Offer) { o.Sequence = 0 },
		"a sequence of 64 bits":    func(o *Offer) { o.Sequence = 1 << 63 },
		"no life":                  func(o *Offer) { o.LifeMS = 0 },
		"a long life":              func(o *Offer) { o.LifeMS = 60_001 },
		"an empty span":            func(o *Offer) { o.Span = Span{2, 2} },
		"a span beyond the layers": func(o *Offer) { o.Span = Span{2, 5} },
		"a negative span":          func(o *Offer) { o.Span = Span{-1, 2} },
		"no target":                func(o *Offer) { o.Target = Span{} },
		"too many layers":          func(o *Offer) { o.Layers = MaxLayers + 1 },
		"no state":                 func(o *Offer) { o.State = 0 },
		"an unknown state":         func(o *Offer) { o.State = Leaving + 1 },
		"an absurd rate":           func(o *Offer) { o.DecodeRate = 1<<30 + 1 },
		"an absurd head":           func(o *Offer) { o.HeadRate = 1<<30 + 1 },
		"an absurd network":        func(o *Offer) { o.NetRate = 1<<40 + 1 },
		"an absurd queue":          func(o *Offer) { o.Queue = 1<<20 + 1 },
		"an absurd capacity":       func(o *Offer) { o.Capacity = MaxLayers + 1 },
		"busier than all the time": func(o *Offer) { o.Busy = MaxBusy + 1 },
		"too many round trips":     func(o *Offer) { o.Near = make([]Near, MaxNear+1) },
		"nine addresses":           func(o *Offer) { o.Addrs = make([]string, 9) },
		"no address":               func(o *Offer) { o.Addrs = []string{"example.org"} },
		"another's address":        func(o *Offer) { o.Addrs = []string{"/ip4/1.2.3.4/tcp/1/p2p/" + other.String()} },
		"an address of one part":   func(o *Offer) { o.Addrs = []string{"/p2p/" + id.String()} },
		"a long address":           func(o *Offer) { o.Addrs = []string{"/dns/" + strings.Repeat("a", 300) + "/tcp/1"} },
	} {
		o := goodOffer(id)
		change(&o)
		if _, err := Seal(o, key); err == nil {
			t.Errorf("%s: sealed", name)
		} else if !strings.HasPrefix(err.Error(), "seal an offer: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q", name, err)
		}
		if name == "another's name" {
			continue
		}
		if r, err := o.record(); err == nil {
			if _, err := Unseal(envelope(t, r, key)); err == nil {
				t.Errorf("%s: unsealed", name)
			}
		}
	}
}

func envelope(t testing.TB, r record.Record, key crypto.PrivKey) []byte {
	t.Helper()
	e, err := record.Seal(r, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// otherRecord is an offer's record in another domain, or with another type.
type otherRecord struct {
	*offerRecord
	domain, codec string
}

func (r otherRecord) Domain() string { return r.domain }
func (r otherRecord) Codec() []byte  { return []byte(r.codec) }

func TestUnseal_RefusesForgeries(t *testing.T) {
	key, id := testKey(t, "a")
	otherKey, _ := testKey(t, "b")
	o := goodOffer(id)
	r, err := o.record()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(o, key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if got, err := Unseal(bad); err == nil && !reflect.DeepEqual(*got, o) {
			t.Errorf("with bit 0 of byte %d flipped it says %+v", i, *got)
		}
	}
	for name, b := range map[string][]byte{
		"signed by another": envelope(t, r, otherKey),
		"another domain":    envelope(t, otherRecord{r, "libp2p-peer-record", "/" + offerDomain}, key),
		"another type":      envelope(t, otherRecord{r, offerDomain, "/x"}, key),
		"cut off":           sealed[:len(sealed)-1],
		"nothing":           nil,
		"too long":          make([]byte, MaxOfferBytes+1),
	} {
		if _, err := Unseal(b); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func FuzzUnseal(f *testing.F) {
	key, id := testKey(f, "a")
	sealed, err := Seal(goodOffer(id), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:40])
	f.Fuzz(func(t *testing.T, in []byte) {
		o, err := Unseal(in)
		if err == nil && !reflect.DeepEqual(*o, goodOffer(id)) {
			t.Fatalf("a forged offer was opened: %+v", o)
		}
	})
}

// FuzzOfferRecord tries what a peer may sign, which FuzzUnseal can't reach through the signature.
func FuzzOfferRecord(f *testing.F) {
	key, id := testKey(f, "a")
	o := goodOffer(id)
	r, err := o.record()
	if err != nil {
		f.Fatal(err)
	}
	b, err := r.MarshalRecord()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		var r offerRecord
		if r.UnmarshalRecord(in) != nil {
			return
		}
		o, err := r.offer()
		if err != nil || o.Peer != id {
			return
		}
		if sealed, err := Seal(*o, key); err == nil {
			if again, err := Unseal(sealed); err != nil || !reflect.DeepEqual(again, o) {
				t.Fatalf("%+v came back as %+v, %v", o, again, err)
			}
		}
	})
}
