package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Keys are those of a file with lines `NAME SHA256 [requests/s] [concurrent]`; empty lines, and what follows a #, say
// nothing. The file is read anew when it has changed: a key that is taken out of it is refused from the next request on.
// It is safe for concurrent use.
type Keys struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	byHash map[[sha256.Size]byte]*key // guarded by mu, as is all below
	seen   fs.FileInfo
	looked time.Time
}

// key is somebody who may ask.
type key struct {
	keyLine
	limiter *rate.Limiter // nil: no limit
	running atomic.Int64
}

// keyLine is a line of the file.
type keyLine struct {
	name       string
	hash       [sha256.Size]byte
	perSecond  float64 // requests; 0: no limit
	concurrent int     // requests at once; 0: no limit
}

// OpenKeys reads a file of keys. log is told when it can't be read anew: then the keys stay as they were.
func OpenKeys(path string, log *slog.Logger) (*Keys, error) {
	k := &Keys{path: path, log: log}
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// NewKey makes a key, and the line that lets it in. Nothing else can be made of the line than what it says.
func NewKey(name string) (secret, line string, err error) {
	if !keyName.MatchString(name) {
		return "", "", fmt.Errorf("name of a key %q: want 1 to 64 of letters, digits, '.', '_', '-' and '@'", name)
	}
	secret = "sk-bn-" + randomHex(24)
	hash := sha256.Sum256([]byte(secret))
	return secret, name + " " + hex.EncodeToString(hash[:]), nil
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

// ParseKeys reads a file of keys, and gives their names.
func ParseKeys(r io.Reader) ([]string, error) {
	lines, err := parseKeys(r)
	names := make([]string, len(lines))
	for i, l := range lines {
		names[i] = l.name
	}
	return names, err
}

func parseKeys(r io.Reader) ([]keyLine, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("more than %d bytes", maxKeyFile)
	}
	var lines []keyLine
	names, hashes := make(map[string]bool), make(map[[sha256.Size]byte]bool)
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; scanner.Scan(); n++ {
		text, _, _ := strings.Cut(scanner.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		line, err := parseKeyLine(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if names[line.name] || hashes[line.hash] || len(lines) == maxKeys {
			return nil, fmt.Errorf("line %d: %s is there already, or the file has more than %d keys", n, line.name, maxKeys)
		}
		names[line.name], hashes[line.hash] = true, true
		lines = append(lines, line)
	}
	return lines, scanner.Err()
}

func parseKeyLine(words []string) (l keyLine, err error) {
	if len(words) < 2 || len(words) > 4 {
		return l, fmt.Errorf("%d words, want NAME SHA256 [requests/s] [concurrent]", len(words))
	}
	l.name = words[0]
	if !keyName.MatchString(l.name) {
		return l, fmt.Errorf("name %q: want 1 to 64 of letters, digits, '.', '_', '-' and '@'", l.name)
	}
	if n, err := hex.Decode(l.hash[:], []byte(words[1])); err != nil || n != len(l.hash) || len(words[1]) != 2*n {
		return l, fmt.Errorf("%s: the hash has %d characters, want the 64 hex digits of a SHA-256", l.name, len(words[1]))
	}
	if len(words) > 2 {
		l.perSecond, err = strconv.ParseFloat(words[2], 64)
		if err != nil || math.IsNaN(l.perSecond) || l.perSecond < 0 || l.perSecond > maxRate {
			return l, fmt.Errorf("%s: %q requests a second, want a number, or 0 for no limit", l.name, words[2])
		}
	}
	if len(words) > 3 {
		if l.concurrent, err = strconv.Atoi(words[3]); err != nil || l.concurrent < 0 {
			return l, fmt.Errorf("%s: %q requests at once, want a number, or 0 for no limit", l.name, words[3])
		}
	}
	return l, nil
}

// load reads the file. Keys whose lines have not changed keep their limits' state.
func (k *Keys) load() error {
	f, err := os.Open(k.path)
	if err != nil {
		return fmt.Errorf("read the API keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the API keys: %w", err)
	}
	k.seen = info
	lines, err := parseKeys(f)
	if err != nil {
		return fmt.Errorf("read the API keys %s: %w", k.path, err)
	}
	byHash := make(map[[sha256.Size]byte]*key, len(lines))
	for _, l := range lines {
		if old := k.byHash[l.hash]; old != nil && old.keyLine == l {
			byHash[l.hash] = old
			continue
		}
		n := &key{keyLine: l}
		if l.perSecond > 0 {
			n.limiter = rate.NewLimiter(rate.Limit(l.perSecond), max(1, int(math.Ceil(l.perSecond))))
		}
		byHash[l.hash] = n
	}
	k.byHash = byHash
	return nil
}

// find gives who has a secret, nil if nobody.
func (k *Keys) find(secret string) *key {
	hash := sha256.Sum256([]byte(secret)) // which byte of it differs, no clock tells
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= keysEvery {
		k.looked = now
		info, err := os.Stat(k.path)
		if err == nil && !(os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime()) && info.Size() == k.seen.Size()) {
			err = k.load()
		}
		if err != nil {
			k.log.Warn("the keys stay as they were", "error", err)
		}
	}
	return k.byHash[hash]
}

// salt keeps one key's cached prefixes apart from another's: a hit tells that somebody has sent that text.
func (k *key) salt() (salt [16]byte) {
	if k == nil {
		return salt
	}
	hash := sha256.Sum256(append([]byte("baichuan-gateway-salt/1"), k.hash[:]...))
	copy(salt[:], hash[:])
	return salt
}

// authorize finds whose request it is, and counts it against that key's limits until release is called.
func (s *Server) authorize(c *call) (release func(), err error) {
	none := func() {}
	path := c.r.URL.Path
	if s.cfg.Keys == nil || path != "/metrics" && !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/api/") {
		return none, nil
	}
	kind, secret, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if strings.EqualFold(kind, "Bearer") {
		c.key = s.cfg.Keys.find(strings.TrimSpace(secret))
	}
	if c.key == nil {
		return none, refuse(http.StatusUnauthorized, "invalid_api_key", "", "Incorrect or missing API key: send it as Authorization: Bearer KEY")
	}
	if path == "/metrics" {
		return none, nil // whoever watches us is not to be kept from it by what it watches
	}
	return c.key.admit(time.Now())
}

// admit holds a request against the key's limits.
func (k *key) admit(now time.Time) (release func(), err error) {
	if n := k.running.Add(1); k.concurrent > 0 && n > int64(k.concurrent) {
		k.running.Add(-1)
		return func() {}, tooMany(time.Second, "%s: %d requests run already, as many as this key may have", k.name, k.concurrent)
	}
	release = func() { k.running.Add(-1) }
	if k.limiter != nil {
		r := k.limiter.ReserveN(now, 1)
		if wait := r.DelayFrom(now); wait > 0 {
			r.CancelAt(now)
			release()
			return func() {}, tooMany(max(wait, time.Second), "%s: more than %v requests a second", k.name, k.perSecond)
		}
	}
	return release, nil
}
