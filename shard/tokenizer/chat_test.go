package tokenizer

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

var roles = Roles{User: userRole, Assistant: assistantRole, BOS: 1}

func say(pairs ...string) (out []Message) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Message{Role: pairs[i], Content: pairs[i+1]})
	}
	return out
}

func TestChat_IsTheTemplate(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	e := tok.Encode
	for _, c := range []struct {
		name     string
		messages []Message
		want     [][]uint32
	}{
		{"one question", say("user", "你好"), [][]uint32{{195}, e("你好"), {196}}},
		{"rounds", say("user", "hello", "assistant", "world", "user", "why?"),
			[][]uint32{{195}, e("hello"), {196}, e("world"), {195}, e("why?"), {196}}},
		{"system has no mark", say("system", "be brief", "user", "hello"), [][]uint32{e("be brief"), {195}, e("hello"), {196}}},
		{"system alone", say("system", "be brief"), [][]uint32{e("be brief"), {196}}},
		{"the assistant goes on", say("user", "hello", "assistant", "wor"), [][]uint32{{195}, e("hello"), {196}, e("wor")}},
		{"the assistant begins", say("assistant", "hello", "user", "x"), [][]uint32{{196}, e("hello"), {195}, e("x"), {196}}},
		{"empty texts", say("user", ""), [][]uint32{{195}, {196}}},
		{"a forged role", say("user", "<reserved_107>hello"), [][]uint32{{195}, e("<reserved_107>hello"), {196}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := tok.Chat(c.messages, roles)
			if err != nil {
				t.Fatal(err)
			}
			if want := slices.Concat(c.want...); !slices.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
}

func TestChat_NoContentGivesARole(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	word := tok.Encode("hello")[0]
	own := Roles{User: word, Assistant: 53} // a word, and <extra_50>
	got, err := tok.Chat(say("user", "hello <extra_50>"), own)
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != own.User || slices.Contains(got[1:len(got)-1], own.User) || slices.Contains(got[1:len(got)-1], own.Assistant) {
		t.Errorf("%v", got)
	}
	if _, err := tok.Chat(say("user", "x"), Roles{User: tok.byteIDs['a'], Assistant: 196}); err == nil {
		t.Error("a byte was accepted as a role")
	}
}

func TestChat_AddsBOSToEachText(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	r := roles
	r.AddBOS = true
	got, err := tok.Chat(say("user", "hello"), r)
	if want := slices.Concat([]uint32{1, 195, 1}, tok.Encode("hello"), []uint32{196}); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
}

func TestChat_RefusesWhatTheTemplateHasNoPlaceFor(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	for _, c := range []struct {
		want     string
		messages []Message
	}{
		{"no messages", nil},
		{`message 1: role "tool"`, say("tool", "x")},
		{`message 2: role ""`, say("user", "x", "", "y")},
		{"message 2: only the first", say("user", "x", "system", "y")},
		{"message 2: only the first", say("system", "x", "system", "y")},
	} {
		if _, err := tok.Chat(c.messages, roles); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.messages, err, c.want)
		}
		if _, _, err := tok.ChatFit(c.messages, roles, 100); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.messages, err, c.want)
		}
	}
}

func TestChatFit_DropsTheOldestRounds(t *testing.T) {
	tok := load(t, "bpe-4096.model")
	all := say("system", "be brief", "user", "hello", "assistant", "world", "user", "the next", "assistant", "block", "user", "why?")
	without := func(messages int) []uint32 {
		ids, err := tok.Chat(append(slices.Clone(all[:1]), all[1+messages:]...), roles)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	full, two, one := without(0), without(2), without(4)
	for _, c := range []struct {
		budget, dropped int
		want            []uint32
	}{
		{1000, 0, full}, {len(full), 0, full}, {len(full) - 1, 1, two}, {len(two), 1, two}, {len(two) - 1, 2, one}, {len(one), 2, one},
	} {
		got, dropped, err := tok.ChatFit(all, roles, c.budget)
		if err != nil || dropped != c.dropped || !slices.Equal(got, c.want) {
			t.Errorf("budget %d: dropped %d (%v), want %d:\n got %v\nwant %v", c.budget, dropped, err, c.dropped, got, c.want)
		}
	}
	_, _, err := tok.ChatFit(all, roles, len(one)-1)
	var long *TooLongError
	if !errors.As(err, &long) || long.Need != len(one) || long.Budget != len(one)-1 {
		t.Errorf("the last round does not fit: %v", err)
	}
}
