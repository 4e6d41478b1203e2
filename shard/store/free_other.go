//go:build !linux && !darwin && !windows

package store

import "errors"

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }
