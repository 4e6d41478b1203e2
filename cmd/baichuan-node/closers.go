package main

import (
	"errors"
	"slices"
)

// closers are what has been opened, in order.
type closers []func() error

// closes notes what ends the thing that was opened last.
func (c *closers) closes(end func() error) { *c = append(*c, end) }

// close ends everything, the last opened first.
func (c *closers) close() error {
	var errs []error
	for _, end := range slices.Backward(*c) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}
