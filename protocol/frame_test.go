package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// testLimits is a small model's.
var testLimits = Limits{Layers: 4, Hidden: 64, Vocab: 1000, Context: 2048}

const testPeer = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"

func mustPeer(t testing.TB, s string) peer.ID {
	t.Helper()
	id, err := peer.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func someIDs(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(i*7) % 1000
	}
	return ids
}

// goodMessages is one message of every type at least, at the edges of what is allowed.
func goodMessages(t testing.TB) []any {
	p := mustPeer(t, testPeer)
	key, salt := Key{1, 2, 3}, [16]byte{9}
	rows := func(n int) ([]byte, []byte) {
		return bytes.Repeat([]byte{3}, n), bytes.Repeat([]byte{0x12, 0x34}, n*64)
	}
	exp1, half1 := rows(1)
	exp512, half512 := rows(512)
	addr := ma.StringCast("/ip4/10.0.0.1/tcp/4001")
	return []any{
		Open{Session: key, Salt: salt, Span: Span{0, 2}, Model: Digest{5}},
		Open{Session: key, Epoch: math.MaxUint32, Model: Digest{5}, Span: Span{2, 4}, Expect: 2048, Position: 17, Prev: p,
			Next: bytes.Repeat([]byte{7}, MaxOfferBytes), Salt: salt, IDs: someIDs(2048),
			Sampling: Sampling{Temperature: 0.3, TopK: 5, TopP: 0.85, Penalty: 1.05}},
		Open{Session: key, Salt: salt, Span: Span{3, 4}, Sampling: Sampling{TopK: -1, Penalty: 1}},
		Open{Session: key, Salt: salt, Span: Span{0, 4}, From: p, Private: true, Sampling: Sampling{Penalty: 1},
			Next: []byte{1}, IDs: someIDs(3), Names: []Digest{{1}, {2}}},
		Opened{}, Opened{Epoch: 3, Position: 2048, Last: math.MaxInt64, Busy: 1000},
		Step{Number: 1, IDs: someIDs(1)},
		Step{Epoch: 1, Number: 9, Position: 2048 - 512, Want: WantRows, NewIDs: someIDs(512), IDs: someIDs(512)},
		Push{Session: key, Number: 1, N: 1, Width: 64, Exp: exp1, Half: half1},
		Push{Session: key, Epoch: 4, Number: 2, Position: 3, Want: WantCandidates, NewIDs: someIDs(3), N: 512, Width: 64,
			Spent: []Spent{{}, {Waited: time.Hour, Computed: 7 * time.Microsecond}}, Exp: exp512, Half: half512},
		Result{Number: 1, Final: true}, Result{Number: 1, Final: true, Spent: make([]Spent, MaxHops)},
		Result{Epoch: 2, Number: 3, Position: 2047, Want: WantCandidates, Final: true, Candidates: []Candidate{
			{ID: 999, Raw: -1, Penalised: 2}, {ID: 1, Raw: 3, Penalised: 1}, {ID: 5, Raw: 3, Penalised: 1}}},
		Result{Number: 3, Want: WantRows, N: 8, Vocab: 1000, Logits: make([]byte, 32000)},
		Step{Epoch: 2, Position: 64, Through: p, NewIDs: someIDs(1), IDs: someIDs(5)},
		Push{Owner: p, Session: key, Position: 64, Through: p, N: 1, Width: 64, Exp: exp1, Half: half1},
		Names{Owner: p, Session: key}, Names{Owner: p, Session: key, Epoch: 3, Names: make([]Digest, 32)},
		Replay{Epoch: 1, Until: 1, Through: p}, Replay{Epoch: 9, From: 2047, Until: 2048, Through: p},
		Replayed{}, Replayed{Epoch: 4, Position: 2048}, Parting{}, Parting{WithinMS: 600_000, HandOverMS: math.MaxUint32},
		HandOver{Epoch: 3, To: []byte{1}},
		Page{Owner: p, Session: key, Tokens: 1, Layer: -1, Hash: Digest{1}, Bytes: []byte{1}},
		Page{Owner: p, Session: key, Epoch: 1, Index: 31, Tokens: 64, Layer: 3, Final: true, Hash: Digest{1}, Bytes: make([]byte, 64*4*64)},
		Ping{}, Heartbeat{}, Heartbeat{Epoch: 1, Number: 2, Running: true, Progress: 1 << 40},
		Close{Session: key},
		Failure{Code: CodeBusy}, Failure{Epoch: 1, Number: 2, Code: 200, Text: "the queue is full"},
		Failure{Epoch: 1, Number: 2, Code: CodeBadInput, Suspect: p, Text: "a NaN"},
		Put{Offer: []byte{1}}, PutDone{}, PutDone{Newest: 1 << 60}, List{}, List{Model: Digest{1}, Limit: 512},
		Offers{}, Offers{Sealed: [][]byte{{1, 2}, {3}}, AgesMS: []uint32{0, 24000}, Hints: []peer.AddrInfo{
			{ID: p, Addrs: []ma.Multiaddr{addr, ma.StringCast("/ip6/::1/udp/4001/quic-v1")}}}},
		Offers{Load: &Load{}}, Offers{Sealed: [][]byte{{1}}, AgesMS: []uint32{1}, Load: &Load{
			UptimeMS: 1, Sessions: 2, Queue: 3, CacheUsed: 4, CacheFree: 5, Tokens: 1 << 53, Replayed: 7, PrefixHits: 8, Steps: 9,
			LedgerAnswers: 10, PagesHanded: 11, Repairs: 12, DirectPushes: 13, ClientPushes: 14, Passes: 15, PassRows: 16}},
		Pledge{Model: Digest{3}, Layers: Span{2, 9}, ForMS: 120_000}, Pledged{}, Pledged{Yes: true},
		Info{}, Get{Length: 1}, Get{Hash: Digest{1}, Offset: 1 << 33, Length: MaxDataBytes},
		Data{Bytes: []byte{}}, Data{Total: 5, Bytes: []byte{1, 2, 3}},
	}
}

