package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// The objects that a pickle of a state dictionary consists of. Besides these there are string, bool, int64, float64.
type (
	none   struct{}
	global string // a dotted name of the allow-list
	tuple  []any
	list   struct{ items []any }
	dict   struct {
		keys    []string // in order of insertion
		values  map[string]any
		ordered bool // collections.OrderedDict
	}
)

// unpickler runs the part of pickle's protocol 2 that torch.save needs, and nothing else. Pickle is a
// program for a stack machine, and a general one can call anything; this one builds plain values, and what it "calls"
// is the fixed list in [unpickler.reduce]. Work and memory are bounded by the pickle's length: no opcode copies a
// value, and cycles are only ever pointers that nobody follows.
type unpickler struct {
	in    string
	pos   int
	stack []any
	marks []int // heights of the stack
	memo  map[uint32]any
	// persistent resolves a persistent id (a storage).
	persistent func(id any) (any, error)
}

// unpickle runs a whole pickle and returns its value.
func unpickle(in string, persistent func(id any) (any, error)) (any, error) {
	if len(in) > maxPickleBytes {
		return nil, fmt.Errorf("%d bytes, more than the %d allowed", len(in), maxPickleBytes)
	}
	u := &unpickler{in: in, memo: map[uint32]any{}, persistent: persistent}
	if len(in) < 2 || in[0] != 0x80 {
		return nil, errors.New("does not begin like a pickle")
	}
	if in[1] != 2 {
		return nil, fmt.Errorf("pickle protocol %d where torch.save uses 2", in[1])
	}
	u.pos = 2
	for range maxPickleOps {
		at := u.pos
		op, err := u.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			return u.stop()
		}
		if err := u.step(op[0]); err != nil {
			return nil, fmt.Errorf("%spickle at byte %d: %w", u.entry(), at, err)
		}
		if len(u.stack) > maxPickleStack || len(u.marks) > maxPickleMarks {
			return nil, fmt.Errorf("pickle at byte %d: nested deeper than a state dictionary is", at)
		}
	}
	return nil, fmt.Errorf("pickle of more than the %d steps allowed", maxPickleOps)
}

// entry names, for an error, the entry of the outermost dictionary that is being made: the last key on the stack.
func (u *unpickler) entry() string {
	i := 1 // above the dictionary
	for i+1 < len(u.stack) {
		if _, done := u.stack[i+1].(*view); !done {
			break
		}
		i += 2
	}
	if i >= len(u.stack) {
		return ""
	}
	if _, ok := u.stack[0].(*dict); !ok {
		return ""
	}
	if key, ok := u.stack[i].(string); ok {
		return "tensor " + quote(key) + ": "
	}
	return ""
}

func (u *unpickler) stop() (any, error) {
	switch {
	case len(u.stack) != 1 || len(u.marks) != 0:
		return nil, fmt.Errorf("pickle ends with %d values and %d marks on its stack", len(u.stack), len(u.marks))
	case u.pos != len(u.in):
		return nil, fmt.Errorf("%d bytes after the pickle's end", len(u.in)-u.pos)
	}
	return u.stack[0], nil
}

// take returns the next n bytes.
func (u *unpickler) take(n uint32) (string, error) {
	if uint64(n) > uint64(len(u.in)-u.pos) {
		return "", fmt.Errorf("pickle is cut off: %d bytes wanted at byte %d of %d", n, u.pos, len(u.in))
	}
	s := u.in[u.pos : u.pos+int(n)]
	u.pos += int(n)
	return s, nil
}

