package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// talk runs a chat over pipes and gives the lines that it printed.
func talk(t *testing.T, join, input string, args ...string) (out []string, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	args = append([]string{"chat", "--join", join, "--temperature", "0", "--max-tokens", "5", "--ignore-eos"}, args...)
	if code := run(t.Context(), args, strings.NewReader(input), &o, &e); code != 0 {
		t.Fatalf("chat: exit code %d: %s", code, e.String())
	}
	return strings.Split(strings.TrimSuffix(o.String(), "\n"), "\n"), e.String()
}

func TestChat_TalksOverPipes(t *testing.T) {
	if apart(t) {
		return
	}
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 3), "--name", "m")
	join := newProcesses(t).swarm(home, "m", 4, 2)
	file := filepath.Join(t.TempDir(), "chat.json")

	first, errOut := talk(t, join, fmt.Sprintf("你好\nhow are you?\n/stats\n/save %s\n", file))
	if len(first) != 2 || !strings.Contains(errOut, "layers 0:2") {
		t.Fatalf("two messages were answered by %q; /stats said %q", first, errOut)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var saved savedChat
	if err := json.Unmarshal(data, &saved); err != nil || len(saved.Messages) != 4 {
		t.Fatalf("/save wrote %s (%v)", data, err)
	}
	if saved.Messages[1].Role != "assistant" || saved.Messages[1].Content != first[0] {
		t.Errorf("the first answer was saved as %+v, printed as %q", saved.Messages[1], first[0])
	}

	again, _ := talk(t, join, "你好\nhow are you?\nand now?\n")
	loaded, _ := talk(t, join, fmt.Sprintf("/load %s\nand now?\n", file))
	if again[0] != first[0] || again[1] != first[1] || len(loaded) != 1 || loaded[0] != again[2] {
		t.Errorf("going on gave %q, loading and going on %q", again, loaded)
	}

	cleared, _ := talk(t, join, "something else\n/clear\n你好\n/exit\nnever asked\n")
	if len(cleared) != 2 || cleared[1] != first[0] {
		t.Errorf("after /clear: %q, want %q last and nothing after /exit", cleared, first[0])
	}
	system, _ := talk(t, join, "/system 你是诗人\n你好\n")
	flag, _ := talk(t, join, "你好\n", "--system", "你是诗人")
	if system[0] != flag[0] || system[0] == first[0] {
		t.Errorf("/system gave %q, --system %q, none %q", system[0], flag[0], first[0])
	}
	edited, _ := talk(t, join, "你好\nsomething else\n/edit how are you?\n/edit and now?\n")
	plain, _ := talk(t, join, "你好\nand now?\n")
	if len(edited) != 4 || edited[2] != first[1] || edited[3] != plain[1] {
		t.Errorf("with the last message edited twice: %q, want %q and %q last", edited, first[1], plain[1])
	}
	block, _ := talk(t, join, "\"\"\"\n你好\n\"\"\"\n")
	if len(block) != 1 || block[0] != first[0] {
		t.Errorf("a message of one line in quotes gave %q, want %q", block, first[0])
	}
}

func TestReadLines_QuotesJoinLines(t *testing.T) {
	plain := func(text string) input { return input{text: text} }
	quoted := func(text string) input { return input{text: text, quoted: true} }
	for name, c := range map[string]struct {
		in   string
		want []input
	}{
		"none":               {"a\n\n/b\n", []input{plain("a"), plain(""), plain("/b")}},
		"on their own lines": {"\"\"\"\na\n /b\n\"\"\" \nc\n", []input{quoted("a\n /b"), plain("c")}},
		"around the text":    {"\"\"\"a\n\nb\"\"\"\nc\n", []input{quoted("a\n\nb"), plain("c")}},
		"in one line":        {" \"\"\"/a\"\"\"\r\nc\n", []input{quoted("/a"), plain("c")}},
		"without an end":     {"\"\"\"\na\nb", []input{quoted("a\nb")}},
		"around nothing":     {"\"\"\"\n\"\"\"\n\"\"\"\"\"\"\n", []input{quoted(""), quoted("")}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []input
			p := &pipes{in: strings.NewReader(c.in)}
			closed, err := p.open(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer closed()
			for {
				m, err := p.next(t.Context())
				if err != nil {
					break
				}
				got = append(got, m)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestPlainText_KeepsATerminalFromBeingCommanded(t *testing.T) {
	var out bytes.Buffer
	const text = "你好\n\ta\x1b[2Jb\rc\u009bd\x7f"
	if n, err := (plainText{&out}).Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d bytes of %d: %v", n, len(text), err)
	}
	if got, want := out.String(), "你好\n\ta\ufffd[2Jb\ufffdc\ufffdd\ufffd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChat_RefusesInOneLine(t *testing.T) {
	home := newHome(t)
	mustCLI(t, "import", writeCheckpoint(t, "small-7b", 3), "--name", "m")
	join := newProcesses(t).swarm(home, "m", 4, 1)
	for input, words := range map[string]string{
		"/nonsense\n":               "/nonsense",
		"/save\n":                   "/save",
		"/load\n":                   "/load needs",
		"/edit\n":                   "/edit needs",
		"/edit x\n":                 "nothing has been said",
		"/load /nonexistent/chat\n": "/nonexistent/chat",
		"/stats\n":                  "no answer",
	} {
		var o, e bytes.Buffer
		code := run(t.Context(), []string{"chat", "--join", join}, strings.NewReader(input), &o, &e)
		if code != exitFailed || strings.Count(e.String(), "\n") != 1 || !strings.Contains(e.String(), words) {
			t.Errorf("%q: exit code %d, %q", input, code, e.String())
		}
	}
}
