package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/baichuan-node/baichuan-node/client"
	"github.com/baichuan-node/baichuan-node/shard/store"
	"github.com/baichuan-node/baichuan-node/shard/tokenizer"
)

// The role ids of all published Baichuan models: a tokenizer.model alone does not say them.
const (
	userID      = 195
	assistantID = 196
	bosID       = 1
)

// loadTokenizer reads the tokenizer of a stored model, or else a tokenizer.model file.
func loadTokenizer(nameOrFile string) (*tokenizer.Tokenizer, tokenizer.Roles, error) {
	stored, err := storedModel(nameOrFile)
	var missing *store.NotFoundError
	switch {
	case err == nil:
		m, err := client.ModelOf(stored)
		if err != nil {
			return nil, tokenizer.Roles{}, err
		}
		return m.Tokenizer, m.Roles(), nil
	case !errors.As(err, &missing):
		return nil, tokenizer.Roles{}, err
	}
	info, statErr := os.Stat(nameOrFile)
	if statErr != nil || !info.Mode().IsRegular() {
		return nil, tokenizer.Roles{}, fmt.Errorf("%w; nor is there a file of that name", err)
	}
	if info.Size() > store.MaxTokenizer {
		return nil, tokenizer.Roles{}, fmt.Errorf("read %s: %d bytes, more than any tokenizer.model has", nameOrFile, info.Size())
	}
	raw, err := os.ReadFile(nameOrFile)
	if err != nil {
		return nil, tokenizer.Roles{}, fmt.Errorf("read the tokenizer: %w", err)
	}
	t, err := tokenizer.Load(raw)
	if err != nil {
		return nil, tokenizer.Roles{}, fmt.Errorf("%s: %w", nameOrFile, err)
	}
	return t, tokenizer.Roles{User: userID, Assistant: assistantID, BOS: bosID}, nil
}