func TestMessages_SurviveTheRoundTrip(t *testing.T) {
	types := map[string]bool{}
	var stream bytes.Buffer
	all := goodMessages(t)
	for _, m := range all {
		w := &countingWriter{w: &stream}
		if err := WriteMessage(w, m); err != nil {
			t.Fatalf("%#v: %v", m, err)
		}
		if w.writes != 1 {
			t.Errorf("%T took %d writes, want 1", m, w.writes)
		}
		types[reflect.TypeOf(m).Name()] = true
	}
	if len(types) != 24 {
		t.Errorf("%d message types are tried, want all 24", len(types))
	}
	for _, want := range all {
		got, err := ReadMessage(&stream, testLimits)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%T came back different:\n got %.300v\nwant %.300v", want, got, want)
		}
	}
	if _, err := ReadMessage(&stream, testLimits); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

type countingWriter struct {
	w      io.Writer
	writes int
}

func (c *countingWriter) Write(b []byte) (int, error) { c.writes++; return c.w.Write(b) }

// frame puts a header and a body together without any check.
func frame(t testing.TB, head any, body []byte) []byte {
	t.Helper()
	h, ok := head.([]byte)
	if !ok {
		var err error
		if h, err = packMap(head); err != nil {
			t.Fatal(err)
		}
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(h)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	return append(append(b, h...), body...)
}

func TestReadMessage_RefusesWhatBreaksTheProtocol(t *testing.T) {
	key := make([]byte, 16)
	le := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return b
	}
	inf, one, two := math.Float32bits(float32(math.Inf(1))), math.Float32bits(1), math.Float32bits(2)
	open := func(change func(*header)) header {
		h := header{Type: "open", Session: key, Salt: key, End: 4, Pen: 1}
		change(&h)
		return h
	}
	for _, c := range []struct {
		name string
		head any
		body []byte
		want string
	}{
		{"no map", []byte{0xc0}, nil, "not a msgpack map"},
		{"an empty header", []byte{}, nil, "not a msgpack map"},
		{"bytes behind the map", append(frame(t, header{Type: "info"}, nil)[8:], 0), nil, "bytes behind"},
		{"a length of 4 GiB", []byte{0x81, 0xa1, 's', 0xc6, 0xff, 0xff, 0xff, 0xff}, nil, "past the end"},
		{"an array of 4 G", []byte{0x81, 0xa1, 'q', 0xdd, 0xff, 0xff, 0xff, 0xff}, nil, "past the end"},
		{"deep nesting", append([]byte{0x81, 0xa1, 'q'}, bytes.Repeat([]byte{0x91}, 100)...), nil, "nested"},
		{"an extension", []byte{0x81, 0xa1, 'q', 0xd4, 1, 1}, nil, "not a msgpack code"},
		{"a number as a key", []byte{0x81, 1, 1}, nil, "key is not a string"},
		{"a text for a number", map[string]any{"t": "step", "n": "x"}, nil, "step: decode"},
		{"a body where none belongs", header{Type: "info"}, []byte{1}, "a body of 1 bytes"},
		{"a body too short", header{Type: "step", Number: 1, IDs: 2}, le(1), "where the header makes it 8"},
		{"no ids", header{Type: "step", Number: 1}, nil, "ids is 0"},
		{"513 ids", header{Type: "step", Number: 1, IDs: 513}, make([]byte, 4*513), "ids is 513"},
		{"513 new ids", header{Type: "step", Number: 1, IDs: 1, NewIDs: 513}, make([]byte, 4*514), "new ids is 513"},
		{"an id beyond the vocabulary", header{Type: "step", Number: 1, IDs: 1}, le(1000), "outside the vocabulary"},
		{"step number 0", header{Type: "step", IDs: 1}, le(1), "number 0 through nobody"},
		{"a replay with a number", header{Type: "step", Number: 1, Through: []byte(mustPeer(t, testPeer)), IDs: 1}, le(1), "number 1 through"},
		{"a replay that wants a result", header{Type: "step", Through: []byte(mustPeer(t, testPeer)), Want: 1, IDs: 1}, le(1), "nothing is wanted"},
		{"through what is no peer", header{Type: "step", Through: []byte("nobody"), IDs: 1}, le(1), "through is not a peer id"},
		{"names beyond the context", open(func(h *header) { h.Names = 33 }), make([]byte, 32*33), "names is 33"},
		{"names of nobody", header{Type: "names", Session: key}, nil, "no owner"},
		{"a replay of nothing", header{Type: "replay", Position: 5, Until: 5, Through: []byte(mustPeer(t, testPeer))}, nil, "from is 5"},
		{"a replay through nobody", header{Type: "replay", Until: 5}, nil, "through nobody"},
		{"a hand-over to nobody", header{Type: "handover"}, nil, "offer is 0"},
		{"a page of 65 tokens", header{Type: "page", Owner: []byte(mustPeer(t, testPeer)), Session: key, Rows: 65, Bytes: 1}, []byte{1}, "tokens is 65"},
		{"a page of layer 4", header{Type: "page", Owner: []byte(mustPeer(t, testPeer)), Session: key, Rows: 1, Layer: 4, Bytes: 1}, []byte{1}, "layer 4"},
		{"a page too large", header{Type: "page", Owner: []byte(mustPeer(t, testPeer)), Session: key, Rows: 1, Bytes: 64*64*4 + 1}, make([]byte, 64*64*4+1), "bytes is"},
		{"page 32", header{Type: "page", Owner: []byte(mustPeer(t, testPeer)), Session: key, Index: 32, Rows: 1, Bytes: 1}, []byte{1}, "index is 32"},
		{"a negative number", map[string]any{"t": "step", "n": -1, "ids": 1}, le(1), "number is"},
		{"a position beyond the context", header{Type: "step", Number: 1, Position: 2048, IDs: 1}, le(1), "position is 2048"},
		{"new ids beyond the context", header{Type: "step", Number: 1, Position: 2047, IDs: 1, NewIDs: 2}, le(1, 1, 1), "position"},
		{"want 3", header{Type: "step", Number: 1, IDs: 1, Want: 3}, le(1), "want is 3"},
		{"an epoch of 33 bits", header{Type: "step", Epoch: 1 << 32, Number: 1, IDs: 1}, le(1), "epoch"},
		{"another width", header{Type: "push", Session: key, Number: 1, Rows: 1, Width: 65}, make([]byte, 132), "width is 65"},
		{"a padding that is not 0", header{Type: "push", Session: key, Number: 1, Rows: 1, Width: 64},
			append([]byte{0, 1}, make([]byte, 128)...), "padding"},
		{"a short session key", header{Type: "close", Session: key[:15]}, nil, "session has 15 bytes"},
		{"an empty span", open(func(h *header) { h.Start = 4 }), nil, "start is 4"},
		{"a span beyond the model", open(func(h *header) { h.End = 5 }), nil, "end is 5"},
		{"a prev that is no peer", open(func(h *header) { h.Prev = []byte("nobody") }), nil, "not a peer id"},
		{"a temperature that is not a number", open(func(h *header) { h.Temp = float32(math.NaN()) }), nil, "temperature"},
		{"top p 1.5", open(func(h *header) { h.TopP = 1.5 }), nil, "top p"},
		{"penalty 0 at the last hop", open(func(h *header) { h.Pen = 0; h.TopP = 1 }), nil, "penalty"},
		{"too many ids", open(func(h *header) { h.IDs = 2049 }), make([]byte, 4*2049), "ids is 2049"},
		{"a model of 31 bytes", open(func(h *header) { h.Model = make([]byte, 31) }), nil, "model has 31 bytes"},
		{"no candidate", header{Type: "result", Number: 1, Want: 1, Final: true}, nil, "candidates is 0"},
		{"candidates in two frames", header{Type: "result", Number: 1, Want: 1, Cands: 1}, le(1, one, one), "several frames"},
		{"a candidate twice", header{Type: "result", Number: 1, Want: 1, Final: true, Cands: 2}, le(1, one, one, 1, one, one), "twice"},
		{"candidates out of order", header{Type: "result", Number: 1, Want: 1, Final: true, Cands: 2}, le(1, one, one, 2, one, two), "out of order"},
		{"equals out of order", header{Type: "result", Number: 1, Want: 1, Final: true, Cands: 2}, le(2, one, one, 1, one, one), "out of order"},
		{"an infinite candidate", header{Type: "result", Number: 1, Want: 1, Final: true, Cands: 1}, le(1, one, inf), "not finite"},
		{"a candidate beyond the vocabulary", header{Type: "result", Number: 1, Want: 1, Final: true, Cands: 1}, le(1000, one, one), "vocabulary"},
		{"nine rows", header{Type: "result", Number: 1, Want: 2, Rows: 9, Width: 1000}, make([]byte, 36000), "rows is 9"},
		{"rows of another vocabulary", header{Type: "result", Number: 1, Want: 2, Rows: 1, Width: 999}, make([]byte, 3996), "vocabulary is 999"},
		{"an infinite logit", header{Type: "result", Number: 1, Want: 2, Rows: 1, Width: 1000}, append(le(inf), make([]byte, 3996)...), "not finite"},
		{"times of 65 hops", header{Type: "result", Number: 1, Final: true, Spent: make([]byte, 130)}, nil, "65 hops"},
		{"half a hop's times", header{Type: "result", Number: 1, Final: true, Spent: []byte{1, 2, 3}}, nil, "hop 1 is cut off"},
		{"a time without an end", header{Type: "result", Number: 1, Final: true, Spent: bytes.Repeat([]byte{0xff}, 20)}, nil, "hop 0 is cut off"},
		{"more than an hour", header{Type: "push", Session: key, Number: 1, Rows: 1, Width: 64,
			Spent: binary.AppendUvarint([]byte{0}, 3_600_000_001)}, make([]byte, 130), "above 1h0m0s"},
		{"more times than any chain has hops", header{Type: "result", Number: 1, Final: true, Spent: make([]byte, 1281)}, nil, "1281 bytes"},
		{"code 0", header{Type: "fail"}, nil, "code is 0"},
		{"an offer of 0 bytes", header{Type: "put"}, nil, "bytes is 0"},
		{"an offer of 2049 bytes", header{Type: "put", Bytes: 2049}, make([]byte, 2049), "bytes is 2049"},
		{"513 offers", header{Type: "offers", Count: 513, Bytes: 513}, nil, "offers is 513"},
		{"offers' lengths too small", header{Type: "offers", Count: 1, Bytes: 2}, append(le(0, 1), 1, 2), "behind the last offer"},
		{"offers' lengths too large", header{Type: "offers", Count: 1, Bytes: 2}, append(le(0, 3), 1, 2), "an offer of 3 bytes"},
		{"a hint without a peer", header{Type: "offers", Hints: 1, HintsB: 10},
			append([]byte{8, 0}, ma.StringCast("/ip4/1.2.3.4/tcp/1").Bytes()...), "names no peer"},
		{"a hint cut off", header{Type: "offers", Hints: 1, HintsB: 3}, []byte{9, 0, 1}, "cut off"},
		{"a load that is no map", map[string]any{"t": "offers", "ld": 7}, nil, "offers: decode"},
		{"a load of too many sessions", header{Type: "offers", Load: &loadRecord{Sessions: 1<<20 + 1}}, nil, "sessions is"},
		{"a load of more than a hundred years", header{Type: "offers", Load: &loadRecord{Uptime: maxUptimeMS + 1}}, nil, "uptime is"},
		{"a load of too many tokens", header{Type: "offers", Load: &loadRecord{Tokens: 1<<53 + 1}}, nil, "tokens is"},
		{"a load of negative steps", map[string]any{"t": "offers", "ld": map[string]int{"n": -1}}, nil, "steps is"},
		{"a load with more replayed than computed", header{Type: "offers", Load: &loadRecord{Tokens: 1, Replayed: 2}}, nil, "2 tokens were replayed"},
		{"a load with empty passes", header{Type: "offers", Load: &loadRecord{Passes: 2, PassRows: 1}}, nil, "2 passes had 1 rows"},
		{"a get of nothing", header{Type: "get"}, nil, "length is 0"},
		{"a get of 2 MiB", header{Type: "get", Length: 2 << 20}, nil, "length is"},
		{"data beyond its total", header{Type: "data", Total: 1, Bytes: 2}, []byte{1, 2}, "bytes is 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadMessage(bytes.NewReader(frame(t, c.head, c.body)), testLimits)
			var refused *FrameError
			if !errors.As(err, &refused) || refused.Code != CodeBadRequest || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a bad request with %q", err, c.want)
			}
		})
	}
}

