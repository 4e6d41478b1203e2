package routing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/baichuan-node/baichuan-node/protocol"
)

// FetchBlob fetches the blob with a hash from the first of peers that sends it, and verifies it. It takes at most limit
// bytes from any of them. One that is slow or hangs does not hold up the next. The error has one reason for each peer.
func FetchBlob(ctx context.Context, h host.Host, peers []peer.ID, hash protocol.Digest, limit int64) ([]byte, error) {
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		peer int
		blob []byte
		err  error
	}
	results := make(chan result, len(peers))
	reasons := make([]string, len(peers))
	patience := time.NewTimer(0) // for those that were asked, before the next one is asked as well
	defer patience.Stop()
	next, asked := 0, 0
	for next < len(peers) || asked > 0 {
		select {
		case <-patience.C:
			if next == len(peers) {
				continue
			}
			i := next
			next, asked = next+1, asked+1
			go func() {
				blob, err := fetchFrom(all, h, peers[i], hash, limit)
				results <- result{i, blob, err}
			}()
			patience.Reset(askNext)
		case r := <-results:
			asked--
			if r.err == nil {
				cancel()
				for ; asked > 0; asked-- {
					<-results
				}
				return r.blob, nil
			}
			reasons[r.peer] = fmt.Sprintf("peer %s: %v", peers[r.peer], r.err)
			patience.Reset(0)
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("fetch %s: %w", hash, ctx.Err())
	case len(peers) == 0:
		return nil, fmt.Errorf("fetch %s: there is no peer to ask", hash)
	}
	return nil, fmt.Errorf("fetch %s: %s", hash, strings.Join(reasons, "; "))
}

// fetchFrom fetches a blob from one peer, piece by piece on one stream. Nothing is allocated for the size that the peer
// claims: the buffer grows with what arrives.
func fetchFrom(ctx context.Context, h host.Host, id peer.ID, hash protocol.Digest, limit int64) ([]byte, error) {
	st := NewBlobStream(h, id)
	defer st.Close()
	var b bytes.Buffer
	for total := int64(1); int64(b.Len()) < total; {
		data, err := st.Get(ctx, hash, int64(b.Len()), protocol.MaxDataBytes)
		switch {
		case err != nil:
			return nil, err
		case data.Total > limit:
			return nil, fmt.Errorf("%d bytes are above the limit of %d", data.Total, limit)
		case int64(len(data.Bytes)) != min(data.Total-int64(b.Len()), protocol.MaxDataBytes), b.Len() > 0 && data.Total != total:
			return nil, errors.New("it sends pieces that don't fit together")
		}
		total = data.Total
		b.Write(data.Bytes)
	}
	if sha256.Sum256(b.Bytes()) != hash {
		return nil, errors.New("what it sent has another hash")
	}
	return b.Bytes(), nil
}
