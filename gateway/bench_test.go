package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baichuan-node/baichuan-node/shard/bundled"
)

// BenchmarkFirstByte measures what a streamed answer's first byte takes beyond the model's own first token: reading the
// request, the prompt's tokens, and the way through HTTP. ms-beyond is to stay below 5.
func BenchmarkFirstByte(b *testing.B) {
	for _, words := range []int{1, 500} {
		b.Run(fmt.Sprintf("%d words", words), func(b *testing.B) {
			m := bundledModel(b, bundled.Chat)
			f := newFront(b, Config{Models: []Model{m}})
			body := f.body(map[string]any{"messages": user(strings.Repeat("你好 ", words)), "stream": true, "max_tokens": 1})
			var computing, whole time.Duration
			m.timed = func(d time.Duration) { computing += d }
			for b.Loop() {
				started := time.Now()
				r, err := http.Post(f.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				reader := bufio.NewReader(r.Body)
				if line, err := reader.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: {") {
					b.Fatalf("%q, %v", line, err)
				}
				whole += time.Since(started)
				if _, err := io.Copy(io.Discard, reader); err != nil {
					b.Fatal(err)
				}
				r.Body.Close()
			}
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
			b.ReportMetric(ms(computing), "ms-model")
			b.ReportMetric(ms(whole-computing), "ms-beyond")
		})
	}
}
