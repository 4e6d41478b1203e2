package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object whose keys are distinct, in their order. (encoding/json takes the last of two equal keys, and
// matches keys of structs without regard to case: two readers could then understand a file differently.)
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

// parseObject reads data as one JSON object with at most maxKeys keys.
func parseObject(data []byte, maxKeys int) (object, error) {
	if !utf8.Valid(data) {
		return object{}, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil {
		return object{}, jsonError(err)
	} else if start != json.Delim('{') {
		return object{}, errors.New("not a JSON object")
	}
	o := object{values: map[string]json.RawMessage{}}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return object{}, jsonError(err)
		}
		key, _ := token.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return object{}, fmt.Errorf("key %s: %w", quote(key), jsonError(err))
		}
		if _, twice := o.values[key]; twice {
			return object{}, fmt.Errorf("key %s occurs twice", quote(key))
		}
		if len(o.keys) == maxKeys {
			return object{}, fmt.Errorf("more than the %d keys allowed", maxKeys)
		}
		o.keys = append(o.keys, key)
		o.values[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return object{}, jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return object{}, errors.New("text after the JSON object")
	}
	return o, nil
}

// jsonError says that JSON is cut off, where encoding/json only says "EOF", and keeps its message short.
func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("JSON is cut off")
	}
	return fmt.Errorf("JSON: %w", err)
}

// has says whether a key is there with a value other than null.
func (o object) has(key string) bool {
	v, ok := o.values[key]
	return ok && string(v) != "null"
}

// integer returns a whole number within [low, high], or fallback where the key is absent or null.
func (o object) integer(key string, fallback, low, high int64) (int64, error) {
	if !o.has(key) {
		return fallback, nil
	}
	n, err := parseInteger(o.values[key])
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	if n < low || n > high {
		return 0, fmt.Errorf("%s: %d is not within %d to %d", key, n, low, high)
	}
	return n, nil
}

// parseInteger reads a whole number in its plain form: no fraction, no exponent.
func parseInteger(raw json.RawMessage) (int64, error) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not a whole number", quote(string(raw)))
	}
	return n, nil
}

// integers reads a list of at most most whole numbers, none of them negative.
func integers(raw json.RawMessage, most int) ([]int64, error) {
	// Counted before it is taken apart: a list of millions would need fifty times its text.
	if n := bytes.Count(raw, []byte(",")) + 1; n > most {
		return nil, fmt.Errorf("a list of %d numbers where %d are the most", n, most)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || items == nil {
		return nil, fmt.Errorf("%s is not a list of whole numbers", quote(string(raw)))
	}
	list := make([]int64, len(items))
	for i, item := range items {
		n, err := parseInteger(item)
		if err != nil {
			return nil, err
		}
		if n < 0 {
			return nil, fmt.Errorf("%d is negative", n)
		}
		list[i] = n
	}
	return list, nil
}

// text returns a string, or "" where the key is absent or null.
func (o object) text(key string) (string, error) {
	if !o.has(key) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(o.values[key], &s); err != nil {
		return "", fmt.Errorf("%s: %s is not a string", key, quote(string(o.values[key])))
	}
	return s, nil
}

// truth returns a boolean, or fallback where the key is absent or null.
func (o object) truth(key string, fallback bool) (bool, error) {
	switch v := string(o.values[key]); {
	case !o.has(key):
		return fallback, nil
	case v == "true" || v == "false":
		return v == "true", nil
	default:
		return false, fmt.Errorf("%s: %s is neither true nor false", key, quote(v))
	}
}

// decimal returns a number within [low, high] in the words of the file, or fallback where the key is absent or null.
func (o object) decimal(key, fallback string, low, high float64) (json.Number, error) {
	if !o.has(key) {
		return json.Number(fallback), nil
	}
	words := string(o.values[key])
	v, err := strconv.ParseFloat(words, 64)
	if err != nil || len(words) > maxDecimalBytes {
		return "", fmt.Errorf("%s: %s is not a number of at most %d characters", key, quote(words), maxDecimalBytes)
	}
	if v < low || v > high {
		return "", fmt.Errorf("%s: %s is not within %g to %g", key, words, low, high)
	}
	return json.Number(words), nil
}