func TestReadMessage_GoesOnBehindAnUnknownType(t *testing.T) {
	stream := append(frame(t, map[string]any{"t": "dance", "x": []int{1, 2}}, make([]byte, 100)),
		frame(t, map[string]any{"t": "info", "new key": map[string]int{"a": 1}}, nil)...)
	r := bytes.NewReader(stream)
	_, err := ReadMessage(r, testLimits)
	var refused *FrameError
	if !errors.As(err, &refused) || refused.Failure().Code != CodeUnsupported {
		t.Fatalf("got %v, want unsupported", err)
	}
	if m, err := ReadMessage(r, testLimits); err != nil || m != (Info{}) {
		t.Fatalf("then %v, %v, want the message behind it", m, err)
	}
}

func TestReadMessage_RefusesAnotherModelFirst(t *testing.T) {
	lim := testLimits
	lim.Model = Digest{1}
	var b bytes.Buffer
	if err := WriteMessage(&b, Open{Model: Digest{2}, Span: Span{30, 40}}); err != nil {
		t.Fatal(err)
	}
	_, err := ReadMessage(&b, lim)
	var refused *FrameError
	if !errors.As(err, &refused) || refused.Code != CodeOtherManifest {
		t.Fatalf("got %v, want other manifest", err)
	}
}

