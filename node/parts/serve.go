package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
	"github.com/baichuan-node/baichuan-node/routing"
	"github.com/baichuan-node/baichuan-node/shard/store"
)

// Server hands out what this machine has of a model: its manifest, its tokenizer, and the parts that are here by now, whether
// they are loaded or not. It is safe for concurrent use.
type Server struct {
	id        protocol.Digest
	raw       []byte
	tokenizer []byte
	words     protocol.Digest // the tokenizer's hash
	chunks    map[protocol.Digest][]place
	uplink    *Uplink
	turns     turns
	stop      func()
	sent      atomic.Int64

	mu     sync.Mutex
	live   func() bool // guarded by mu, as all below
	model  *store.Model
	read   time.Time               // when model was
	files  map[int]*store.PartFile // that are open
	closed bool
}

// place is where a chunk lies.
type place struct {
	part         int
	offset, size int64
}

// Serve begins to hand out a model: at the uplink's pace, a piece at a time while sessions live, and in turns where several
// ask. The caller closes it, before the host.
func Serve(h host.Host, m *store.Model, uplink *Uplink) (*Server, error) {
	words, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	s := &Server{
		id: protocol.Digest(m.ID), raw: m.Raw, tokenizer: words, words: sha256.Sum256(words), chunks: chunksOf(m.Manifest),
		uplink: uplink, live: func() bool { return false }, model: m, read: time.Now(), files: map[int]*store.PartFile{},
	}
	s.turns = turns{asking: map[peer.ID]*turnOwner{}, slots: s.slots}
	s.stop = routing.ServeBlobs(h, routing.Blobs{Find: s.find, Turn: s.turn, Whole: s.whole})
	return s, nil
}

// chunksOf says where the chunks of a model are. Its strings are hashes: the manifest has been checked.
func chunksOf(m *store.Manifest) map[protocol.Digest][]place {
	all := map[protocol.Digest][]place{}
	for i, p := range m.Parts {
		for c := range p.Chunks {
			at := int64(c) * store.ChunkSize
			hash := chunkHash(p, c)
			all[hash] = append(all[hash], place{i, at, min(store.ChunkSize, p.Size-at)})
		}
	}
	return all
}

func chunkHash(p store.Part, chunk int) (hash protocol.Digest) {
	_, _ = hex.Decode(hash[:], []byte(p.Chunks[chunk]))
	return hash
}

// Close ends the handing out and waits for what is under way.
func (s *Server) Close() error {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for part, f := range s.files {
		errs = append(errs, f.Close())
		delete(s.files, part)
	}
	return errors.Join(errs...)
}

// Uplink is the pace of all that leaves in bulk: for whoever sends more than parts.
func (s *Server) Uplink() *Uplink { return s.uplink }

// Sent is the bytes of parts that have been handed out.
func (s *Server) Sent() int64 { return s.sent.Load() }

// Live has the server ask live whether sessions live on this machine: then it stands aside for them.
func (s *Server) Live(live func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = live
}

func (s *Server) isLive() bool {
	s.mu.Lock()
	live := s.live
	s.mu.Unlock()
	return live()
}

// slots is how many pieces are on their way at a time. Where the owner's cap is the limit there are few: whose turn it is would
// not be decided here, but by who asks most often.
func (s *Server) slots() int {
	switch {
	case s.isLive():
		return 1
	case s.uplink.capped():
		return cappedSlots
	}
	return idleSlots
}

// find gives a blob of the model.
func (s *Server) find(hash protocol.Digest) (routing.Blob, bool) {
	switch hash {
	case s.id:
		return routing.Small(s.raw), true
	case s.words:
		return routing.Small(s.tokenizer), true
	}
	for _, p := range s.chunks[hash] {
		if f, ok := s.open(p.part); ok {
			return routing.Blob{SectionReader: io.NewSectionReader(f, p.offset, p.size), Bulk: true}, true
		}
	}
	return routing.Blob{}, false
}

// open gives the file of a part that is here.
func (s *Server) open(part int) (io.ReaderAt, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[part]; f != nil {
		return f, true
	}
	if s.closed {
		return nil, false
	}
	if !s.model.Has(part) {
		if time.Since(s.read) < reopenEvery {
			return nil, false
		}
		s.read = time.Now()
		now, err := s.model.Reopen()
		if err != nil || !now.Has(part) {
			return nil, false // removed meanwhile, or never here: to others that is the same
		}
		s.model = now
	}
	f, err := s.model.OpenPart(part)
	if err != nil {
		return nil, false
	}
	s.files[part] = f
	return f, true
}

// Arrived tells that the model has more parts now.
func (s *Server) Arrived(m *store.Model) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.model, s.read = m, time.Now()
}

// turn waits until a piece of a chunk may go to a peer.
func (s *Server) turn(ctx context.Context, who peer.ID, bytes int) (most int, done func(), err error) {
	live := s.isLive()
	most = s.uplink.piece(bytes, live)
	waiting, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	release, err := s.turns.take(waiting, who, most)
	if err != nil {
		return 0, nil, err
	}
	if err := s.uplink.Wait(waiting, most); err != nil {
		release()
		return 0, nil, err
	}
	if live {
		time.Sleep(livePause)
	}
	s.sent.Add(int64(most))
	return most, hold(release), nil
}

// whole waits until a piece of the manifest or the tokenizer may go to a peer. They are small, but who asks for them over and
// over takes more than the owner gives; so they leave at the uplink's pace, in turns with the parts. As much as a newcomer
// needs goes at once where the uplink has been free for as long as that takes. Without a cap nothing waits.
func (s *Server) whole(ctx context.Context, who peer.ID, bytes int) (done func(), err error) {
	if !s.uplink.capped() {
		return func() {}, nil
	}
	waiting, cancel := context.WithTimeout(ctx, wholeWait)
	defer cancel()
	release, err := s.turns.take(waiting, who, bytes)
	if err != nil {
		return nil, err
	}
	if err := s.uplink.wait(waiting, bytes, len(s.raw)+len(s.tokenizer)); err != nil {
		release()
		return nil, err
	}
	return hold(release), nil
}

// hold gives a turn back when its receiver asks for more, or has had time enough: written is not arrived.
func hold(release func()) (done func()) {
	timer := time.AfterFunc(turnHeld, release)
	return func() { timer.Stop(); release() }
}
