package routing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// ServeBlobs answers requests for blobs by hash: what a client needs to know of a model, its manifest and its tokenizer.
// find returns a blob's bytes, which must not change. Call stop before closing the host; it waits for the streams.
func ServeBlobs(h host.Host, find func(protocol.Digest) ([]byte, bool)) (stop func()) {
	s := serve(h, protocol.PartsID, "baichuan.parts", func(st network.Stream) error { return answerGets(st, find) })
	return s.close
}

// answerGets answers the requests of one stream until its end.
func answerGets(st network.Stream, find func(protocol.Digest) ([]byte, bool)) error {
	if err := st.Scope().ReserveMemory(protocol.MaxDataBytes, network.ReservationPriorityMedium); err != nil {
		return protocol.WriteMessage(st, protocol.Failure{Code: protocol.CodeBusy, Text: "no memory for another stream"})
	}
	for range maxGets {
		if err := st.SetDeadline(time.Now().Add(blobTimeout)); err != nil {
			return err
		}
		msg, err := protocol.ReadMessage(st, protocol.Limits{})
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return refuse(st, err)
		}
		get, ok := msg.(protocol.Get)
		if !ok {
			return protocol.WriteMessage(st, protocol.Failure{Code: protocol.CodeUnsupported, Text: fmt.Sprintf("%T is not for this stream", msg)})
		}
		if err := protocol.WriteMessage(st, answerGet(get, find)); err != nil {
			return err
		}
	}
	return protocol.WriteMessage(st, protocol.Failure{Code: protocol.CodeBusy, Text: "too many requests on one stream"})
}

// answerGet makes the answer to a Get.
func answerGet(get protocol.Get, find func(protocol.Digest) ([]byte, bool)) any {
	blob, ok := find(get.Hash)
	if !ok {
		return protocol.Failure{Code: protocol.CodeOtherManifest, Text: "there is no " + get.Hash.String() + " here"}
	}
	from := min(get.Offset, int64(len(blob)))
	to := min(from+int64(get.Length), int64(len(blob)))
	return protocol.Data{Total: int64(len(blob)), Bytes: blob[from:to]}
}

// refuse answers a frame that could not be read, if that is the sender's fault.
func refuse(w io.Writer, err error) error {
	var bad *protocol.FrameError
	if !errors.As(err, &bad) {
		return err
	}
	return protocol.WriteMessage(w, bad.Failure())
}

// FetchBlob fetches the blob with a hash from the first of peers that has it, and verifies it. It takes at most limit
// bytes from any of them. The error has one reason for each peer.
func FetchBlob(ctx context.Context, h host.Host, peers []peer.ID, hash protocol.Digest, limit int64) ([]byte, error) {
	var reasons []string
	for _, id := range peers {
		blob, err := fetchFrom(ctx, h, id, hash, limit)
		if err == nil {
			return blob, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("fetch %s: %w", hash, ctx.Err())
		}
		reasons = append(reasons, fmt.Sprintf("peer %s: %v", id, err))
	}
	if len(reasons) == 0 {
		return nil, fmt.Errorf("fetch %s: there is no peer to ask", hash)
	}
	return nil, fmt.Errorf("fetch %s: %s", hash, strings.Join(reasons, "; "))
}

// fetchFrom fetches a blob from one peer, piece by piece on one stream. Nothing is allocated for the size that the peer
// claims: the buffer grows with what arrives.
func fetchFrom(ctx context.Context, h host.Host, id peer.ID, hash protocol.Digest, limit int64) (blob []byte, err error) {
	dial, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := h.NewStream(network.WithAllowLimitedConn(dial, "blob"), id, protocol.PartsID)
	if err != nil {
		return nil, oneLine(err)
	}
	defer st.Reset() // after CloseWrite the peer has seen the end already
	stop := context.AfterFunc(ctx, func() { _ = st.SetDeadline(time.Now()) })
	defer stop()
	var b bytes.Buffer
	for total := int64(1); int64(b.Len()) < total; {
		data, err := nextPiece(ctx, st, hash, int64(b.Len()))
		switch {
		case err != nil:
			return nil, oneLine(err)
		case data.Total > limit:
			return nil, fmt.Errorf("%d bytes are above the limit of %d", data.Total, limit)
		case int64(len(data.Bytes)) != min(data.Total-int64(b.Len()), protocol.MaxDataBytes), b.Len() > 0 && data.Total != total:
			return nil, errors.New("it sends pieces that don't fit together")
		}
		total = data.Total
		b.Write(data.Bytes)
	}
	_ = st.CloseWrite()
	if sha256.Sum256(b.Bytes()) != hash {
		return nil, errors.New("what it sent has another hash")
	}
	return b.Bytes(), nil
}

// nextPiece asks for the bytes from offset on.
func nextPiece(ctx context.Context, st network.Stream, hash protocol.Digest, offset int64) (protocol.Data, error) {
	if err := st.SetDeadline(time.Now().Add(blobTimeout)); err != nil {
		return protocol.Data{}, err
	}
	if err := ctx.Err(); err != nil { // its own deadline may just have been overwritten
		return protocol.Data{}, err
	}
	answer, err := exchange(st, protocol.Get{Hash: hash, Offset: offset, Length: protocol.MaxDataBytes})
	if err != nil {
		return protocol.Data{}, err
	}
	data, ok := answer.(protocol.Data)
	if !ok {
		return protocol.Data{}, fmt.Errorf("it answers with %T", answer)
	}
	return data, nil
}