func TestReadMessage_AllocatesNothingForAClaim(t *testing.T) {
	for name, prefix := range map[string][]byte{
		"header": {0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0},
		"body":   {1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f},
	} {
		if _, err := ReadMessage(bytes.NewReader(prefix), testLimits); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestReadMessage_WithoutAModelTakesNoSession(t *testing.T) {
	for _, m := range goodMessages(t) {
		var b bytes.Buffer
		if err := WriteMessage(&b, m); err != nil {
			t.Fatal(err)
		}
		_, err := ReadMessage(&b, Limits{})
		switch m.(type) {
		case Open, Opened, Step, Push, Result, Heartbeat, Names, Replay, Replayed, Parting, HandOver, Page:
			if err == nil {
				t.Errorf("%T was taken", m)
			}
		default:
			if err != nil {
				t.Errorf("%T: %v", m, err)
			}
		}
	}
}

func TestReadMessage_SaysWhereTheStreamBroke(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMessage(&b, Put{Offer: []byte{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	for n := 1; n < len(whole); n++ {
		if _, err := ReadMessage(bytes.NewReader(whole[:n]), testLimits); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d of %d bytes: %v, want an unexpected end", n, len(whole), err)
		}
	}
}

func TestWriteMessage_RefusesABodyThatNobodyTakes(t *testing.T) {
	if err := WriteMessage(io.Discard, Data{Bytes: make([]byte, maxAnyBody+1)}); err == nil {
		t.Error("written")
	}
}

func TestCode_HasItsClassAndName(t *testing.T) {
	classes := map[Class]string{Again: "busy loading lost session", Elsewhere: "draining no such span other manifest no memory internal bad input",
		Never: "bad request context full forbidden unsupported"}
	for c := CodeBusy; c <= CodeBadInput; c++ {
		if !strings.Contains(classes[c.Class()], c.String()) {
			t.Errorf("%v is in class %v", c, c.Class())
		}
	}
	if c := Code(99); c.Class() != Elsewhere {
		t.Errorf("an unknown code is in class %v", c.Class())
	}
	var err error = Failure{Code: CodeNoMemory, Text: "12 tokens\nleft"}
	if got := err.Error(); got != "no memory: 12 tokens left" {
		t.Errorf("got %q", got)
	}
}

func TestCleanText_LeavesOnlyWhatCanBeShown(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                 "plain",
		"  two\t\nwords ":       "two words",
		"\x1b[31mred\x07":       "[31mred",
		"a\u202eb\u200bc":       "abc",
		"\xff\xfe ok":           "ok",
		"百川百川百川":                "百川百",
		"123456789":             "123456789",
		"1234567890 and so on?": "1234567890",
	} {
		if got := CleanText(in, 10); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, m := range goodMessages(f) {
		var b bytes.Buffer
		if err := WriteMessage(&b, m); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add(frame(f, map[string]any{"t": "dance", "x": []any{1, "y", nil, true, 1.5, map[string]any{}}}, nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		msg, err := ReadMessage(bytes.NewReader(in), testLimits)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteMessage(&b, msg); err != nil {
			t.Fatalf("read %#v, which can't be written: %v", msg, err)
		}
		again, err := ReadMessage(&b, testLimits)
		if err != nil {
			t.Fatalf("read %#v, which can't be read again: %v", msg, err)
		}
		if !reflect.DeepEqual(msg, again) {
			t.Fatalf("read %#v, then %#v", msg, again)
		}
	})
}
