package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// edit has the user write a text in the editor of their choice, in a file that nobody else may read.
func (c *console) edit(text string) (_ string, err error) {
	dir, err := os.MkdirTemp("", "baichuan-chat-")
	if err != nil {
		return "", fmt.Errorf("make a file for the editor: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "message.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("make a file for the editor: %w", err)
	}
	if err := c.terminal.Pause(func() error { return c.runEditor(path) }); err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read what was written: %w", err)
	}
	if info.Size() > maxLine {
		return "", fmt.Errorf("the message has %d bytes, and at most %d may be sent", info.Size(), maxLine)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read what was written: %w", err)
	}
	message := strings.ToValidUTF8(strings.ReplaceAll(string(written), "\r\n", "\n"), "\ufffd")
	message = strings.TrimRight(message, "\n")
	c.terminal.Say(message)
	return message, nil
}

// runEditor runs the editor on a file. Ctrl-C is the editor's while it runs.
func (c *console) runEditor(path string) error {
	defer c.app.interrupts.divert(func() {})()
	words := editor()
	cmd := exec.Command(words[0], append(words[1:], path)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the editor %q (choose another by $VISUAL or $EDITOR): %w", strings.Join(words, " "), err)
	}
	return nil
}

// editor is the user's editor and its arguments. A path with blanks in it is one word, if there is such a program.
func editor() []string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		value := strings.TrimSpace(os.Getenv(name))
		if value == "" {
			continue
		}
		if _, err := exec.LookPath(value); err == nil {
			return []string{value}
		}
		return strings.Fields(value)
	}
	if runtime.GOOS == "windows" {
		return []string{"notepad"}
	}
	return []string{"vi"}
}
