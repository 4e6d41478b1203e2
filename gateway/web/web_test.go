package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// get asks for a path.
func get(t *testing.T, p *Pages, method, path string, header http.Header) *http.Response {
	t.Helper()
	if !p.Has(path) {
		t.Fatalf("nothing is at %s", path)
	}
	r := httptest.NewRequest(method, path, nil)
	r.Header = header
	w := httptest.NewRecorder()
	status, err := p.Serve(w, r)
	if err != nil || status != w.Code {
		t.Fatalf("%s: told status %d, answered %d (%v)", path, status, w.Code, err)
	}
	return w.Result()
}

func body(t *testing.T, r io.Reader) []byte {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPages_AllowNothingButTheirOwnFiles(t *testing.T) {
	p := New()
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/swarm": "text/html; charset=utf-8", "/web/base.css": "text/css; charset=utf-8",
		"/web/chat.js": "text/javascript; charset=utf-8", "/web/lib/dompurify/purify.es.mjs": "text/javascript; charset=utf-8",
		"/web/icon.svg": "image/svg+xml", "/web/lib/dompurify/LICENSE": "text/plain; charset=utf-8",
	} {
		r := get(t, p, http.MethodGet, path, nil)
		csp := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http:") || strings.Contains(csp, "data:") || strings.Contains(csp, "*") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
		if got := r.Header.Get("Content-Type"); got != kind || r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, r.Header)
		}
		if len(body(t, r.Body)) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	for _, path := range []string{"/chat", "/web/", "/web/web.go", "/web/chat.html", "/web/lib", "/web/lib/package.json", "/web/../web.go"} {
		if p.Has(path) {
			t.Errorf("something is at %s", path)
		}
	}
}

func TestPages_AreSentOnceAndPacked(t *testing.T) {
	p := New()
	plain := get(t, p, http.MethodGet, "/web/base.css", nil)
	want := body(t, plain.Body)
	packed := get(t, p, http.MethodGet, "/web/base.css", http.Header{"Accept-Encoding": {"br, gzip"}})
	z, err := gzip.NewReader(packed.Body)
	if err != nil || packed.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v (%v)", packed.Header, err)
	}
	if got := body(t, z); !bytes.Equal(got, want) {
		t.Errorf("%d bytes are packed, %d plain", len(got), len(want))
	}
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
		t.Errorf("packed and plain have one tag: %s", plain.Header.Get("ETag"))
	}
	for _, r := range []*http.Response{plain, packed} {
		again := http.Header{"If-None-Match": {r.Header.Get("ETag")}}
		if r == packed {
			again.Set("Accept-Encoding", "gzip")
		}
		if r := get(t, p, http.MethodGet, "/web/base.css", again); r.StatusCode != http.StatusNotModified || len(body(t, r.Body)) > 0 {
			t.Errorf("asked again: %d", r.StatusCode)
		}
	}
	if r := get(t, p, http.MethodHead, "/", nil); r.Header.Get("Content-Length") == "0" || len(body(t, r.Body)) > 0 {
		t.Errorf("HEAD: %v", r.Header)
	}
}

// What the policy would refuse, and what would only be noticed in a browser.
func TestPages_AskForNothingThatIsNotThere(t *testing.T) {
	p := New()
	reference := regexp.MustCompile(`(?:(?:href|src)="|(?:from|import) ")([^"#$]+)`)
	inline := regexp.MustCompile(`<style|<script>|\son[a-z]+="|\sstyle="`)
	unsafe := regexp.MustCompile(`\.(innerHTML|outerHTML|insertAdjacentHTML)|\beval\(|new Function|document\.write`)
	names, err := filepath.Glob("*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		kind := filepath.Ext(name)
		if kind != ".html" && kind != ".js" {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reference.FindAllSubmatch(data, -1) {
			path := string(m[1])
			if rest, ok := strings.CutPrefix(path, "./"); ok {
				path = Prefix + rest
			}
			if !p.Has(path) {
				t.Errorf("%s refers to %s, where nothing is", name, path)
			}
		}
		if found := inline.Find(data); kind == ".html" && found != nil {
			t.Errorf("%s has %q, which the policy refuses", name, found)
		}
		if found := unsafe.Find(data); found != nil && name != "markdown.js" {
			t.Errorf("%s has %q: text becomes part of a page as text alone", name, found)
		}
	}
}

// The libraries' files, as they are called in npm's packages.
func TestLibraries_AreWhatTheLockNames(t *testing.T) {
	const modules = "lib/node_modules"
	if _, err := os.Stat(modules); err != nil {
		t.Skip("this machine lacks the libraries' packages: npm ci --prefix gateway/web/lib")
	}
	from := map[string]string{
		"markdown-it/markdown-it.esm.min.mjs": "markdown-it/dist/browser/markdown-it.esm.min.mjs",
		"markdown-it/LICENSE":                 "markdown-it/LICENSE",
		"markdown-it/LICENSE.entities":        "entities/LICENSE", // these are parts of markdown-it's file
		"markdown-it/LICENSE.linkify-it":      "linkify-it/LICENSE",
		"markdown-it/LICENSE.mdurl":           "mdurl/LICENSE",
		"markdown-it/LICENSE.punycode.js":     "punycode.js/LICENSE-MIT.txt",
		"markdown-it/LICENSE.uc.micro":        "uc.micro/LICENSE.txt",
		"dompurify/purify.es.mjs":             "dompurify/dist/purify.es.mjs",
		"dompurify/LICENSE":                   "dompurify/LICENSE",
		"highlight.js/highlight.min.js":       "@highlightjs/cdn-assets/es/highlight.min.js",
		"highlight.js/LICENSE":                "@highlightjs/cdn-assets/LICENSE",
	}
	files, err := filepath.Glob("lib/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimPrefix(filepath.ToSlash(file), "lib/")
		if strings.HasPrefix(name, "node_modules/") {
			continue
		}
		source, known := from[name]
		if !known {
			t.Errorf("lib/%s is no file of the packages'", name)
			continue
		}
		delete(from, name)
		here, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		there, err := os.ReadFile(filepath.Join(modules, filepath.FromSlash(source)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(here, there) {
			t.Errorf("lib/%s is not %s of npm's package: copy it", name, source)
		}
	}
	for name := range from {
		t.Errorf("lib/%s is missing", name)
	}
}
