package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

const tokenizeHelp = `Prints the token ids of TEXT, or of standard input byte by byte as it is (a final newline is part of it),
as a JSON list. MODEL is a stored model, FILE a tokenizer.model.

With --decode it is the other way round: ids in ("[1,2,3]", "1,2,3" or "1 2 3"), their text and a newline out.

With --jsonl each line of the input is one text: a JSON string, or {"b64":"..."} for bytes that need not be UTF-8. A
line with its ids comes out for each; with --decode each line is a list of ids, and a JSON string comes out. Empty
lines are passed over.

With --chat the text is a user's message, or a JSON list of messages [{"role":"user","content":"..."}, ...], and the
ids are the prompt that the model's chat template makes of it.

The spelling of a special token, such as <reserved_106>, is plain text unless --special is given.`

// tokenizeFlags are the forms of the tokenize command.
type tokenizeFlags struct {
	pieces, decode, jsonl, chat, special bool
}

// newTokenizeCommand makes the tokenize command. load finds the tokenizer and the role ids of a stored model or of a
// tokenizer.model file.
func newTokenizeCommand(load func(nameOrFile string) (*tokenizer.Tokenizer, tokenizer.Roles, error)) *cobra.Command {
	var flags tokenizeFlags
	cmd := &cobra.Command{
		Use:   "tokenize MODEL|FILE [TEXT]",
		Short: "Show how a model's tokenizer splits a text, or what ids spell",
		Long:  tokenizeHelp,
		Args:  wantArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.validate(); err != nil {
				return err
			}
			tok, roles, err := load(args[0])
			if err != nil {
				return err
			}
			t := tokenizing{flags: flags, tok: tok, roles: roles}
			if len(args) == 2 {
				return t.run(cmd.Context(), strings.NewReader(args[1]), cmd.OutOrStdout())
			}
			// Nothing ends a read of a terminal: where the context ends first, the reader is left to the
			// process's own end.
			done := make(chan error, 1)
			go func() { done <- t.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout()) }()
			select {
			case err := <-done:
				return err
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			}
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.pieces, "pieces", false, "print the pieces of the vocabulary instead of their ids")
	f.BoolVar(&flags.decode, "decode", false, "turn ids into text")
	f.BoolVar(&flags.jsonl, "jsonl", false, "a JSON value per line, in and out")
	f.BoolVar(&flags.chat, "chat", false, "put messages through the chat template")
	f.BoolVar(&flags.special, "special", false, "let the spelling of a special token be that token")
	return cmd
}

// validate refuses flags that contradict each other.
func (f tokenizeFlags) validate() error {
	switch {
	case f.decode && f.pieces:
		return usagef("--decode and --pieces exclude each other")
	case f.decode && f.chat:
		return usagef("--decode and --chat exclude each other")
	case f.chat && f.special:
		return usagef("--chat and --special exclude each other: no message may contain a special token")
	}
	return nil
}

// tokenizing is one run of the command.
type tokenizing struct {
	flags tokenizeFlags
	tok   *tokenizer.Tokenizer
	roles tokenizer.Roles
}

// run answers the input in the form that the flags ask for.
func (t tokenizing) run(ctx context.Context, in io.Reader, out io.Writer) error {
	if t.flags.jsonl {
		return t.lines(ctx, in, out)
	}
	return t.whole(in, out)
}

// whole takes the input as one text or one list of ids.
func (t tokenizing) whole(in io.Reader, out io.Writer) error {
	input, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	if t.flags.decode {
		text, err := t.text(input)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, text)
		return err
	}
	ids, err := t.encode(string(input), input)
	if err != nil {
		return err
	}
	return t.printIDs(newJSONLines(out), ids)
}