// number returns the next n bytes (at most 4) as an unsigned little-endian number.
func (u *unpickler) number(n uint32) (uint32, error) {
	s, err := u.take(n)
	var b [4]byte
	copy(b[:], s)
	return binary.LittleEndian.Uint32(b[:]), err
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

// pushUnless pushes a value unless making it failed: what is half made must not look like a finished entry.
func (u *unpickler) pushUnless(v any, err error) error {
	if err == nil {
		u.push(v)
	}
	return err
}

// pop takes the top value, which must lie above the last mark.
func (u *unpickler) pop() (any, error) {
	floor := 0
	if n := len(u.marks); n > 0 {
		floor = u.marks[n-1]
	}
	if len(u.stack) <= floor {
		return nil, errors.New("the stack is empty")
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v, nil
}

// popMark takes all values above the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	n := len(u.marks)
	if n == 0 {
		return nil, errors.New("no mark on the stack")
	}
	from := u.marks[n-1]
	u.marks = u.marks[:n-1]
	items := u.stack[from:]
	u.stack = u.stack[:from]
	return items, nil
}

// step executes one opcode. The names of opcodes are pickletools'.
func (u *unpickler) step(op byte) error {
	switch op {
	case '(': // MARK
		u.marks = append(u.marks, len(u.stack))
	case ']': // EMPTY_LIST
		u.push(&list{})
	case '}': // EMPTY_DICT
		u.push(newDict(false))
	case 'N': // NONE
		u.push(none{})
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		u.push(op == 0x88)
	case 'K', 'M', 'J', 0x8a, 'G', 'X': // BININT1, BININT2, BININT, LONG1, BINFLOAT, BINUNICODE
		return u.literal(op)
	case ')', 't', 0x85, 0x86, 0x87: // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
		return u.tuple(op)
	case 'a', 'e', 's', 'u': // APPEND, APPENDS, SETITEM, SETITEMS
		return u.extend(op)
	case 'q', 'r', 'h', 'j': // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
		return u.remember(op)
	case 'c', 'Q', 'R', 'b': // GLOBAL, BINPERSID, REDUCE, BUILD
		return u.call(op)
	default:
		return fmt.Errorf("opcode 0x%02x has no place in a state dictionary", op)
	}
	return nil
}

// literal pushes a number or a text.
func (u *unpickler) literal(op byte) error {
	switch op {
	case 'K', 'M':
		n, err := u.number(uint32(op-'K')/2 + 1)
		u.push(int64(n))
		return err
	case 'J':
		n, err := u.number(4)
		u.push(int64(int32(n)))
		return err
	case 'G':
		s, err := u.take(8)
		if err != nil {
			return err
		}
		u.push(math.Float64frombits(binary.BigEndian.Uint64([]byte(s))))
		return nil
	case 0x8a:
		return u.long()
	}
	n, err := u.number(4)
	if err != nil {
		return err
	}
	s, err := u.take(n)
	if err != nil {
		return err
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("text %s is not UTF-8", quote(s))
	}
	u.push(s)
	return nil
}

// long pushes a whole number of at most 8 bytes in two's complement.
func (u *unpickler) long() error {
	n, err := u.number(1)
	if err != nil {
		return err
	}
	if n > 8 {
		return fmt.Errorf("a number of %d bytes", n)
	}
	s, err := u.take(n)
	if err != nil {
		return err
	}
	var v int64
	for i := len(s) - 1; i >= 0; i-- {
		v = v<<8 | int64(s[i])
	}
	if n > 0 {
		shift := 64 - 8*n
		v = v << shift >> shift // the highest byte's sign
	}
	u.push(v)
	return nil
}

// tuple makes a tuple of the values on the stack.
func (u *unpickler) tuple(op byte) error {
	if op == ')' {
		u.push(tuple{})
		return nil
	}
	if op == 't' {
		items, err := u.popMark()
		if err != nil {
			return err
		}
		u.push(append(tuple{}, items...))
		return nil
	}
	t := make(tuple, op-0x84)
	for i := len(t) - 1; i >= 0; i-- {
		v, err := u.pop()
		if err != nil {
			return err
		}
		t[i] = v
	}
	u.push(t)
	return nil
}

// extend adds the values on the stack to the list or the dictionary below them.
func (u *unpickler) extend(op byte) error {
	var items []any
	var err error
	if op == 'e' || op == 'u' {
		if items, err = u.popMark(); err != nil {
			return err
		}
	} else {
		items = make([]any, 1, 2)
		if op == 's' {
			items = items[:2]
		}
		for i := len(items) - 1; i >= 0; i-- {
			if items[i], err = u.pop(); err != nil {
				return err
			}
		}
	}
	container, err := u.pop()
	if err != nil {
		return err
	}
	u.push(container)
	switch into := container.(type) {
	case *list:
		if op == 'a' || op == 'e' {
			into.items = append(into.items, items...)
			return nil
		}
	case *dict:
		if op == 's' || op == 'u' {
			return into.add(items)
		}
	}
	return errors.New("items for what is no container of them")
}

func newDict(ordered bool) *dict { return &dict{values: map[string]any{}, ordered: ordered} }

// add inserts keys and values, alternating.
func (d *dict) add(items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		key, ok := items[i].(string)
		if !ok {
			return errors.New("a dictionary's key is not a text")
		}
		if _, twice := d.values[key]; twice {
			return fmt.Errorf("key %s occurs twice", quote(key))
		}
		d.keys = append(d.keys, key)
		d.values[key] = items[i+1]
	}
	return nil
}

// remember puts the top value into the memo, or pushes one from it.
func (u *unpickler) remember(op byte) error {
	width := uint32(1)
	if op == 'r' || op == 'j' {
		width = 4
	}
	n, err := u.number(width)
	if err != nil {
		return err
	}
	if op == 'h' || op == 'j' {
		v, ok := u.memo[n]
		if !ok {
			return fmt.Errorf("memo %d was never set", n)
		}
		u.push(v)
		return nil
	}
	v, err := u.pop()
	if err != nil {
		return err
	}
	u.push(v)
	u.memo[n] = v
	return nil
}

// call executes the opcodes that bring in torch's own objects.
func (u *unpickler) call(op byte) error {
	if op == 'c' {
		return u.global()
	}
	v, err := u.pop()
	if err != nil {
		return err
	}
	if op == 'Q' {
		return u.pushUnless(u.persistent(v))
	}
	under, err := u.pop()
	if err != nil {
		return err
	}
	if op == 'R' {
		return u.pushUnless(reduce(under, v))
	}
	// BUILD: a module's state dictionary carries versions of its layers as an attribute, which mean nothing here.
	d, ok := under.(*dict)
	if _, isState := v.(*dict); !ok || !d.ordered || !isState {
		return errors.New("state for what is no ordered dictionary")
	}
	u.push(under)
	return nil
}

// global pushes a name of the allow-list.
func (u *unpickler) global() error {
	var words [2]string
	for i := range words {
		line, _, found := strings.Cut(u.in[u.pos:min(len(u.in), u.pos+maxNameBytes)], "\n")
		if !found {
			return errors.New("a global's name is cut off or too long")
		}
		u.pos += len(line) + 1
		words[i] = line
	}
	name := words[0] + "." + words[1]
	if !allowed(global(name)) {
		return fmt.Errorf("global %s has no place in a state dictionary", quote(name))
	}
	u.push(global(name))
	return nil
}
