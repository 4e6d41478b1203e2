package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// form is the fields of a request. Its methods keep the first error, so that a request can be read to its end before err
// is looked at; after an error they give nothing. Null is absent.
type form struct {
	fields map[string]json.RawMessage
	within string // name of the object that the form is, with a dot
	err    *apiError
}

// parseForm reads an object of JSON, with names as they are spelled.
func parseForm(data []byte) (*form, error) {
	var fields map[string]json.RawMessage
	err := json.Unmarshal(data, &fields)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) || err == nil && fields == nil:
		return nil, bad("", "The body must be an object of JSON")
	case err != nil:
		return nil, bad("", "The body is not JSON: %v", err)
	}
	return &form{fields: fields}, nil
}

// raw gives a field's JSON, nil if it is absent.
func (f *form) raw(name string) json.RawMessage {
	raw := f.fields[name]
	if f.err != nil || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}

func (f *form) has(name string) bool { return f.raw(name) != nil }

// fail keeps the first error.
func (f *form) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = bad(f.within+name, "%s%s: %s", f.within, name, fmt.Sprintf(format, args...))
	}
}

// into reads a field as its type.
func (f *form) into(name string, dst any, what string) bool {
	raw := f.raw(name)
	if raw == nil {
		return false
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		f.fail(name, "want %s", what)
		return false
	}
	return true
}

func (f *form) boolean(name string, dst *bool) bool { return f.into(name, dst, "true or false") }

func (f *form) text(name string, dst *string) bool { return f.into(name, dst, "a text") }

// number reads a number of low..high.
func (f *form) number(name string, dst *float64, low, high float64) bool {
	var v float64
	if !f.into(name, &v, "a number") {
		return false
	}
	if v < low || v > high {
		f.fail(name, "%v is out of range, want %v to %v", v, low, high)
		return false
	}
	*dst = v
	return true
}

// integer reads a whole number of low..high; a larger one becomes high where that only means "as many as there are".
func (f *form) integer(name string, dst *int, low, high int, clip bool) bool {
	var v float64
	if !f.into(name, &v, "a whole number") {
		return false
	}
	switch {
	case v != math.Trunc(v):
		f.fail(name, "%v is not a whole number", v)
		return false
	case v > float64(high) && clip:
		v = float64(high)
	case v < float64(low) || v > float64(high):
		f.fail(name, "%v is out of range, want %s", v, between(low, high, clip))
		return false
	}
	*dst = int(v)
	return true
}

func between(low, high int, clip bool) string {
	if clip {
		return fmt.Sprintf("%d or more", low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// seed reads a whole number of 64 bits, with or without a sign.
func (f *form) seed(name string, dst *uint64) bool {
	raw := f.raw(name)
	if raw == nil {
		return false
	}
	if v, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		*dst = uint64(v)
		return true
	}
	if v, err := strconv.ParseUint(string(raw), 10, 64); err == nil {
		*dst = v
		return true
	}
	var v float64
	if json.Unmarshal(raw, &v) != nil || v != math.Trunc(v) || math.Abs(v) >= 1<<63 {
		f.fail(name, "want a whole number of 64 bits")
		return false
	}
	*dst = uint64(int64(v))
	return true
}

// texts reads a text or a list of texts.
func (f *form) texts(name string, dst *[]string) bool {
	var one string
	if raw := f.raw(name); raw != nil && raw[0] == '"' {
		*dst = nil
		if !f.text(name, &one) {
			return false
		}
		*dst = []string{one}
		return true
	}
	var list []*string // null is no text
	if !f.into(name, &list, "a text or a list of texts") {
		return false
	}
	*dst = make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			f.fail(name, "want a text or a list of texts")
			return false
		}
		*dst = append(*dst, *s)
	}
	return true
}

// object reads a field that is an object itself; an absent one is empty.
func (f *form) object(name string) *form {
	inner := &form{within: f.within + name + "."}
	f.into(name, &inner.fields, "an object")
	inner.err = f.err
	return inner
}

// done gives the first error of f or of forms in it.
func (f *form) done(inner ...*form) error {
	for _, i := range append(inner, f) {
		if i.err != nil {
			return i.err
		}
	}
	return nil
}