// lines takes each line of the input as a JSON value. What is printed is written out whenever no input waits, so that
// a program can talk with this one line by line.
func (t tokenizing) lines(ctx context.Context, in io.Reader, out io.Writer) error {
	reader, writer := bufio.NewReaderSize(in, 1<<16), bufio.NewWriterSize(out, 1<<16)
	printer := newJSONLines(writer)
	for number := 1; ctx.Err() == nil; number++ {
		line, readErr := reader.ReadBytes('\n')
		if readErr != nil && readErr != io.EOF {
			return errors.Join(fmt.Errorf("read line %d: %w", number, readErr), writer.Flush())
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if err := t.line(line, printer); err != nil {
				return errors.Join(fmt.Errorf("line %d: %w", number, err), writer.Flush())
			}
		}
		if readErr == io.EOF {
			return writer.Flush()
		}
		if reader.Buffered() == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// line answers one line of JSON.
func (t tokenizing) line(line []byte, printer *json.Encoder) error {
	if t.flags.decode {
		text, err := t.text(line)
		if err != nil {
			return err
		}
		return printer.Encode(text)
	}
	var ids []uint32
	var err error
	if t.flags.chat && line[0] == '[' {
		ids, err = t.chat(line)
	} else {
		var text string
		if text, err = parseText(line); err == nil {
			ids, err = t.encode(text, nil)
		}
	}
	if err != nil {
		return err
	}
	return t.printIDs(printer, ids)
}

// encode gives the ids of a text, which with --chat is a user's message or, in maybeMessages, a list of messages.
func (t tokenizing) encode(text string, maybeMessages []byte) ([]uint32, error) {
	switch {
	case t.flags.chat && isMessages(maybeMessages):
		return t.chat(maybeMessages)
	case t.flags.chat:
		return t.tok.Chat([]tokenizer.Message{{Role: "user", Content: text}}, t.roles)
	case t.flags.special:
		return t.tok.EncodeSpecial(text), nil
	}
	return t.tok.Encode(text), nil
}

// isMessages tells a list of messages from a text that begins like one: only the former is JSON, an empty list or
// one whose first element is an object.
func isMessages(input []byte) bool {
	var list []json.RawMessage
	if json.Unmarshal(input, &list) != nil {
		return false
	}
	return len(list) == 0 || list[0][0] == '{'
}

func (t tokenizing) chat(input []byte) ([]uint32, error) {
	var messages []tokenizer.Message
	if err := json.Unmarshal(input, &messages); err != nil {
		return nil, fmt.Errorf("read the messages: %w", err)
	}
	return t.tok.Chat(messages, t.roles)
}

// text decodes a list of ids as the tokenizer's library does, so that nothing in them stays unseen; ids of no piece are
// refused.
func (t tokenizing) text(list []byte) (string, error) {
	ids, err := parseIDs(list)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		if int64(id) >= int64(t.tok.Size()) {
			return "", fmt.Errorf("token %d is beyond the vocabulary of %d", id, t.tok.Size())
		}
	}
	return t.tok.DecodeSpecial(ids), nil
}

// printIDs prints ids, or their pieces, as a line of JSON.
func (t tokenizing) printIDs(printer *json.Encoder, ids []uint32) error {
	if !t.flags.pieces {
		return printer.Encode(ids)
	}
	pieces := make([]string, len(ids))
	for i, id := range ids {
		pieces[i] = t.tok.Piece(id)
	}
	return printer.Encode(pieces)
}

// newJSONLines prints values as lines of JSON, with < and > as they are.
func newJSONLines(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// parseText reads a JSON string, or an object with bytes in base64.
func parseText(line []byte) (string, error) {
	if line[0] == '"' {
		var text string
		if err := json.Unmarshal(line, &text); err != nil {
			return "", fmt.Errorf("read a JSON string: %w", err)
		}
		return text, nil
	}
	var object struct {
		B64 *[]byte `json:"b64"`
	}
	if err := json.Unmarshal(line, &object); err != nil || object.B64 == nil {
		return "", errors.New(`want a JSON string, or {"b64":"..."} with base64`)
	}
	return string(*object.B64), nil
}

// parseIDs reads ids between commas or spaces, with or without the brackets of a JSON list.
func parseIDs(input []byte) ([]uint32, error) {
	list := strings.TrimSpace(string(input))
	if inner, ok := strings.CutPrefix(list, "["); ok {
		if list, ok = strings.CutSuffix(inner, "]"); !ok {
			return nil, errors.New("the list of ids has no end")
		}
	}
	words := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	ids := make([]uint32, len(words))
	for i, word := range words {
		id, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is not a token id", word)
		}
		ids[i] = uint32(id)
	}
	return ids, nil
}
