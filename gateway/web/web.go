// Package web is the gateway's pages: the chat and the picture of the swarm. They are plain HTML, CSS and modules of
// JavaScript, embedded in the program as they lie here, without a build step.
//
// Whatever a model or a peer says is text, and is never executed: the headers that every page leaves with allow nothing
// but what lies here, neither inline nor from elsewhere, and let no HTML be made but through a sanitiser (Trusted Types).
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed *.html *.css *.js *.svg lib/markdown-it lib/dompurify lib/highlight.js
var embedded embed.FS

// Prefix is what the paths of all files but the pages begin with.
const Prefix = "/web/"

// Pages serves the pages and their files. It is safe for concurrent use.
type Pages struct {
	files map[string]*file // by path in the URL
}

// file is what is served at a path.
type file struct {
	kind   string
	tag    string // of the contents
	plain  []byte
	packed func() []byte
}

// New reads the embedded files.
func New() *Pages {
	p := &Pages{files: make(map[string]*file)}
	err := fs.WalkDir(embedded, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		at := Prefix + name
		if page, ok := strings.CutSuffix(name, ".html"); ok {
			at = "/" + page
		}
		p.files[at] = newFile(name, data)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("web: read the embedded files: %v", err)) // they are part of the program
	}
	p.files["/"] = p.files["/chat"]
	delete(p.files, "/chat")
	return p
}

func newFile(name string, data []byte) *file {
	sum := sha256.Sum256(data)
	f := &file{kind: kindOf(name), tag: hex.EncodeToString(sum[:8]), plain: data}
	f.packed = sync.OnceValue(func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(data) // a Buffer takes all
		_ = z.Close()
		return b.Bytes()
	})
	return f
}

// kindOf is a file's Content-Type. The system's table of them is not asked: it may call a module anything.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}

// Has says whether something is served at a path.
func (p *Pages) Has(path string) bool { return p.files[path] != nil }

// Serve answers a GET or HEAD request for a path that Has knows, and tells the status that it answered with. A browser
// asks each time whether what it has is still so: then a new program is never seen with an old one's pages.
func (p *Pages) Serve(w http.ResponseWriter, r *http.Request) (status int, err error) {
	f := p.files[r.URL.Path]
	h := w.Header()
	protect(h)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	tag, data := `"`+f.tag+`"`, f.plain
	packs := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if packs {
		tag = `"` + f.tag + `-gzip"`
	}
	h.Set("ETag", tag)
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified, nil
	}
	if packs {
		data = f.packed()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, err = w.Write(data)
	}
	return http.StatusOK, err
}

// policy is what a browser lets a page of ours do: nothing that does not come from here as a file.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types dompurify"

func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers that know no frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}
