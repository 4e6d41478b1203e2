package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

func newChatCommand(a *app) *cobra.Command {
	var swarm swarmFlags
	var lists listFlags
	var sampling samplingFlags
	var system string
	var noShare bool
	cmd := &cobra.Command{
		Use:   "chat [MODEL]",
		Short: "Talk with a model of a swarm",
		Long:  "Talks in the terminal with a model whose layers the peers of a swarm hold. In a chat:\n\n" + chatHelp(),
		Args:  wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			answers, err := answerFromSwarm(cmd.Context(), name, &swarm, &lists, cmd.ErrOrStderr(), sessionConfig(cmd.ErrOrStderr(), noShare))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, answers.close()) }()
			options, err := sampling.options(cmd, answers.model.Drawing)
			if err != nil {
				return err
			}
			c := newChat(cmd, a, answers, options)
			c.setSystem(system)
			return c.run(cmd.Context())
		},
	}
	swarm.add(cmd)
	lists.add(cmd)
	sampling.add(cmd)
	cmd.Flags().StringVar(&system, "system", "", "system message")
	cmd.Flags().Bool("history", true, "keep the messages that are written in a terminal, in chat-history in the home")
	cmd.Flags().BoolVar(&noShare, "no-share", false, "share no cached prefix with other sessions")
	return cmd
}

// chat is a conversation with a model.
type chat struct {
	front        front
	log          *slog.Logger
	model        *client.Model
	conversation *client.Conversation
	stepper      client.Stepper
	options      client.Options
	messages     []tokenizer.Message
	last         *account // of the last answer
	whole        bool     // answers are shown when they are complete
}

// front is where a chat's messages come from and its answers go: a terminal, or pipes.
type front interface {
	// open makes ready for a chat whose last message, if any, is what last gives. Closed it must be.
	open(ctx context.Context, last func() string) (closed func() error, err error)

	// next gives the next message; io.EOF when there will be none.
	next(ctx context.Context) (input, error)

	// note tells a person something that is no answer. Over pipes nobody hears it; of what was asked for, they do.
	note(text string)
	tell(text string)

	// answer has f make an answer, which the user may stop: that ends f's context. What f writes is printed; below it a
	// terminal shows the status.
	answer(ctx context.Context, f func(ctx context.Context, w io.Writer, status func(string)) error) error

	// edit has the user write text in an editor that is a program of its own.
	edit(text string) (string, error)

	// mend says whether a person is there who may correct what went wrong; else it ends the chat.
	mend(err error) bool
}

// newChat makes a chat over the command's input and output: with a line editor if they are a terminal, and else as a
// filter, to which a line is a message.
func newChat(cmd *cobra.Command, a *app, answers *answerer, o client.Options) *chat {
	return &chat{
		front: newFront(cmd, a), log: a.log, model: answers.model, conversation: answers.conversation, stepper: answers.stepper, options: o,
	}
}

// errExit ends a chat.
var errExit = errors.New("the user has left")

// run reads messages and answers them until there are no more.
func (c *chat) run(ctx context.Context) (err error) {
	closed, err := c.front.open(ctx, c.lastMessage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	c.front.note(fmt.Sprintf("Chat with %s. /help tells what there is beside talking.", c.model.Name))
	for {
		message, err := c.front.next(ctx)
		if err == nil {
			err = c.take(ctx, message)
		} else if errors.Is(err, io.EOF) {
			return ctx.Err()
		} else {
			return err
		}
		switch {
		case errors.Is(err, errExit):
			return nil
		case err != nil && (ctx.Err() != nil || !c.front.mend(err)):
			return err
		}
	}
}

// take does what a message asks for. One that was quoted is no command, whatever it looks like, nor is one of several
// lines, but for those that take a text.
func (c *chat) take(ctx context.Context, message input) error {
	if strings.TrimSpace(message.text) == "" {
		return nil
	}
	command, rest := splitCommand(message.text)
	if message.quoted || !strings.HasPrefix(command, "/") {
		return c.say(ctx, message.text)
	}
	for _, k := range chatCommands() {
		if !slices.Contains(k.names, command) {
			continue
		}
		if strings.Contains(rest, "\n") && !k.text {
			return c.say(ctx, message.text)
		}
		return k.do(c, ctx, rest)
	}
	return fmt.Errorf("no command %s: /help lists them", command)
}

// splitCommand parts a message at its first blank.
func splitCommand(text string) (command, rest string) {
	text = strings.TrimSpace(text)
	if i := strings.IndexAny(text, " \n"); i >= 0 {
		return text[:i], strings.TrimSpace(text[i:])
	}
	return text, ""
}

// say asks and prints the answer. What the user stops stays in the conversation as far as it came.
func (c *chat) say(ctx context.Context, text string) error {
	messages := append(c.messages[:len(c.messages):len(c.messages)], tokenizer.Message{Role: "user", Content: text})
	var said strings.Builder
	var outcome *client.Outcome
	var p pace
	stopped := false
	err := c.front.answer(ctx, func(answering context.Context, w io.Writer, status func(string)) error {
		chunks, dropped, err := c.conversation.Chat(answering, messages, c.options)
		if err != nil {
			return err
		}
		if dropped > 0 {
			c.front.note(fmt.Sprintf("(the conversation is longer than the context: the oldest %d rounds are forgotten)", dropped))
		}
		outcome, err = c.print(answering, io.MultiWriter(w, &said), c.watch(chunks, &p, status))
		if stopped = err != nil && ctx.Err() == nil && answering.Err() != nil; stopped {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	answer := strings.TrimSuffix(said.String(), "\n")
	if stopped {
		c.last = p.stopped(c.stepper)
		c.front.note("(stopped)")
	} else {
		logFailovers(c.log, outcome)
		c.last, answer = accountOf(outcome), outcome.Text
	}
	c.tellFailovers()
	c.messages = append(messages, tokenizer.Message{Role: "assistant", Content: answer})
	return nil
}

// print prints an answer as it comes, or when it is complete if the user wants that.
func (c *chat) print(ctx context.Context, w io.Writer, chunks iter.Seq2[client.Chunk, error]) (*client.Outcome, error) {
	if !c.whole {
		return printAnswer(ctx, w, chunks)
	}
	var text strings.Builder
	outcome, err := printAnswer(ctx, &text, chunks)
	if text.Len() > 0 {
		if _, err := io.WriteString(w, text.String()); err != nil {
			return nil, fmt.Errorf("print the answer: %w", err)
		}
	}
	return outcome, err
}

// lastMessage is what the user said last.
func (c *chat) lastMessage() string {
	if i := c.lastRound(); i >= 0 {
		return c.messages[i].Content
	}
	return ""
}

// lastRound is where the user's last message is; -1: nothing has been said.
func (c *chat) lastRound() int {
	i := len(c.messages) - 1
	for i >= 0 && c.messages[i].Role != "user" {
		i--
	}
	return i
}
