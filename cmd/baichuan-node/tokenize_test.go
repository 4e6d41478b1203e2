package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// testTokenizer is load as newTokenizeCommand wants it: a file of the tokenizer's own testdata.
func testTokenizer(file string) (*tokenizer.Tokenizer, tokenizer.Roles, error) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "shard", "tokenizer", "testdata", file))
	if err != nil {
		return nil, tokenizer.Roles{}, err
	}
	tok, err := tokenizer.Load(raw)
	return tok, tokenizer.Roles{User: 195, Assistant: 196, BOS: 1}, err
}

// tokenize runs the command.
func tokenize(stdin io.Reader, args ...string) (string, error) {
	cmd := newTokenizeCommand(testTokenizer)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetIn(stdin)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func TestTokenize_Forms(t *testing.T) {
	const model = "bpe-4096.model"
	hello := "[1347]\n"
	for _, c := range []struct {
		name  string
		stdin string
		args  []string
		want  string
	}{
		{"text", "", []string{"hello"}, hello},
		{"standard input", "hello", nil, hello},
		{"a final newline is part of the input", "hello\n", nil, "[1347,227]\n"},
		{"bytes that are not UTF-8", "\xff", nil, "[456,408,406]\n"},
		{"an empty text", "never read", []string{""}, "[]\n"},
		{"text that looks like a flag", "", []string{"--pieces", "--", "-"}, "[\"-\"]\n"},
		{"pieces", "", []string{"--pieces", " hello<"}, "[\"▁he\",\"l\",\"lo\",\"<\"]\n"},
		{"special", "", []string{"--special", "<reserved_106>"}, "[195]\n"},
		{"decode a JSON list", "", []string{"--decode", "[1347, 195]"}, "hello<reserved_106>\n"},
		{"decode from standard input", "[\n1347,\n227]\n", []string{"--decode"}, "hello\n\n"},
		{"decode words", "1347 1347,1347", []string{"--decode"}, "hellohellohello\n"},
		{"decode nothing", "[]", []string{"--decode"}, "\n"},
		{"lines", "\"hello\"\r\n\n\"\"\n{\"b64\":\"/w==\"}", []string{"--jsonl"}, "[1347]\n[]\n[456,408,406]\n"},
		{"lines of pieces", "\"hello\"\n", []string{"--jsonl", "--pieces"}, "[\"hello\"]\n"},
		{"decode lines", "[1347,195]\n[]\n", []string{"--jsonl", "--decode"}, "\"hello<reserved_106>\"\n\"\"\n"},
		{"lines in TEXT", "", []string{"--jsonl", `"hello"`}, hello},
		{"chat", "", []string{"--chat", "hello"}, "[195,1347,196]\n"},
		{"chat of what only begins like messages", "", []string{"--chat", "--pieces", "[1]"},
			"[\"<reserved_106>\",\"[\",\"1\",\"]\",\"<reserved_107>\"]\n"},
		{"chat of messages", `[{"role":"user","content":"hello"},{"role":"assistant","content":"hello"}]`, []string{"--chat"}, "[195,1347,196,1347]\n"},
		{"chat by lines", "\"hello\"\n[{\"role\":\"user\",\"content\":\"hello\"}]\n\"[]\"\n", []string{"--chat", "--jsonl", "--pieces"},
			"[\"<reserved_106>\",\"hello\",\"<reserved_107>\"]\n[\"<reserved_106>\",\"hello\",\"<reserved_107>\"]\n[\"<reserved_106>\",\"[\",\"]\",\"<reserved_107>\"]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := tokenize(strings.NewReader(c.stdin), append([]string{model}, c.args...)...)
			if err != nil || got != c.want {
				t.Errorf("%v: %q %v, want %q", c.args, got, err, c.want)
			}
		})
	}
}

func TestTokenize_Errors(t *testing.T) {
	for _, c := range []struct {
		stdin string
		args  []string
		usage bool
		want  string
	}{
		{"", []string{}, true, "accepts between 1 and 2"},
		{"", []string{"a", "b", "c"}, true, "accepts between 1 and 2"},
		{"", []string{"bpe-4096.model", "--decode", "--pieces"}, true, "--pieces"},
		{"", []string{"bpe-4096.model", "--decode", "--chat"}, true, "--chat"},
		{"", []string{"bpe-4096.model", "--special", "--chat"}, true, "--special"},
		{"", []string{"none.model", "x"}, false, "none.model"},
		{"", []string{"bpe-4096.model", "--decode", "[4096]"}, false, "token 4096 is beyond the vocabulary of 4096"},
		{"", []string{"bpe-4096.model", "--decode", "[-1]"}, false, `"-1" is not a token id`},
		{"", []string{"bpe-4096.model", "--decode", "[4294967296]"}, false, `"4294967296" is not a token id`},
		{"", []string{"bpe-4096.model", "--decode", "[1"}, false, "no end"},
		{"[1]\n[5000]\n", []string{"bpe-4096.model", "--decode", "--jsonl"}, false, "line 2: token 5000 is beyond"},
		{"\"a\"\n\n\"b\n", []string{"bpe-4096.model", "--jsonl"}, false, "line 3: read a JSON string"},
		{"{\"b64\":\"*\"}\n", []string{"bpe-4096.model", "--jsonl"}, false, "line 1: want a JSON string"},
		{"{}\n", []string{"bpe-4096.model", "--jsonl"}, false, "line 1: want a JSON string"},
		{"", []string{"bpe-4096.model", "--chat", "[]"}, false, "no messages"},
		{"", []string{"bpe-4096.model", "--chat", `[{"role":"x","content":""}]`}, false, `role "x"`},
		{"", []string{"bpe-4096.model", "--chat", `[{"role":5}]`}, false, "read the messages"},
	} {
		_, err := tokenize(strings.NewReader(c.stdin), c.args...)
		var usage usageError
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &usage) != c.usage {
			t.Errorf("%v: %v (usage %v), want %q (usage %v)", c.args, err, errors.As(err, &usage), c.want, c.usage)
		}
	}
}

// TestTokenize_Vectors sends what the SentencePiece library answered through the command, one process for all lines.
func TestTokenize_Vectors(t *testing.T) {
	raw, err := os.ReadFile("../../shard/tokenizer/testdata/bpe-4096.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			Kind, Text, Decoded string
			Bytes               []byte `json:"text_b64"`
			IDs                 []uint32
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	var texts, lists, wantIDs, wantTexts strings.Builder
	for _, v := range file.Vectors {
		ids, _ := json.Marshal(v.IDs)
		fmt.Fprintf(&lists, "%s\n", ids)
		if err := newJSONLines(&wantTexts).Encode(v.Decoded); err != nil {
			t.Fatal(err)
		}
		switch v.Kind {
		case "encode":
			text, _ := json.Marshal(v.Text)
			fmt.Fprintf(&texts, "%s\n", text)
		case "encode_bytes":
			fmt.Fprintf(&texts, "{\"b64\":%q}\n", base64.StdEncoding.EncodeToString(v.Bytes))
		default:
			continue
		}
		fmt.Fprintf(&wantIDs, "%s\n", ids)
	}
	if got, err := tokenize(strings.NewReader(texts.String()), "bpe-4096.model", "--jsonl", "--special"); err != nil || got != wantIDs.String() {
		t.Errorf("ids differ (%v)", err)
	}
	if got, err := tokenize(strings.NewReader(lists.String()), "bpe-4096.model", "--jsonl", "--decode"); err != nil || got != wantTexts.String() {
		t.Errorf("texts differ (%v)", err)
	}
}

func TestTokenize_LongLines(t *testing.T) {
	text := strings.Repeat("hello world ", 100_000) // 1.2 MB
	line, _ := json.Marshal(text)
	ids, err := tokenize(bytes.NewReader(append(line, '\n')), "bpe-4096.model", "--jsonl")
	if err != nil {
		t.Fatal(err)
	}
	back, err := tokenize(strings.NewReader(ids), "bpe-4096.model", "--decode")
	if err != nil || back != text+"\n" {
		t.Errorf("%d bytes came back as %d (%v)", len(text), len(back), err)
	}
}

// TestTokenize_EndsWhileItWaitsForInput interrupts a command whose user types nothing.
func TestTokenize_EndsWhileItWaitsForInput(t *testing.T) {
	for _, args := range [][]string{{"bpe-4096.model"}, {"bpe-4096.model", "--jsonl"}} {
		in, writer := io.Pipe()
		cmd := newTokenizeCommand(testTokenizer)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetIn(in)
		cmd.SetOut(io.Discard)
		cmd.SetArgs(args)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := cmd.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", args, err)
		}
		writer.Close()
	}
}

// TestTokenize_AnswersEachLineAtOnce talks with the command as a script would.
func TestTokenize_AnswersEachLineAtOnce(t *testing.T) {
	in, toCommand := io.Pipe()
	fromCommand, out := io.Pipe()
	cmd := newTokenizeCommand(testTokenizer)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetArgs([]string{"bpe-4096.model", "--jsonl"})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(context.Background()) }()
	decoder := json.NewDecoder(fromCommand)
	for range 2 {
		if _, err := io.WriteString(toCommand, "\"hello\"\n"); err != nil {
			t.Fatal(err)
		}
		var ids []uint32
		if err := decoder.Decode(&ids); err != nil || !slices.Equal(ids, []uint32{1347}) {
			t.Fatalf("%v %v", ids, err)
		}
	}
	toCommand.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
